// What two models say of the same images.

import type { Dataset, Engine, EngineSession, FloatTensor, OpenedModel } from 'osscar-wasm/model';

/** A class and how sure a model is of it, or nothing where its output is no score of classes. */
export interface Answer {
  readonly label: number;
  /** 0 to 1. */
  readonly certainty: number;
}

export interface Pair {
  readonly name: string;
  readonly dense?: Answer;
  readonly pruned?: Answer;
  /** ‖y − ŷ‖ / ‖y‖ of the first output. */
  readonly difference: number;
}

const BATCH = 16;

/** Both models on all samples, image by image. */
export async function compareModels(
  { input }: Pick<OpenedModel, 'input'>,
  models: readonly [dense: Uint8Array, pruned: Uint8Array],
  samples: Dataset,
  engine: Engine,
): Promise<Pair[]> {
  const sessions: EngineSession[] = [];
  const pairs: Pair[] = [];
  try {
    for (const bytes of models) sessions.push(await engine.load(bytes));
    for await (const { inputs, count, dims = samples.shape, names } of samples.batches(
      input.fixedBatch || BATCH,
    )) {
      const feeds = { [input.name]: { dims: [count, ...dims], data: inputs } };
      const [dense, pruned] = [await firstOutput(sessions[0], feeds), await firstOutput(sessions[1], feeds)];
      const rows = [dense, pruned].map((output) => rowsOf(output, count));
      names.forEach((name, i) => {
        const [y, z] = rows.map((of) => of[i]);
        const isScores = dense.dims.length === 2 && y.length > 1;
        const answers = isScores ? { dense: answerOf(y), pruned: answerOf(z) } : {};
        pairs.push({ name, ...answers, difference: relativeDifference(y, z) });
      });
    }
  } finally {
    for (const session of sessions) await session.release();
  }
  return pairs;
}

async function firstOutput(session: EngineSession, feeds: Record<string, FloatTensor>): Promise<FloatTensor> {
  const [{ name }] = session.outputs;
  return (await session.run(feeds, [name]))[name];
}

function rowsOf({ data }: FloatTensor, count: number): Float32Array[] {
  const size = data.length / count;
  return Array.from({ length: count }, (_, i) => data.subarray(i * size, (i + 1) * size));
}

/** Scores that are no probabilities become such. */
function answerOf(scores: Float32Array): Answer {
  const label = scores.indexOf(Math.max(...scores));
  const sum = scores.reduce((total, it) => total + it, 0);
  if (scores.every((it) => it >= 0) && Math.abs(sum - 1) < 1e-3) return { label, certainty: scores[label] };
  const total = scores.reduce((all, it) => all + Math.exp(it - scores[label]), 0);
  return { label, certainty: 1 / total };
}

function relativeDifference(y: Float32Array, z: Float32Array): number {
  const norm = (of: (i: number) => number) => Math.sqrt(y.reduce((sum, _, i) => sum + of(i) ** 2, 0));
  return norm((i) => y[i] - z[i]) / (norm((i) => y[i]) || 1);
}
