// onnxruntime behind the Engine port: onnxruntime-web by default, or whichever build of the same API
// (onnxruntime-node, a WebGPU build) the user hands over.

import type { InferenceSession, Tensor } from 'onnxruntime-web';
import { InputError, UnsupportedModelError } from '../errors.ts';
import { float16ToFloat32, float32ToFloat16 } from '../graph/index.ts';
import type { Engine, EngineSession, ExternalFile, FloatTensor, ValueDescription } from './engine.ts';

/** The part of onnxruntime's API that is used; every build of onnxruntime for JavaScript has it. */
export interface OnnxRuntime {
  readonly InferenceSession: typeof InferenceSession;
  readonly Tensor: typeof Tensor;
  readonly env: {
    readonly wasm: { numThreads?: number; wasmPaths?: WasmPaths; initTimeout?: number };
    readonly versions: Readonly<Record<string, string | undefined>>;
  };
}

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
  readonly session?: InferenceSession.SessionOptions;
}

/** Nothing on the console: what goes wrong is thrown. */
const RUN_OPTIONS: InferenceSession.RunOptions = { logSeverityLevel: 4 };

// Its binary has 14 MB, which a slow line loads meanwhile.
const START_TIMEOUT_MS = 60_000;

/** Opens the engine; onnxruntime-web is imported here, not when the library is. */
export async function openEngine(options: EngineOptions = {}): Promise<Engine> {
  const runtime = options.runtime ?? ((await import('#onnxruntime')) as OnnxRuntime);
  const { wasm } = runtime.env;
  const isolatedPage = globalThis.crossOriginIsolated === true;
  const threads = options.threads ?? (isolatedPage && !options.runtime ? 1 : undefined);
  if (threads !== undefined) wasm.numThreads = threads;
  if (options.wasmPaths !== undefined) wasm.wasmPaths = options.wasmPaths;
  // A worker that cannot start would leave onnxruntime waiting for ever.
  if (isolatedPage && threads !== 1) wasm.initTimeout ||= START_TIMEOUT_MS;
  const version = runtime.env.versions.web ?? runtime.env.versions.node ?? runtime.env.versions.common ?? '';
  const build = runtime.env.versions.web
    ? 'onnxruntime-web'
    : runtime.env.versions.node
      ? 'onnxruntime-node'
      : 'onnxruntime';
  return {
    name: `${build} ${version}`.trim(),
    load: (model, external) => load(runtime, options.session ?? {}, model, external ?? []),
  };
}

async function load(
  runtime: OnnxRuntime,
  sessionOptions: InferenceSession.SessionOptions,
  model: Uint8Array,
  external: readonly ExternalFile[],
): Promise<EngineSession> {
  let session: InferenceSession;
  try {
    session = await runtime.InferenceSession.create(model, {
      logSeverityLevel: 3, // errors only: warnings about unused initialisers are not the user's concern
      // One level below the default, at the same speed: the default fuses Conv + Add + Relu even where the
      // convolution's own output is asked for (1.30), and then has no tensor to return.
      graphOptimizationLevel: 'extended',
      ...sessionOptions,
      ...(external.length > 0 && { externalData: external.map(({ path, data }) => ({ path, data })) }),
    });
  } catch (error) {
    throw new UnsupportedModelError(`engine: onnxruntime cannot load the model: ${firstLine(error)}`, {
      cause: error,
    });
  }
  const inputs = session.inputMetadata.map(describe);
  const outputs = session.outputMetadata.map(describe);
  const types = new Map(inputs.map(({ name, type }) => [name, type]));
  return {
    inputs,
    outputs,
    async run(feeds, fetches) {
      const tensors: Record<string, Tensor> = {};
      for (const [name, tensor] of Object.entries(feeds)) {
        tensors[name] = toRuntime(runtime, name, types.get(name), tensor);
      }
      let results: InferenceSession.ReturnType;
      try {
        results = await session.run(tensors, fetches ? [...fetches] : session.outputNames, RUN_OPTIONS);
      } catch (error) {
        throw new InputError(`engine: onnxruntime cannot run the model: ${firstLine(error)}`, {
          cause: error,
        });
      }
      return Object.fromEntries(
        Object.entries(results).map(([name, tensor]) => [name, fromRuntime(name, tensor)]),
      );
    },
    release: () => session.release(),
  };
}

function describe(value: InferenceSession.ValueMetadata): ValueDescription {
  return value.isTensor
    ? { name: value.name, type: value.type, dims: value.shape }
    : { name: value.name, type: 'non-tensor', dims: [] };
}

function toRuntime(
  runtime: OnnxRuntime,
  name: string,
  type: string | undefined,
  { dims, data }: FloatTensor,
): Tensor {
  switch (type) {
    case 'float32':
      return new runtime.Tensor('float32', data, dims);
    case 'float16':
      return new runtime.Tensor('float16', Uint16Array.from(data, float32ToFloat16), dims);
    case 'uint8':
      return new runtime.Tensor('uint8', Uint8Array.from(data), dims);
    case 'int32':
      return new runtime.Tensor('int32', Int32Array.from(data), dims);
    case 'int64':
      return new runtime.Tensor('int64', BigInt64Array.from(data, BigInt), dims);
    case 'bool':
      return new runtime.Tensor('bool', Uint8Array.from(data), dims);
    case undefined:
      throw new InputError(`engine: the model has no input "${name}"`);
    default:
      throw new UnsupportedModelError(
        `engine: input "${name}" has type ${type}; float32, float16, uint8, int32, int64 and bool are supported`,
      );
  }
}

function fromRuntime(name: string, tensor: Tensor): FloatTensor {
  const { type, dims, data } = tensor;
  switch (type) {
    case 'float32':
      return { dims, data: data as Float32Array };
    case 'float16':
      // Engines with Float16Array hand that out, others the bits in a Uint16Array.
      return {
        dims,
        data:
          data instanceof Uint16Array
            ? Float32Array.from(data, float16ToFloat32)
            : Float32Array.from(data as never),
      };
    case 'string':
      throw new UnsupportedModelError(`engine: output "${name}" holds strings`);
    default:
      return { dims, data: Float32Array.from(data as Iterable<number | bigint>, Number) };
  }
}

/** onnxruntime's messages run over several lines; the first says what is wrong. */
function firstLine(error: unknown): string {
  return String(error instanceof Error ? error.message : error).split('\n', 1)[0];
}
