// How much work src/graph does, without a clock: how often V8 ran each of its functions and blocks.

import { Session } from 'node:inspector/promises';
import { vi } from 'vitest';

export type Graph = typeof import('../../src/graph/index.ts');

/** Functions and blocks in src/graph that each of `runs` went through. They get a copy of the module that is counted. */
export async function work(runs: readonly ((graph: Graph) => void)[]): Promise<number[]> {
  const session = new Session();
  session.connect();
  try {
    await session.post('Profiler.enable');
    // What was compiled before is not counted block by block.
    await session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
    vi.resetModules();
    const graph = await import('../../src/graph/index.ts');
    const counts: number[] = [];
    for (const run of runs) {
      await session.post('Profiler.takePreciseCoverage'); // counts start at 0 again
      run(graph);
      const { result } = await session.post('Profiler.takePreciseCoverage');
      const ours = result.filter(({ url }) => url.includes('/src/graph/'));
      const ranges = ours.flatMap(({ functions }) => functions).flatMap(({ ranges }) => ranges);
      counts.push(ranges.reduce((sum, { count }) => sum + count, 0));
    }
    return counts;
  } finally {
    session.disconnect();
  }
}
