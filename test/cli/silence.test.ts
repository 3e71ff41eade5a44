// Progress is not silent for more than two seconds, however long a step takes and whatever it is written to. The clock is the
// test's own.

import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { progressReporter } from '../../src/cli/progress.ts';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

test('a terminal that takes text alone is sent nothing else', () => {
  vi.stubEnv('TERM', 'dumb');
  const written: string[] = [];
  const progress = progressReporter({
    isTTY: true,
    columns: 100,
    write: (text: string) => written.push(text),
  } as never);
  progress.report({ label: 'measuring', done: 0, total: 4 });
  vi.advanceTimersByTime(5000);
  progress.close();
  vi.unstubAllEnvs();
  expect(written.length).toBeGreaterThan(1);
  expect(written.join('')).toMatch(/^[\x20-\x7e\n]+$/);
});

test('the time that is left is told by the pace of the work, without what was opened before', () => {
  const written: string[] = [];
  const progress = progressReporter({ write: (text: string) => written.push(text) } as never);
  vi.advanceTimersByTime(40_000);
  progress.report({ label: 'measuring', done: 0, total: 4 });
  vi.advanceTimersByTime(10_000);
  progress.report({ label: 'measuring', done: 2, total: 4 });
  progress.close();
  expect(written.at(-1)).toBe('measuring: 2/4, 50 %, 50 s, about 10 s left\n');
});

test.each([
  ['on a terminal', true],
  ['in a pipe', false],
])('a step of 95 minutes is not silent for more than 2 s %s', (_, isTTY) => {
  const written: { at: number; text: string }[] = [];
  const write = (text: string) => written.push({ at: performance.now(), text });
  const progress = progressReporter({ isTTY, columns: 100, write } as never);
  const start = performance.now();
  progress.report({
    label: 'pruning',
    done: 1,
    total: 4,
    layer: 'conv1',
    stage: 'pruning',
    overall: 0.5,
  } as never);
  vi.advanceTimersByTime(95 * 60 * 1000);
  progress.close();
  const times = [start, ...written.map(({ at }) => at), performance.now()];
  expect(Math.max(...times.slice(1).map((at, i) => at - times[i]))).toBeLessThanOrEqual(2000);
  const texts = written.map(({ text }) => text).join('');
  expect(texts).toMatch(/pruning.*conv1.* 8\d s, about 8\d s left/);
  expect(texts).toMatch(/1:3\d min, about 2 min left/);
  expect(texts).toMatch(/1:30:0\d h, about 1\.5 h left/);
});
