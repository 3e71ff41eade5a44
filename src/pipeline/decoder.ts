// What exporters of decoders add beside the token ids: masks, positions, key-value caches. A window is run whole and
// from its beginning, so each has one value that goes with it, and the rest of the pipeline need not know of them.

import type { Engine, EngineSession, FloatTensor, ValueDescription } from '../engine/index.ts';
import { elements } from '../graph/tensor.ts';
import { checkValues } from '../limits.ts';

type Fill = (n: number, t: number, dims: ValueDescription['dims']) => FloatTensor;

/** Names as Hugging Face's exporters give them. */
const FILLS: readonly [name: RegExp, fill: Fill][] = [
  [/^attention_mask$/, (n, t) => filled([n, t], () => 1)],
  [/^position_ids$/, (n, t) => filled([n, t], (i) => i % t)],
  [/^token_type_ids$/, (n, t) => filled([n, t], () => 0)],
  // n × heads × 0 × head size: no tokens have gone before.
  [
    /^past_key_values\./,
    (n, _, dims) =>
      filled([n, ...dims.slice(1).map((dim) => (typeof dim === 'number' && dim > 0 ? dim : 0))], () => 0),
  ],
  [/^use_cache_branch$/, () => filled([1], () => 0)],
];

/** Whether an input goes with the token ids. */
export function accompanies(name: string): boolean {
  return FILLS.some(([pattern]) => pattern.test(name));
}

/** Outputs that hand a key-value cache on. */
export function isCache(name: string): boolean {
  return /^present(_key_values)?\./.test(name);
}

/** Values of the inputs that go with windows of token ids. */
export function supplies(session: EngineSession, batch: number, length: number): Record<string, FloatTensor> {
  const values: Record<string, FloatTensor> = {};
  for (const { name, dims } of session.inputs) {
    const fill = FILLS.find(([pattern]) => pattern.test(name))?.[1];
    if (fill) values[name] = fill(batch, length, dims);
  }
  return values;
}

/**
 * The engine with those inputs supplied, and the token ids themselves where only their extents are asked for,
 * because the rest is fed further on.
 *
 * @param length  tokens per window
 */
export function supplied(engine: Engine, input: string, length: number): Engine {
  return {
    name: engine.name,
    load: async (model, external) => wrap(await engine.load(model, external), input, length),
  };
}

function wrap(session: EngineSession, input: string, length: number): EngineSession {
  const { inputs, outputs } = session;
  const fed = inputs.filter(({ name }) => name !== input && !accompanies(name));
  const needsIds = fed.length > 0 && inputs.some(({ name }) => name === input);
  return {
    // Callers feed the first input: the token ids, or the activation that stands for them.
    inputs: fed.length > 0 ? fed : inputs.filter(({ name }) => name === input),
    outputs: outputs.filter(({ name }) => !isCache(name)),
    run(feeds, fetches = outputs.map(({ name }) => name)) {
      const [[name, { dims }]] = Object.entries(feeds);
      // Token ids say their own extents; an activation may have batch and positions in one axis.
      const isWhole = name === input || (dims.length > 1 && dims[1] === length);
      const batch = isWhole ? dims[0] : dims[0] / length;
      const tokens = name === input ? dims[1] : length;
      const ids = needsIds && { [input]: filled([batch, length], () => 0) };
      return session.run({ ...supplies(session, batch, tokens), ...ids, ...feeds }, fetches);
    },
    release: () => session.release(),
  };
}

function filled(dims: number[], value: (i: number) => number): FloatTensor {
  checkValues(dims, 'an input beside the token ids');
  return { dims, data: Float32Array.from({ length: elements(dims) }, (_, i) => value(i)) };
}
