// A host of the plug-in module in tests: bare WebAssembly, and typed copies in and out.

import { readFileSync } from 'node:fs';
import { type LayerStatistics, unpacked } from '../../src/solve/index.ts';

const BINARIES = { baseline: 'plugin.wasm', relaxed: 'plugin.relaxed.wasm' } as const;
export type Binary = keyof typeof BINARIES;

export const OK = 0;
export const INVALID_ARGUMENT = 1;
export const NOT_POSITIVE_DEFINITE = 2;
export const OUT_OF_MEMORY = 3;
export const NOT_FINITE = 4;

export const REPORT_BYTES = 64;

type Call = (...args: number[]) => number;

export interface Report {
  objective: number;
  dense: number;
  swaps: number;
  optimal: number;
  remaining: number;
  start: number;
  damping: number;
  denseDamping: number;
}

export interface Layer {
  statistics: LayerStatistics;
  W0: Float32Array;
  groupSize: number;
  bias?: Float32Array;
  damping?: number;
  blend?: number;
}

export function binaryModule(binary: Binary): WebAssembly.Module {
  return new WebAssembly.Module(readFileSync(`build/${BINARIES[binary]}`));
}

/** Whether two arrays hold the same bits: comparing their elements one by one takes the test runner seconds. */
export function sameBits(a: Float64Array, b: Float64Array): boolean {
  const bytes = ({ buffer, byteOffset, byteLength }: Float64Array) =>
    new Uint8Array(buffer, byteOffset, byteLength);
  return Buffer.compare(bytes(a), bytes(b)) === 0;
}

/** Relative error of a result, as docs/plugin-abi.md has it. */
export function relativeError({ objective, dense, damping, denseDamping }: Report): number {
  const [ours, all] = [objective - damping, dense - denseDamping];
  return (ours - all) / -all;
}

export class Host {
  readonly abi: Record<string, Call>;
  readonly memory: WebAssembly.Memory;

  constructor(module: WebAssembly.Module) {
    const { exports } = new WebAssembly.Instance(module);
    this.abi = exports as unknown as Record<string, Call>;
    this.memory = exports.memory as WebAssembly.Memory;
  }

  alloc(bytes: number): number {
    return this.succeed(this.abi.osscar_alloc(bytes)) >>> 0;
  }

  f32(values: ArrayLike<number>): number {
    const at = this.alloc(4 * values.length);
    new Float32Array(this.memory.buffer, at, values.length).set(values);
    return at;
  }

  f64(values: ArrayLike<number>): number {
    const at = this.alloc(8 * values.length);
    new Float64Array(this.memory.buffer, at, values.length).set(values);
    return at;
  }

  i32(values: ArrayLike<number>): number {
    const at = this.alloc(4 * values.length);
    new Int32Array(this.memory.buffer, at, values.length).set(values);
    return at;
  }

  ints(at: number, n: number): number[] {
    return Array.from(new Int32Array(this.memory.buffer, at, n));
  }

  doubles(at: number, n: number): Float64Array {
    return new Float64Array(this.memory.buffer, at, n).slice();
  }

  error(): { status: number; text: string; detail: number } {
    const { abi } = this;
    const bytes = new Uint8Array(
      this.memory.buffer,
      abi.osscar_last_error() >>> 0,
      abi.osscar_last_error_length(),
    );
    return {
      status: abi.osscar_last_status(),
      text: new TextDecoder('utf-8', { fatal: true }).decode(bytes),
      detail: abi.osscar_last_error_detail(),
    };
  }

  /** Passes the value on, or throws the module's error. */
  succeed(value: number): number {
    const { status, text } = this.error();
    if (status !== OK) throw new Error(text);
    return value;
  }

  /** The array of sums as the module lays it out. */
  statistics({ p, m, n, XtX, sumX, target }: LayerStatistics): number {
    const parts = [[n, target ? n : 0], sumX, unpacked(XtX, p), target?.sumY ?? [], target?.XtY ?? []];
    const bytes = this.abi.osscar_statistics_bytes(p, target ? m : 0);
    const array = new Float64Array(bytes / 8);
    let at = 0;
    for (const part of parts) {
      array.set(part, at);
      at += part.length;
    }
    if (at !== array.length) throw new Error(`statistics: ${at} values, ${bytes} bytes stated`);
    return this.f64(array);
  }

  problem(layer: Layer): number {
    const { statistics, W0, groupSize, bias, damping = 1e-2, blend = statistics.target ? 1 : 0 } = layer;
    const sums = this.statistics(statistics);
    const weights = this.f32(W0);
    const b0 = bias ? this.f32(bias) : 0;
    const { p, m } = statistics;
    const problem = this.abi.osscar_problem(p, m, groupSize, sums, weights, b0, damping, blend) >>> 0;
    this.succeed(problem);
    for (const at of [sums, weights, b0]) this.abi.osscar_free(at);
    return problem;
  }

  prune(problem: number, layer: Layer, keep: number) {
    const { statistics, bias } = layer;
    return this.solved(statistics, bias, keep, (kept, W, b, report) =>
      this.abi.osscar_prune(problem, keep, kept, W, b, report),
    );
  }

  refit(problem: number, layer: Layer, support: readonly number[]) {
    const { statistics, bias } = layer;
    return this.solved(statistics, bias, support.length, (kept, W, b, report) => {
      new Int32Array(this.memory.buffer, kept, support.length).set(support);
      return this.abi.osscar_refit(problem, support.length, kept, W, b, report);
    });
  }

  report(at: number): Report {
    const [objective, dense, swaps, optimal, remaining, start, damping, denseDamping] = this.doubles(at, 8);
    return { objective, dense, swaps, optimal, remaining, start, damping, denseDamping };
  }

  private solved(
    { p, m }: LayerStatistics,
    bias: Float32Array | undefined,
    keep: number,
    call: (kept: number, W: number, bias: number, report: number) => number,
  ) {
    const kept = this.alloc(4 * keep);
    const W = this.alloc(8 * p * m);
    const b = bias ? this.alloc(8 * m) : 0;
    const report = this.alloc(REPORT_BYTES);
    this.succeed(call(kept, W, b, report));
    const result = {
      kept: this.ints(kept, keep),
      W: this.doubles(W, p * m),
      bias: b ? this.doubles(b, m) : undefined,
      ...this.report(report),
    };
    for (const at of [kept, W, b, report]) this.abi.osscar_free(at);
    return result;
  }
}
