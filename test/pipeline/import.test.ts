import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';

const dist = (entry: string) => pathToFileURL(join(import.meta.dirname, `../../dist/${entry}.js`)).href;

/** Notes what code other than Node's own loader calls, then imports the library, then opens an engine. */
const probe = (entry: string) => `
  import childProcess from 'node:child_process';
  import fs from 'node:fs';
  import http from 'node:http';
  import https from 'node:https';
  import { syncBuiltinESMExports } from 'node:module';
  import net from 'node:net';
  import workers from 'node:worker_threads';

  let calls = [];
  const watch = (object, name) => {
    const { value: original, writable } = Object.getOwnPropertyDescriptor(object, name) ?? {};
    if (typeof original !== 'function' || !writable) return;
    const note = () => {
      // Line 0 is the message, 1 this line, 2 the trap, 3 the caller; Node's own loader reads the modules.
      if (!new Error().stack.split('\\n')[3].includes('node:')) calls.push(name);
    };
    object[name] = new Proxy(original, {
      apply(...call) {
        note();
        return Reflect.apply(...call);
      },
      construct(...call) {
        note();
        return Reflect.construct(...call);
      },
    });
  };
  for (const object of [fs, fs.promises, net, http, https, childProcess]) {
    for (const name of Object.keys(object)) watch(object, name);
  }
  watch(workers, 'Worker');
  syncBuiltinESMExports();
  for (const name of ['fetch', 'WebSocket', 'setTimeout', 'setInterval', 'setImmediate']) watch(globalThis, name);
  const listeners = () => process.eventNames().map((name) => [String(name), process.listenerCount(name)]);
  const state = () => JSON.stringify([Reflect.ownKeys(globalThis).map(String), listeners(), process.env, process.cwd()]);

  const before = state();
  const library = await import(${JSON.stringify(dist(entry))});
  const imported = { exports: Object.keys(library), calls, unchanged: state() === before };
  calls = [];
  const { openEngine } = await import(${JSON.stringify(dist('model'))});
  const engine = await openEngine({ threads: 1 });
  await engine.load(new Uint8Array()).catch(() => {});
  console.log(JSON.stringify({ ...imported, later: calls }));
`;

test.each([
  ['node', ['prune', 'evaluate', 'version']],
  ['model', ['openModel', 'openKernels', 'prune', 'version']],
])('importing dist/%s.js touches no file, network, process, timer or global', (entry, names) => {
  const output = execFileSync(process.execPath, ['--input-type=module', '-e', probe(entry)], {
    encoding: 'utf8',
  });
  const { exports, calls, unchanged, later } = JSON.parse(output);
  expect(exports).toEqual(expect.arrayContaining(names));
  expect(calls).toEqual([]);
  expect(unchanged).toBe(true);
  // The probe sees what the runtime does when it is opened at last: it reads its own wasm.
  expect(later).toContain('readFileSync');
});
