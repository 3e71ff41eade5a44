import { afterEach, expect, test, vi } from 'vitest';
import { Clock } from '../../src/pipeline/clock.ts';

afterEach(() => vi.restoreAllMocks());

test('a stage in the middle of another one has its own time, and leaves the other what is before and behind it', async () => {
  let now = 0;
  vi.spyOn(performance, 'now').mockImplementation(() => now);
  const told: string[] = [];
  const clock = new Clock((stage) => told.push(stage));
  const takes = async (seconds: number) => {
    now += 1000 * seconds;
  };
  await clock.stage('proving', async () => {
    await clock.time('engine', () => takes(1));
    await clock.stage('rounding', () => clock.time('solve', () => takes(10)));
    await clock.time('engine', () => takes(100));
  });
  await clock.time('engine', () => takes(1000)); // of no stage
  const nothing = { engine: 0, statistics: 0, solve: 0, waiting: 0 };
  expect(clock.stages).toEqual([
    { ...nothing, stage: 'proving', seconds: 101, engine: 101 },
    { ...nothing, stage: 'rounding', seconds: 10, solve: 10 },
  ]);
  expect(told).toEqual(['proving', 'rounding', 'proving']);
});
