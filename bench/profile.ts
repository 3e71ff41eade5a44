// Where the wall time of a whole command goes: running the model, sums of inputs, the solver, our JavaScript, waiting.
// What runs at the same time counts once, for the first of these. Everything else is as the command has it:
//   npm run bench -- profile prune model.onnx --calibrate photos/ --keep 0.5 -o smaller.onnx

import { performance } from 'node:perf_hooks';
import { InferenceSession } from 'onnxruntime-web';
import type * as Layer from '../src/layer.ts';

const SHARES = ['engine', 'gram', 'solve', 'javascript', 'waiting'] as const;
type Busy = (typeof SHARES)[0 | 1 | 2];

const spent = Object.fromEntries(SHARES.map((share) => [share, 0])) as Record<
  (typeof SHARES)[number],
  number
>;
const running: Record<Busy, number> = { engine: 0, gram: 0, solve: 0 };
let since = performance.now();
let loop = performance.eventLoopUtilization();

/** Books what has passed since the last change. */
function book(): void {
  const now = performance.now();
  const passed = now - since;
  const busy = (['engine', 'gram', 'solve'] as const).find((share) => running[share] > 0);
  const until = performance.eventLoopUtilization();
  if (busy) spent[busy] += passed;
  else {
    const idle = Math.min(passed, until.idle - loop.idle);
    spent.waiting += idle;
    spent.javascript += passed - idle;
  }
  since = now;
  loop = until;
}

function watch(prototype: object, names: readonly string[], share: Busy): void {
  const methods = prototype as Record<string, (...args: unknown[]) => Promise<unknown>>;
  for (const name of names) {
    const method = methods[name];
    methods[name] = async function (...args) {
      book();
      running[share]++;
      try {
        return await method.apply(this, args);
      } finally {
        book();
        running[share]--;
      }
    };
  }
}

const dist = new URL('../../dist/', import.meta.url);
const { openSession }: typeof Layer = await import(new URL('layer.js', dist).href);
const session = await openSession({ threads: 1 });
watch(
  Object.getPrototypeOf(session),
  ['inverse', 'multiply', 'solveLayers', 'solveTiled', 'pruneLayer'],
  'solve',
);
watch(Object.getPrototypeOf(session.statistics(1, 0, false)), ['addRows', 'addImages', 'finish'], 'gram');
await session.close();
watch(InferenceSession, ['create'], 'engine');
// Its declaration hides that it is a class.
watch((InferenceSession as unknown as { prototype: object }).prototype, ['run'], 'engine');

const start = since;
process.once('exit', () => {
  book();
  const seconds = (since - start) / 1000;
  const shares = SHARES.map((share) => `${share} ${((100 * spent[share]) / (since - start)).toFixed(1)} %`);
  console.error(`${seconds.toFixed(1)} s: ${shares.join(', ')}`);
});
process.argv.splice(1, 1, 'osscar');
await import(new URL('cli.js', dist).href);
