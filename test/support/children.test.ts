import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { build } from 'esbuild';
import { afterAll, expect, test } from 'vitest';
import { run, spawn } from './children.ts';

const folder = mkdtempSync(join(tmpdir(), 'osscar-children-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Never ends by itself, nor when it is asked to; says so once it is there. */
const STUBBORN = "process.on('SIGTERM', () => {}); console.log('here'); for (;;);";
/** A process with such a child, of which it has heard. */
const PARENT = `
  const child = spawn(process.execPath, ['-e', ${JSON.stringify(STUBBORN)}], { stdio: ['ignore', 'pipe', 'ignore'] });
  child.stdout.once('data', () => { process.send(child.pid); setTimeout(then, 0); });
  function then() { if (process.argv[2] === 'exit') process.exit(); else if (process.argv[2] === 'throw') throw 1; }
  setInterval(() => {}, 1000);`;

const isThere = (pid: number) => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

test.each(['exit', 'throw', 'SIGTERM', 'SIGINT'] as const)(
  'children do not outlive a parent that ends by %s',
  async (how) => {
    const source = join(folder, `${how}.ts`);
    const children = JSON.stringify(join(import.meta.dirname, 'children.ts'));
    writeFileSync(source, `import { spawn } from ${children};${PARENT}`);
    const outfile = join(folder, `${how}.mjs`);
    await build({ entryPoints: [source], bundle: true, platform: 'node', format: 'esm', outfile });
    const parent = spawn(process.execPath, [outfile, how], { stdio: ['ignore', 'ignore', 'ignore', 'ipc'] });
    const [pid] = await once(parent, 'message');
    expect(isThere(pid)).toBe(true);
    if (how.startsWith('SIG')) parent.kill(how as NodeJS.Signals);
    await once(parent, 'exit');
    for (let waits = 0; isThere(pid) && waits < 100; waits++) await setTimeout(50);
    expect(isThere(pid)).toBe(false);
  },
);

test('a program that hangs is ended, with all that it has started and that holds its output open', async () => {
  const child = 'setInterval(() => {}, 1000)';
  const parent = `require('child_process').spawn(process.execPath, ['-e', ${JSON.stringify(child)}], { stdio: 'inherit' }); for (;;);`;
  const { code, signal } = await run(process.execPath, ['-e', parent], { limit: 2000 });
  expect([code, signal]).toEqual([null, 'SIGKILL']);
});
