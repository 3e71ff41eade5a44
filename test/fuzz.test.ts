import { expect, test } from 'vitest';
import { run } from './support/children.ts';

/** Runs the fuzzer as `npm run fuzz` does. */
const fuzz = (...args: readonly string[]) => run(process.execPath, ['fuzz/run.mjs', ...args]);

test('2,000 damaged inputs of every parser are read or refused, with errors of ours', async () => {
  const { code, stdout, stderr } = await fuzz('all', '2000', '1');
  expect([code, stderr]).toEqual([0, '']);
  const rows = stdout
    .trim()
    .split('\n')
    .slice(2)
    .map((row) => row.split('|').map((cell) => cell.trim()));
  expect(rows.length).toBeGreaterThan(10);
  for (const [, parser, inputs, read, refused, wrong, , , , peak] of rows) {
    expect([parser, inputs, wrong]).toEqual([parser, '2000', '0']);
    expect(Number(read) + Number(refused), parser).toBe(2000);
    // Or the damage does none, or leaves nothing to read.
    expect(Math.min(Number(read), Number(refused)), parser).toBeGreaterThan(5);
    expect(Number(peak), parser).toBeLessThan(600);
  }
});

test('the worst known files take no more memory than docs/security.md says', async () => {
  const { code, stdout, stderr } = await fuzz('memory');
  expect([code, stderr], stdout).toEqual([0, '']);
  expect(stdout.trim().split('\n').length).toBeGreaterThan(15);
});
