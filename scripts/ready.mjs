// Makes a fresh clone ready: installs the dependencies and builds dist/, each only where it is missing or stale.
// Runs before `npm start` and `npm test`, so that they work with nothing done before. Uses Node alone.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, statSync } from 'node:fs';

const INSTALLED = 'node_modules/.package-lock.json';
const BUILT = 'dist/types/index.d.ts'; // the last file that the build writes
const SOURCES = [
  'assembly',
  'src',
  'scripts/build.mjs',
  'asconfig.json',
  'package.json',
  'tsconfig.types.json',
];

if (newest(['package-lock.json']) > newest([INSTALLED])) await run('npm', ['ci']);
if (newest(SOURCES) > newest([BUILT])) await run(process.execPath, ['scripts/build.mjs']);

/** Latest modification time under the paths; 0 where there is nothing. */
function newest(paths) {
  return Math.max(
    0,
    ...paths.filter(existsSync).map((path) => {
      const info = statSync(path);
      return info.isDirectory() ? newest(readdirSync(path).map((name) => `${path}/${name}`)) : info.mtimeMs;
    }),
  );
}

/** With a point every second, so that it is seen to work. */
async function run(command, args) {
  const started = Date.now();
  const name = [command.replace(process.execPath, 'node'), ...args].join(' ');
  process.stderr.write(`${name} `);
  const timer = setInterval(() => process.stderr.write('.'), 1000);
  // Standard output stays free for what comes after.
  const child = spawn(command, args, { stdio: ['ignore', 2, 2], shell: process.platform === 'win32' });
  const [status] = await once(child, 'close');
  clearInterval(timer);
  if (status !== 0) process.exit(status ?? 1);
  process.stderr.write(`\n${name}: ${((Date.now() - started) / 1000).toFixed(1)} s\n`);
}
