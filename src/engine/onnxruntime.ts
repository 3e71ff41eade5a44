// onnxruntime behind the Engine port: onnxruntime-web by default, or whichever build of the same API
// (onnxruntime-node, a WebGPU build) the user hands over.

import type { InferenceSession, Tensor } from 'onnxruntime-web';
import { InputError, UnsupportedModelError } from '../errors.ts';
import { fromHalves, isNumeric, toHalves } from '../graph/index.ts';
import { expectOptions, OBJECT, type Options, or, TEXT, THREADS } from '../options.ts';
import { unloaded } from '../unloaded.ts';
import {
  ENGINE_SAYS,
  type Engine,
  type EngineSession,
  type ExternalFile,
  type FloatTensor,
  type LoadOptions,
  type ValueDescription,
} from './engine.ts';

/**
 * The part of onnxruntime's API that is used; every build of onnxruntime for JavaScript has it. Its own declarations need
 * those of the DOM.
 */
export interface OnnxRuntime {
  readonly InferenceSession: {
    /** Gives a session that runs the model. */
    create(model: Uint8Array, options?: Readonly<Record<string, unknown>>): Promise<object>;
  };
  readonly Tensor: abstract new (...args: never) => object;
  readonly env: {
    readonly wasm: { numThreads?: number; wasmPaths?: WasmPaths; initTimeout?: number };
    readonly versions: Readonly<Record<string, string | undefined>>;
  };
}

/** The same, as onnxruntime declares it. */
type Runtime = Pick<typeof import('onnxruntime-web'), 'InferenceSession' | 'Tensor' | 'env'>;

/** Where onnxruntime-web finds its files: one folder, or each by its URL. */
export type WasmPaths = string | { readonly mjs?: string | URL; readonly wasm?: string | URL };

/** Of onnxruntime-web, or another build in its place. */
export interface EngineOptions {
  /**
   * Threads of onnxruntime-web. Counts only before its first session in a process. Default: one in a browser, where
   * more need cross-origin isolation and a bundler that lets onnxruntime find its worker; its own choice elsewhere.
   */
  readonly threads?: number;
  /** Counts only before onnxruntime-web's first session. Default: beside the script that holds it. */
  readonly wasmPaths?: WasmPaths;
  /** The runtime to use instead of onnxruntime-web. */
  readonly runtime?: OnnxRuntime;
  /** onnxruntime session options, e.g. `{ executionProviders: ['webgpu'] }`. */
  readonly session?: Readonly<Record<string, unknown>>;
}

const isRuntime = (it: unknown) => ['InferenceSession', 'Tensor', 'env'].every((name) => name in Object(it));
const OPTIONS: Options<EngineOptions> = {
  threads: THREADS,
  wasmPaths: or(TEXT, OBJECT),
  runtime: [isRuntime, 'onnxruntime, as `import * as` gives it'],
  session: OBJECT,
};

/** What constants alone lead to is computed when a model is loaded, up to this; places that are written to one by one take gigabytes. */
const MOST_FOLDED = 2 ** 24;

/** Nothing on the console: what goes wrong is thrown. */
const RUN_OPTIONS: InferenceSession.RunOptions = { logSeverityLevel: 4 };

// Its binary has 14 MB, which a slow line loads meanwhile.
const START_TIMEOUT_MS = 60_000;

/**
 * Opens the engine; onnxruntime-web is imported here, not when the library is.
 *
 * @example
 * const engine = await openEngine({ threads: 2 });
 * const model = await openModel(bytes, { engine });
 */
export async function openEngine(options: EngineOptions = {}): Promise<Engine> {
  expectOptions('openEngine', options, OPTIONS);
  const runtime = (options.runtime ??
    (await import('#onnxruntime').catch(unloaded(`${ENGINE_SAYS}onnxruntime`)))) as OnnxRuntime & Runtime;
  const { wasm }: OnnxRuntime['env'] = runtime.env;
  const isolatedPage = globalThis.crossOriginIsolated === true;
  const { threads: given } = options;
  const threads = given ?? (isolatedPage && !options.runtime ? 1 : undefined);
  if (threads !== undefined) wasm.numThreads = threads;
  if (options.wasmPaths !== undefined) wasm.wasmPaths = options.wasmPaths;
  // A worker that cannot start would leave onnxruntime waiting for ever.
  if (isolatedPage && threads !== 1) wasm.initTimeout ||= START_TIMEOUT_MS;
  const { versions } = runtime.env;
  const build = ['web', 'node'].find((name) => versions[name]);
  const name = build ? `onnxruntime-${build}` : 'onnxruntime';
  return {
    name: `${name} ${versions[build ?? 'common'] ?? ''}`.trim(),
    load: (model, external = [], how = {}) => load(runtime, options.session, model, external, how),
  };
}

async function load(
  runtime: Runtime,
  sessionOptions: InferenceSession.SessionOptions | undefined,
  model: Uint8Array,
  external: readonly ExternalFile[],
  { asUsed = false }: LoadOptions,
): Promise<EngineSession> {
  const options: InferenceSession.SessionOptions = {
    logSeverityLevel: 3, // errors only: warnings about unused initialisers are not the user's concern
    // One level below the default, which fuses Conv + Add + Relu even where the convolution's own output is asked for
    // (1.30), and then has no tensor to return. Small residual networks take a fifth longer for it (measured).
    ...(!asUsed && { graphOptimizationLevel: 'extended' }),
    extra: {
      // Between runs its threads would turn idly where sums are added up meanwhile.
      session: { force_spinning_stop: '1' },
      ...(!asUsed && { optimization: { constant_folding_max_output_size_in_bytes: String(MOST_FOLDED) } }),
    },
    ...sessionOptions,
    ...(external.length > 0 && { externalData: external }),
  };
  const session = await runtime.InferenceSession.create(model, options).catch(
    failed(UnsupportedModelError, 'load'),
  );
  const inputs = session.inputMetadata.map(describe);
  const outputs = session.outputMetadata.map(describe);
  const types = new Map(inputs.map(({ name, type }) => [name, type]));
  // Classifiers give names of classes and maps of scores too.
  const numbers = outputs.filter(({ type }) => isNumeric(type)).map(({ name }) => name);
  return {
    inputs,
    outputs,
    async run(feeds, fetches) {
      const tensors: Record<string, Tensor> = {};
      for (const [name, tensor] of Object.entries(feeds)) {
        tensors[name] = toRuntime(runtime, name, types.get(name), tensor);
      }
      const names = fetches ?? numbers;
      const results = await session.run(tensors, names, RUN_OPTIONS).catch(failed(InputError, 'run'));
      return Object.fromEntries(
        Object.entries(results).map(([name, tensor]) => [name, fromRuntime(name, tensor)]),
      );
    },
    release: () => session.release(),
  };
}

function describe(value: InferenceSession.ValueMetadata): ValueDescription {
  return value.isTensor
    ? { name: value.name, type: value.type, dims: value.shape.map(extent) }
    : { name: value.name, type: 'non-tensor', dims: [] };
}

/** onnxruntime-web gives what is negative in the file as an unsigned number. */
function extent(dim: number | string): number | string {
  return typeof dim === 'string' || (dim >= 0 && dim < 2 ** 31) ? dim : -1;
}

type FromFloats = (data: Float32Array, name: string) => Tensor.DataType;

const FROM_FLOATS = new Map<string, FromFloats>([
  ['float32', (data) => data],
  ['float64', (data) => Float64Array.from(data)],
  ['float16', (data) => toHalves(data, 'float16')],
  ['uint8', integers((data) => Uint8Array.from(data), 0, 255)],
  ['int32', integers((data) => Int32Array.from(data), -(2 ** 31), 2 ** 31 - 1)],
  ['int64', integers((data) => BigInt64Array.from(data, BigInt), -(2 ** 63), 2 ** 63 - 1)],
  ['bool', integers((data) => Uint8Array.from(data), 0, 1)],
]);

/** Typed arrays cut off what does not fit, and nobody would know. */
function integers(convert: (data: Float32Array) => Tensor.DataType, least: number, most: number): FromFloats {
  return (data, name) => {
    const bad = data.find((value) => !(Number.isInteger(value) && value >= least && value <= most));
    if (bad === undefined) return convert(data);
    throw new InputError(
      `${ENGINE_SAYS}input "${name}" takes whole numbers of ${least} to ${most}, got ${bad}; images: \`scale: 1\``,
    );
  };
}

function toRuntime(runtime: Runtime, name: string, type: string | undefined, tensor: FloatTensor): Tensor {
  if (type === undefined) throw new InputError(`${ENGINE_SAYS}the model has no input "${name}"`);
  const convert = FROM_FLOATS.get(type);
  if (convert) return new runtime.Tensor(type as Tensor.Type, convert(tensor.data, name), tensor.dims);
  throw new UnsupportedModelError(
    `${ENGINE_SAYS}input "${name}" has type ${type}; float32, float64, float16, uint8, int32, int64 and bool are supported`,
  );
}

function fromRuntime(name: string, tensor: Tensor): FloatTensor {
  const { type, dims, data } = tensor;
  switch (type) {
    case 'float32':
      return { dims, data: data as Float32Array };
    case 'float16':
      // Engines with Float16Array hand that out, others the bits in a Uint16Array.
      if (data instanceof Uint16Array) return { dims, data: fromHalves(data, 'float16') };
      return { dims, data: Float32Array.from(data as never) };
    case 'string':
      throw new UnsupportedModelError(`${ENGINE_SAYS}output "${name}" holds strings`);
    default:
      return { dims, data: Float32Array.from(data as Iterable<number | bigint>, Number) };
  }
}

/** Before what is wrong: a code, and the place in onnxruntime's own source with the signature of the function there. */
const PREAMBLES = [
  /^.*?ERROR_CODE: \d+, ERROR_MESSAGE: /,
  /^(\[ONNXRuntimeError\] )?: \d+ : [A-Z_]+ : /,
  /\S*\/onnxruntime\/\S+:\d+ [^()]*\([^()]*\)(?: const)?(?: \[[^\]]*\])? (?:false was false\. )?/,
];

/**
 * What is wrong, of a message of onnxruntime: these run over several lines, of which the first says it.
 *
 * @example
 * whatIsWrong("Can't create a session. ERROR_CODE: 6, ERROR_MESSAGE: narrowing_error"); // 'narrowing_error'
 */
export function whatIsWrong(message: string): string {
  const [line] = message.split('\n', 1);
  return PREAMBLES.reduce((left, preamble) => left.replace(preamble, ''), line) || line;
}

/** What a message says that is meant for who wrote onnxruntime, and what it comes to. */
const HINTS: readonly (readonly [said: RegExp, hint: string])[] = [
  [
    /Could not find an implementation/,
    ' (opset 7 and later, and float32, are what it has most operators for)',
  ],
  [/std::bad_alloc/, ' (its values do not fit the memory that is left, in WebAssembly 4 GiB at most)'],
];

function failed(Problem: typeof InputError | typeof UnsupportedModelError, action: string) {
  return (error: unknown): never => {
    const line = whatIsWrong(String(error instanceof Error ? error.message : error));
    const isFull = /WebAssembly\.Memory.*could not allocate/.test(line);
    const [, start] =
      /no available backend.*?\[wasm\] (?:\w+: Aborted\()?(.+?)(?:\)\. Build|, \[|$)/.exec(line) ?? [];
    if (isFull || start) {
      const why = isFull
        ? 'there is no address space for a WebAssembly memory (see ulimit -v)'
        : `${start}; in a page its ort-wasm-simd-threaded.wasm lies beside the script that holds it (or "wasmPaths"), and the policy allows 'wasm-unsafe-eval'`;
      throw new InputError(`${ENGINE_SAYS}onnxruntime cannot start: ${why}`, { cause: error });
    }
    const hint = HINTS.find(([said]) => said.test(line))?.[1] ?? '';
    throw new Problem(`${ENGINE_SAYS}onnxruntime cannot ${action} the model: ${line}${hint}`, {
      cause: error,
    });
  };
}
