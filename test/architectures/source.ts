// Weights in memory, and graphs run in onnxruntime-web.

import * as ort from 'onnxruntime-web';
import {
  type BlockSizes,
  featuresOf,
  type HeadDims,
  type TensorSource,
} from '../../src/checkpoint/architectures/index.ts';
import { type Model, writeModel } from '../../src/graph/index.ts';
import { random } from '../support/random.ts';

ort.env.wasm.numThreads = 1;

/** By name, in the layout of a Hugging Face checkpoint. */
export type Weights = Map<string, { shape: readonly number[]; data: Float32Array }>;

/** Makes seeded weights, uniform with the given standard deviation around a mean. */
export function weightMaker(seed: number) {
  const next = random(seed);
  const weights: Weights = new Map();
  const tensor = (name: string, shape: number[], deviation: number, mean = 0) => {
    const length = shape.reduce((a, b) => a * b, 1);
    const width = deviation * Math.sqrt(12);
    weights.set(name, { shape, data: Float32Array.from({ length }, () => mean + (next() - 0.5) * width) });
  };
  const linear = (name: string, m: number, p: number, bias = true) => {
    tensor(`${name}.weight`, [m, p], p ** -0.5);
    if (bias) tensor(`${name}.bias`, [m], 0.3);
  };
  return { weights, tensor, linear };
}

/** Counts the reads of each tensor in `reads`. */
export function sourceOf(weights: Weights): TensorSource & { reads: Map<string, number> } {
  const reads = new Map<string, number>();
  return {
    tensors: weights,
    reads,
    async read(name) {
      reads.set(name, (reads.get(name) ?? 0) + 1);
      return Float32Array.from(weights.get(name)!.data);
    },
  };
}

export interface Value {
  readonly dims: readonly number[];
  readonly data: Float32Array | BigInt64Array;
}

export function ids(rows: readonly (readonly number[])[]): Value {
  return { dims: [rows.length, rows[0].length], data: BigInt64Array.from(rows.flat(), BigInt) };
}

export interface Session {
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  run(feeds: Record<string, Value>): Promise<Record<string, Value & { data: Float32Array }>>;
  release(): Promise<void>;
}

export async function open(model: Model): Promise<Session> {
  const session = await ort.InferenceSession.create(writeModel(model).model, { logSeverityLevel: 3 });
  return {
    inputs: session.inputNames,
    outputs: session.outputNames,
    async run(feeds) {
      // Some count positions themselves.
      const isTaken = (name: string) => name !== 'position_ids' || session.inputNames.includes(name);
      const taken = Object.entries(feeds).filter(([name]) => isTaken(name));
      const tensors = taken.map(([name, { dims, data }]) => [
        name,
        data instanceof BigInt64Array
          ? new ort.Tensor('int64', data, dims)
          : new ort.Tensor('float32', data, dims),
      ]);
      const results = await session.run(Object.fromEntries(tensors));
      const values = Object.entries(results).map(([name, { dims, data }]) => [name, { dims, data }]);
      return Object.fromEntries(values);
    },
    release: () => session.release(),
  };
}

export async function runOnce(model: Model, feeds: Record<string, Value>): ReturnType<Session['run']> {
  const session = await open(model);
  try {
    return await session.run(feeds);
  } finally {
    await session.release();
  }
}

export function maxDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) throw new Error(`${a.length} and ${b.length} values`);
  let worst = 0;
  for (let i = 0; i < a.length; i++) worst = Math.max(worst, Math.abs(a[i] - b[i])); // NaN wins
  return worst;
}

/** The sizes that the initialisers of a block's graph show. @param features  of narrow heads */
export function sizesOf(
  block: Model,
  dense: HeadDims,
  { keyDim, valueDim, space }: Pick<BlockSizes, 'keyDim' | 'valueDim' | 'space'> = {},
): BlockSizes {
  const features = featuresOf({ keyDim, valueDim }, dense);
  const recurrent = [...block.tensors.values()].find(({ name }) => name.endsWith('.A_log'));
  const delta = space ? undefined : recurrent;
  const own = [...block.tensors.values()].filter(({ name }) => !space || !name.includes('.mamba.'));
  const all = (name: RegExp) => own.filter((it) => name.test(it.name)).map(({ dims }) => dims[1]);
  const columns = (name: RegExp) => all(name)[0] ?? 0;
  const experts = all(/\.experts\.\d+\.(up_proj|w3|gate_up_proj|input_linear)\.weight(#up)?$/);
  return {
    heads:
      delta?.dims[0] ??
      columns(/((q_proj|q_b_proj|query|query_proj|q_lin|attn\.q|SelfAttention\.q)\.weight|weight#q)$/) /
        features.keyDim,
    kvHeads:
      (delta && columns(/(weight#k|linear_attn\.k_proj\.weight)$/) / features.keyDim) ??
      columns(/((v_proj|value|value_proj|v_lin|attn\.v|SelfAttention\.v)\.weight|weight#v)$/) /
        features.valueDim,
    ffn: columns(
      /(fc1|fc_in|ffn\.up_proj|ffn\.proj_1|ffn\.w12|layers\.0\.ffn|(mlp|feed_forward)(\.shared_experts?)?\.up_proj|shared_mlp\.input_linear|c_fc|c_fc_1|feed_forward\.w3|mixer\.(shared_experts\.)?up_proj|mlp\.gate_up_proj|up_gate_proj|dense_h_to_4h|intermediate[._]dense|weights_in|lin1|fc11|gated_layers|Wi|wi|wi_1)\.weight(#up)?$/,
    ),
    ...(experts.length > 0 && { experts }),
    keyDim,
    valueDim,
    ...(space && {
      space: { ...space, heads: recurrent!.dims[0], kvHeads: keysOf(block) / space.keyDim },
    }),
  };
}

/** Features of all keys of a state space. */
function keysOf(block: Model): number {
  return [...block.tensors.values()].find(({ name }) => name.endsWith('.mamba.in_proj.weight#k'))!.dims[1];
}
