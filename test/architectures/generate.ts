// Greedy generation as loops of the ecosystem do it, with a decoder in optimum's layout.

import {
  featuresOf,
  type LanguageModel,
  type TensorSource,
} from '../../src/checkpoint/architectures/index.ts';
import { ids, open, type Value } from './source.ts';

/** Runs the whole text again for every token. */
export async function generate(
  model: LanguageModel,
  source: TensorSource,
  prompt: readonly number[],
  count: number,
): Promise<number[]> {
  const session = await open(await model.whole(source));
  const tokens = [...prompt];
  for (let i = 0; i < count; i++) {
    const { logits } = await session.run({ input_ids: ids([tokens]) });
    tokens.push(lastArgmax(logits));
  }
  await session.release();
  return tokens.slice(prompt.length);
}

/** Gives one token at a time and what the model kept of those before. */
export async function generateWithPast(
  model: LanguageModel,
  source: TensorSource,
  prompt: readonly number[],
  count: number,
): Promise<number[]> {
  const session = await open(await model.whole(source, { past: true }));
  const tokens: number[] = [];
  let past = emptyPast(model);
  let given = [...prompt];
  let seen = 0;
  for (let i = 0; i < count; i++) {
    const positions = given.map((_, place) => seen + place);
    seen += given.length;
    const outputs = await session.run({
      input_ids: ids([given]),
      attention_mask: ids([new Array(seen).fill(1)]),
      position_ids: ids([positions]),
      ...past,
    });
    tokens.push(lastArgmax(outputs.logits));
    given = [tokens.at(-1)!];
    past = pastFrom(outputs);
  }
  await session.release();
  return tokens;
}

/** What block i keeps in the place of keys and values, or beside them, by its name: extents behind the batch. */
export type States = (i: number) => Readonly<Record<string, readonly number[]>> | undefined;

export function emptyPast(
  model: LanguageModel,
  batch = 1,
  states: States = (i) => (model.sizes[i].heads === 0 ? { conv: [model.hidden, 3] } : undefined),
): Record<string, Value> {
  const empty = (kvHeads: number, features: number): Value => ({
    dims: [batch, kvHeads, 0, features],
    data: new Float32Array(),
  });
  return Object.fromEntries(
    model.sizes.flatMap((size, i) => {
      const { keyDim, valueDim } = featuresOf(size, model);
      const kept = states(i);
      const all = Object.entries(kept ?? {}).map(([name, own]): [string, Value] => {
        const dims = [batch, ...own];
        const [first, ...others] = name.split('.');
        return [
          `past_${[first, i, ...others].join('.')}`,
          { dims, data: new Float32Array(dims.reduce((a, b) => a * b)) },
        ];
      });
      if (kept && !size.space) return all;
      return [
        ...all,
        [`past_key_values.${i}.key`, empty(size.kvHeads, keyDim)],
        [`past_key_values.${i}.value`, empty(size.kvHeads, valueDim)],
      ];
    }),
  );
}

export function pastFrom(outputs: Record<string, Value>): Record<string, Value> {
  return Object.fromEntries(
    Object.entries(outputs)
      .filter(([name]) => name.startsWith('present'))
      .map(([name, value]) => [
        name.replace('present.', 'past_key_values.').replace(/^present_/, 'past_'),
        value,
      ]),
  );
}

function lastArgmax({ dims, data }: Value): number {
  const vocabulary = dims[2];
  const last = data.subarray(data.length - vocabulary) as Float32Array;
  return last.reduce((best, value, i) => (value > last[best] ? i : best), 0);
}
