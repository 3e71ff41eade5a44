// How fast this machine is, for the estimate of a run's time.

import type { LanguageModel } from '../../checkpoint/architectures/index.ts';
import { type Engine, expectEngine, type FloatTensor } from '../../engine/index.ts';
import { elements, GraphBuilder, type Model } from '../../graph/index.ts';
import type { Kernels } from '../../kernel/index.ts';
import { expectKernels } from '../../solve/index.ts';
import { type Batch, batchSize, feedsOf, madeUp } from '../data/batches.ts';
import { valuesIn } from '../models/described.ts';
import { loadModel } from '../open/load.ts';
import type { OpenedModel } from '../open/open.ts';
import type { Rates } from './plan.ts';

/** Rows and columns of products: enough to leave the overheads behind. */
const SIZE = 512;
const SECONDS = 0.5;
const LEAST_RUNS = 2;
/** Parameters beyond which a model's products are as fast as large ones. */
const MOST_PARAMETERS = 2 ** 26;
/** Values of a window's largest activation beyond which they are too: 256 MiB. */
const MOST_VALUES = 2 ** 26;

/**
 * Times the kernels, and the engine on what it will run: a batch of made-up samples through a model, or a window through a language
 * model's first block, with weights of zero; without a model, and for large ones, products of matrices. Takes about a second, or two
 * runs where these are longer.
 *
 * @param sample  dims of one, of a language model: `[tokens]`
 *
 * @example
 * const rates = await measureRates(engine, await openKernels(), model);
 * const { flops } = plan(model, { keep: 0.5, samples: 512 });
 * const seconds = flops.engine / rates.engine + flops.kernels / rates.kernels;
 */
export async function measureRates(
  engine: Engine,
  kernels: Kernels,
  model?: OpenedModel | LanguageModel,
  sample: readonly number[] = [],
): Promise<Rates> {
  expectEngine('measureRates', engine);
  expectKernels('measureRates', kernels);
  const { graph, batch, macs } = (await forwardOf(model, sample)) ?? product();
  const session = await loadModel(engine, graph);
  const feeds = feedsOf(session, batch, batch.input);
  const mark = kernels.mark();
  try {
    const [A, B, C] = [0, 1, 2].map(() => kernels.matrix(SIZE, SIZE, 'f64'));
    for (const matrix of [A, B]) kernels.view(matrix).fill(1);
    return {
      engine: await rate(macs, () => session.run(feeds)),
      kernels: await rate(SIZE ** 3, async () => kernels.gemm(false, false, 1, A, B, 0, C)),
    };
  } finally {
    kernels.release(mark);
    await session.release();
  }
}

/** What is run, and its multiply-adds. */
interface Forward {
  readonly graph: Model;
  readonly batch: Pick<Batch, 'input' | 'others'>;
  readonly macs: number;
}

async function forwardOf(
  model: OpenedModel | LanguageModel | undefined,
  sample: readonly number[],
): Promise<Forward | undefined> {
  if (!model) return undefined;
  if ('architecture' in model) return firstBlock(model, sample);
  const { model: graph, input, parameters, macs } = model;
  if (parameters > MOST_PARAMETERS || macs === 0 || input.others.some(({ fill }) => !fill)) return undefined;
  const batch = madeUp(input, batchSize(input, elements(input.shape)));
  return { graph, batch, macs: macs * batch.input.dims[0] };
}

async function firstBlock(language: LanguageModel, sample: readonly number[]): Promise<Forward | undefined> {
  const length = language.tokensOf(sample);
  const tensors = language.tensors({ tensors: new Map() });
  const parameters = valuesIn([...tensors.values()].filter(({ block }) => block === 0));
  const largest = length * Math.max(language.hidden, language.sizes[0].heads * length);
  if (parameters > MOST_PARAMETERS || largest > MOST_VALUES) return undefined;
  const read = async (name: string) => new Float32Array(elements(tensors.get(name)!.shape));
  const graph = await language.block({ tensors, read }, 0, { length });
  const { states } = language;
  const others = states && { [states.name]: ones([1, language.statesOf(length), states.width]) };
  const input = ones([1, length, language.hidden]);
  return { graph, batch: { input, others }, macs: length * parameters };
}

function product(): Forward {
  const graph = new GraphBuilder();
  const x = graph.input('x', 'float32', [SIZE, SIZE]);
  const w = graph.floats('w', ones([SIZE, SIZE]).data, [SIZE, SIZE]);
  graph.output(graph.node('MatMul', [x, w]), 'y', 'float32', [SIZE, SIZE]);
  return { graph: graph.build('rates'), batch: { input: ones([SIZE, SIZE]) }, macs: SIZE ** 3 };
}

function ones(dims: readonly number[]): FloatTensor {
  return { dims, data: new Float32Array(elements(dims)).fill(1) };
}

/** Operations per second of the fastest of as many runs as fit. */
async function rate(macs: number, run: () => Promise<unknown>): Promise<number> {
  let best = Number.POSITIVE_INFINITY;
  const start = performance.now();
  for (let runs = 0; runs < LEAST_RUNS || performance.now() - start < 1000 * SECONDS; runs++) {
    const before = performance.now();
    await run();
    best = Math.min(best, performance.now() - before);
  }
  return (2 * macs * 1000) / best;
}
