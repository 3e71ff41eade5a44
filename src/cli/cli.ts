#!/usr/bin/env node
// Asks for the Node that the command needs, before anything is loaded that an older one has not.

/** As in package.json, which npm only warns of. */
const OLDEST = 20;

const { node } = process.versions;
if (Number(node.split('.')[0]) >= OLDEST) await import('./main.ts');
else {
  process.stderr.write(`osscar: Node ${node} is too old: Node ${OLDEST} or a later one is needed\n`);
  process.exitCode = 2;
}

export {}; // a module, for `await`
