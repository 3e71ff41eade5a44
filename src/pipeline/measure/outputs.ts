// What a model gives, in either network: for measuring it, comparing it and proving it.

import type { FloatTensor } from '../../engine/index.ts';
import { withOutputs } from '../../graph/index.ts';
import { turn } from '../../turn.ts';
import type { Chain, RunOptions } from '../chain.ts';
import { type Batch, feedsOf, type Select } from '../data/batches.ts';
import type { Dataset } from '../data/index.ts';
import { comparedNames } from '../open/inputs.ts';
import { loadModel } from '../open/load.ts';
import { type Place, through } from '../pass/through.ts';

/** Outputs of a part for some samples, in one of the networks. */
export interface Outputs {
  readonly batch: Batch;
  /** The samples' own, padding left out, by name. */
  readonly values: ReadonlyMap<string, FloatTensor>;
  /** The same of states that go on to the next step: a model is not measured by these. */
  readonly states?: ReadonlyMap<string, FloatTensor>;
}

/** What the model gives for the samples that are before its last part. */
export async function* outputsOf(
  { engine, takesLabels, input: taken }: Chain,
  { part, pruned, source }: Place,
  network: 'dense' | 'pruned',
  { signal }: RunOptions,
  select?: Select,
): AsyncGenerator<Outputs> {
  const changed = network === 'pruned' ? pruned : undefined;
  const measured = part.opened?.measured;
  const model = changed ?? (await part.read());
  const session = await loadModel(engine, measured ? withOutputs(model, measured) : model);
  const { values, states } = comparedNames(session.outputs, taken, measured);
  try {
    for await (const sent of source(select).batches()) {
      await turn(signal);
      const batch = takesLabels ? sent : { ...sent, labels: undefined };
      const { input, pruned = input, count } = batch;
      const fed = network === 'dense' ? input : pruned;
      const results = await session.run(feedsOf(session, batch, fed), [...values, ...states]);
      const part = count / input.dims[0];
      const given = (some: readonly string[]) =>
        new Map(some.map((name) => [name, firstPart(results[name], part)]));
      yield { batch, values: given(values), states: given(states) };
    }
  } finally {
    await session.release();
  }
}

/** What a model gives as it stands, for a whole set or some of it. */
export async function* modelOutputs(
  chain: Chain,
  samples: Dataset,
  options: RunOptions,
  select?: Select,
): AsyncGenerator<Outputs> {
  const last = await through(chain, samples, options);
  try {
    yield* outputsOf(chain, last, 'dense', options, select);
  } finally {
    await last.close();
  }
}

/** Not a number of rows: the first axis may hold samples and positions. */
function firstPart({ dims: [rows, ...dims], data }: FloatTensor, part: number): FloatTensor {
  return { dims: [rows * part, ...dims], data: data.subarray(0, data.length * part) };
}
