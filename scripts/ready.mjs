// Makes a fresh clone ready: installs the dependencies and builds dist/, each only where it is missing or stale.
// Runs before `npm start` and `npm test`, so that they work with nothing done before. Uses Node alone.

import { spawnSync } from 'node:child_process';
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

if (newest(['package-lock.json']) > newest([INSTALLED])) run('npm', ['ci']);
if (newest(SOURCES) > newest([BUILT])) run(process.execPath, ['scripts/build.mjs']);

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

function run(command, args) {
  const started = Date.now();
  // Standard output stays free for what comes after.
  const { status } = spawnSync(command, args, {
    stdio: ['ignore', 2, 2],
    shell: process.platform === 'win32',
  });
  if (status !== 0) process.exit(status ?? 1);
  process.stderr.write(
    `${[command.replace(process.execPath, 'node'), ...args].join(' ')}: ${((Date.now() - started) / 1000).toFixed(1)} s\n`,
  );
}
