// Other people's matrix products that run where ours do, on one thread each, the way that suits them best: what can be
// prepared beforehand is, and copies are counted only where the library has no call without them.

import { Matrix } from 'ml-matrix';
import type { ElementType } from '../../src/kernel/index.ts';
import { OnnxBuilder } from '../../test/support/onnx-builder.ts';
import { check } from './check.ts';
import type { Contestant } from './time.ts';

/** A·B, or AᵀA where B is left out; A is rows × cols. */
export interface Product {
  readonly type: ElementType;
  readonly rows: number;
  readonly cols: number;
  readonly A: Float64Array;
  /** cols × cols. */
  readonly B?: Float64Array;
}

export interface Peer extends Contestant {
  readonly name: string;
  /** The product, to be checked. */
  result(): Promise<ArrayLike<number>>;
  dispose(): void;
}

/** onnxruntime-web and, for f32, tfjs-backend-wasm. */
export async function productPeers(product: Product): Promise<Peer[]> {
  const peers = [await onnxruntime(product)];
  if (product.type === 'f32') peers.push(await tfjs(product));
  return peers;
}

/** Checks and hands over as contestants, under their names. */
export async function checked(
  peers: readonly Peer[],
  expected: ArrayLike<number>,
  bound: number,
): Promise<Record<string, Peer>> {
  for (const peer of peers) check(peer.name, await peer.result(), expected, bound);
  return Object.fromEntries(peers.map((peer) => [peer.name, peer]));
}

/**
 * B is an initialiser, so that the session packs it once and for all. The product of `run` is copied out of the
 * session's memory and A into it: there is no other call.
 */
async function onnxruntime({ type, rows, cols, A, B }: Product): Promise<Peer> {
  const ort = await import('onnxruntime-web');
  ort.env.wasm.numThreads = 1; // counts only before the first session
  const builder = new OnnxBuilder({ type: type === 'f32' ? 'float32' : 'float64' });
  const input = builder.input([cols]);
  const output = B
    ? builder.node('MatMul', [input, builder.floats(Float32Array.from(B), [cols, cols])])
    : builder.node('Gemm', [input, input], { transA: 1 });
  const session = await ort.InferenceSession.create(builder.output(output).build(), { logSeverityLevel: 3 });
  const feeds = {
    [input]:
      type === 'f32'
        ? new ort.Tensor('float32', Float32Array.from(A), [rows, cols])
        : new ort.Tensor('float64', A, [rows, cols]),
  };
  return {
    name: 'onnxruntime-web',
    run: () => session.run(feeds),
    result: async () => (await session.run(feeds))[output].data as Float32Array | Float64Array,
    dispose: () => void session.release(),
  };
}

/** The tensors live in its own memory; its kernel has done its work when `matMul` returns. */
async function tfjs({ rows, cols, A, B }: Product): Promise<Peer> {
  const tf = await import('@tensorflow/tfjs-core');
  const { setThreadsCount } = await import('@tensorflow/tfjs-backend-wasm');
  setThreadsCount(1);
  if (!(await tf.setBackend('wasm'))) throw new Error('tfjs: the wasm backend does not start');
  const a = tf.tensor2d(Float32Array.from(A), [rows, cols]);
  const b = B ? tf.tensor2d(Float32Array.from(B), [cols, cols]) : a;
  // Its `transposeA` takes fifty times as long as a transpose of its own and the product (4.22).
  const multiply = () => tf.tidy(() => tf.matMul(B ? a : tf.transpose(a), b));
  return {
    name: 'tfjs-backend-wasm',
    run: () => multiply().dispose(),
    async result() {
      const C = multiply();
      const data = C.dataSync();
      C.dispose();
      return data;
    },
    dispose: () => [...new Set([a, b])].forEach((tensor) => void tensor.dispose()),
  };
}

/** ml-matrix keeps f64 rows in JavaScript: n × n. */
export function mlMatrix(n: number, A: Float64Array): Matrix {
  return Matrix.from1DArray(n, n, A);
}

export function mlMatrixProduct(n: number, A: Float64Array, B: Float64Array): Peer {
  const [a, b] = [mlMatrix(n, A), mlMatrix(n, B)];
  return {
    name: 'ml-matrix',
    run: () => a.mmul(b),
    result: async () => a.mmul(b).to1DArray(),
    dispose() {},
  };
}
