// Runs models in onnxruntime-web: the oracle of the graph tests.

import { create } from '@bufbuild/protobuf';
import * as ort from 'onnxruntime-web';
import { type Model, type Structure, writeModel } from '../../src/graph/index.ts';
import { ValueInfoProtoSchema } from '../../src/graph/onnx_pb.ts';
import { random } from '../support/random.ts';

ort.env.wasm.numThreads = 1;

export interface Value {
  dims: readonly number[];
  data: Float32Array;
}

/** What a model may be given: integers are token ids, positions and lengths, bytes are truth values. */
export interface Feed {
  dims: readonly number[];
  data: Float32Array | BigInt64Array | Int32Array | Uint8Array;
}

/** Seeded numbers in [−1, 1). */
export function randomValue(dims: readonly number[], seed = 7): Value {
  const next = random(seed);
  const count = dims.reduce((a, b) => a * b, 1);
  return { dims, data: Float32Array.from({ length: count }, () => 2 * next() - 1) };
}

/** Seeded token ids below `vocabulary`. */
export function randomTokens(dims: readonly number[], vocabulary: number, seed = 7): Feed {
  const { data } = randomValue(dims, seed);
  return { dims, data: BigInt64Array.from(data, (x) => BigInt(Math.floor(((x + 1) / 2) * vocabulary))) };
}

function typeOf(data: Feed['data']) {
  if (data instanceof Uint8Array) return 'bool';
  return data instanceof BigInt64Array ? 'int64' : data instanceof Int32Array ? 'int32' : 'float32';
}

/** All outputs of a model. */
export async function run(
  model: Uint8Array | Model,
  feeds: Record<string, Feed>,
): Promise<Record<string, Value>> {
  const bytes = model instanceof Uint8Array ? model : writeModel(model).model;
  const session = await ort.InferenceSession.create(bytes, {
    logSeverityLevel: 4, // graphs that do not run are told by what they throw
    graphOptimizationLevel: 'basic',
  });
  try {
    const tensors = Object.entries(feeds).map(([name, { data, dims }]) => [
      name,
      new ort.Tensor(typeOf(data), data, dims),
    ]);
    const results = await session.run(Object.fromEntries(tensors));
    const values = Object.entries(results).map(([name, { dims, data }]) => {
      const numbers =
        data instanceof Float32Array ? data : Float32Array.from(data as Iterable<number | bigint>, Number);
      return [name, { dims, data: numbers }];
    });
    return Object.fromEntries(values);
  } finally {
    await session.release();
  }
}

export async function runModel(model: Model, input: Feed): Promise<Value> {
  const results = await run(writeModel(model).model, { [model.inputs[0].name]: input });
  return results[model.outputs[0].name];
}

/** The model with every computed value among its outputs. */
export function withAllValues(model: Model): Uint8Array {
  const copy = model.clone();
  for (const name of copy.nodes.flatMap(({ output }) => output)) {
    if (name !== '' && !copy.isOutput(name)) copy.outputs.push(create(ValueInfoProtoSchema, { name }));
  }
  return writeModel(copy).model;
}

/** Dims of every computed value of a model, and of what it was given. */
export async function shapesOfFeeds(
  model: Model,
  feeds: Record<string, Feed>,
): Promise<Map<string, readonly number[]>> {
  const results = await run(withAllValues(model), feeds);
  return new Map(
    [...Object.entries(feeds), ...Object.entries(results)].map(([name, { dims }]) => [name, dims]),
  );
}

/** Every computed value of a model, and the input. */
export async function allValues(model: Model, input: Value): Promise<Map<string, Value>> {
  const name = model.inputs[0].name;
  const results = await run(withAllValues(model), { [name]: input });
  return new Map([...Object.entries(results), [name, input]]);
}

export async function shapesOf(model: Model, input: Value): Promise<Map<string, readonly number[]>> {
  const values = await allValues(model, input);
  return new Map([...values].map(([name, { dims }]) => [name, dims]));
}

/** Largest difference, relative to the largest number. */
export function difference(a: Value, b: Value): number {
  if (String(a.dims) !== String(b.dims)) throw new Error(`dims differ: [${a.dims}] and [${b.dims}]`);
  let worst = 0;
  let scale = 0;
  for (let i = 0; i < a.data.length; i++) {
    worst = Math.max(worst, Math.abs(a.data[i] - b.data[i]));
    scale = Math.max(scale, Math.abs(a.data[i]), Math.abs(b.data[i]));
  }
  if (!Number.isFinite(scale)) throw new Error('not finite');
  return scale === 0 ? 0 : worst / scale;
}

/** A random non-empty selection of the channels of a structure. */
export function randomChannels(structure: Structure, random: () => number): number[] {
  const kept = Array.from({ length: structure.groups }, (_, c) => c).filter(() => random() < 0.6);
  return kept.length > 0 ? kept : [Math.floor(random() * structure.groups)];
}
