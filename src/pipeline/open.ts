// Opening a model: read, fold, learn the shapes by one run, analyse.

import type { Engine, EngineSession } from '../engine/index.ts';
import {
  InputError,
  type OsscarError,
  OutOfMemoryError,
  TimeLimitError,
  UnsupportedModelError,
} from '../errors.ts';
import {
  type Analysis,
  type AnalysisOptions,
  analyse,
  concat,
  countMacs,
  countParameters,
  elements,
  foldBatchNormalization,
  foldConstants,
  type Model,
  type ReadExternal,
  type ReadOptions,
  readModel,
  type ValueInfo,
  type WrittenModel,
  withAllValues,
  writeModel,
} from '../graph/index.ts';
import { checkValues } from '../limits.ts';
import { type ModelInput, modelInput, takesTokens } from './batches.ts';
import { supplies } from './decoder.ts';
import type { ModelSize } from './subject.ts';

/** What the file alone does not say. */
export interface OpenOptions extends ReadOptions, AnalysisOptions {
  readonly engine: Engine;
  /** For dimensions that the model leaves open: height and width, or the tokens of a window. */
  readonly size?: readonly number[];
}

/** A model that is ready to be inspected, pruned or evaluated. */
export interface OpenedModel extends Required<ModelSize> {
  /** For messages: the file's name, or `model`. */
  readonly name: string;
  /** As in the file. */
  readonly source: Model;
  /** BatchNormalization folded into the layers before it, constants folded: what is analysed and pruned. */
  readonly model: Model;
  readonly input: ModelInput;
  /** Shapes and types of every value in a run of one sample (or of the fixed batch). */
  readonly info: ValueInfo;
  readonly analysis: Analysis;
  /** The size given for open dimensions. */
  readonly size?: readonly number[];
}

/**
 * @throws {FormatError} where the bytes are not a valid ONNX model
 * @throws {UnsupportedModelError} where the engine refuses the model or it has more than one input
 * @throws {InputError} where input dimensions are open and no size is given
 */
export async function openModel(bytes: Uint8Array, options: OpenOptions): Promise<OpenedModel> {
  const { name = 'model' } = options;
  let externalBytes = 0;
  const external: ReadExternal | undefined =
    options.external &&
    (async (location, offset, length) => {
      externalBytes += length;
      return (options.external as ReadExternal)(location, offset, length);
    });
  const source = await readModel(bytes, { name, external, operators: options.operators });
  return openParsed(source, { ...options, bytes: () => bytes.byteLength + externalBytes });
}

/** @param options.bytes  of the file or files, once the weights are read; default: of the weights as they are written */
export async function openParsed(
  source: Model,
  options: OpenOptions & { bytes?(): number },
): Promise<OpenedModel> {
  const { size, name = source.name } = options;
  refuseQuantized(source, name);
  const model = foldBatchNormalization(foldConstants(source));
  let session: EngineSession | undefined;
  try {
    session = await options.engine.load(withAllValues(model));
    const input = withSize(modelInput(session), size);
    const batch = input.fixedBatch || 1;
    const { shapes, results } = await probe(session, input.name, [batch, ...input.shape]);
    const types = new Map([...session.inputs, ...session.outputs].map((value) => [value.name, value.type]));
    // Extents that mean different things should differ: a batch of one hides what mixes it with other axes.
    const isFree = takesTokens(input) && !input.fixedBatch && modelInput(session).shape[0] === 0;
    const told = isFree ? (await probe(session, input.name, DISTINCT)).shapes : shapes;
    return {
      name,
      source,
      model,
      input: {
        ...input,
        outputs: Math.max(...model.outputs.map(({ name }) => results[name].data.length / batch)),
      },
      info: { shapes, types },
      analysis: analyse(model, told, options),
      bytes:
        options.bytes?.() ??
        [...source.tensors.values()].reduce((sum, { bytes }) => sum + bytes.byteLength, 0),
      size,
      parameters: countParameters(source),
      macs: countMacs(model, shapes),
    };
  } catch (error) {
    throw named(name, error);
  } finally {
    await session?.release();
  }
}

/** Operators on weights that are integers. */
const QUANTIZED =
  /^(QLinear\w+|ConvInteger|MatMulInteger\w*|QGemm|QAttention|QEmbedLayerNormalization|MatMulNBits|MatMulBnb4|DynamicQuantize(MatMul|LSTM)|DequantizeLinear)$/;

/** @throws {UnsupportedModelError} naming the first node with weights that are integers */
function refuseQuantized({ nodes, tensors }: Model, name: string): void {
  const node = nodes.find(
    ({ opType, input }) =>
      QUANTIZED.test(opType) &&
      (opType !== 'DequantizeLinear' || (tensors.get(input[0])?.dims.length ?? 0) > 1),
  );
  if (!node) return;
  const { opType: op } = node;
  throw new UnsupportedModelError(
    `${name}: it is quantized (${op}, node "${node.name}"), and weights of integers are not pruned; prune the model of floats that it was made from, and quantize the result`,
    { node: node.name, op },
  );
}

/** Windows and tokens of a run that no other extent of a model is likely to have. */
const DISTINCT = [2, 11];

async function probe(session: EngineSession, input: string, dims: readonly number[]) {
  checkValues(dims, `input "${input}"`);
  const feeds = {
    ...supplies(session, dims[0], dims[1]),
    [input]: { dims, data: new Float32Array(elements(dims)) },
  };
  const results = await session.run(feeds);
  const shapes = new Map(Object.entries({ ...results, ...feeds }).map(([value, it]) => [value, it.dims]));
  return { shapes, results };
}

function withSize(input: ModelInput, size: readonly number[] | undefined): ModelInput {
  const open = input.shape.filter((dim) => dim === 0).length;
  if (open === 0) return input;
  if (!size || open > size.length) {
    const what = takesTokens(input) ? 'the tokens of a window (--seqlen)' : 'the image size (--size)';
    throw new InputError(
      `input "${input.name}" has open dimensions [${input.shape.map((dim) => dim || '?').join(', ')}]; give ${what}`,
    );
  }
  const fill = [...size].slice(0, open);
  return { ...input, shape: input.shape.map((dim) => dim || (fill.shift() as number)) };
}

/** The same error with the model's name in front, where the message does not have it yet. */
function named(name: string, error: unknown): unknown {
  const aboutModel = [InputError, UnsupportedModelError, TimeLimitError, OutOfMemoryError];
  if (aboutModel.some((kind) => error instanceof kind)) {
    const problem = error as OsscarError;
    if (!problem.message.startsWith(name)) problem.message = `${name}: ${problem.message}`;
  }
  return error;
}

/** Loads a model as it stands into the engine. */
export function loadModel(engine: Engine, model: Model): Promise<EngineSession> {
  const { model: bytes, external } = writeModel(model, {
    externalName: DATA_FILE,
    externalThreshold: INLINE_BYTES,
  });
  return engine.load(bytes, external && [{ path: DATA_FILE, data: concat(external) }]);
}

/** Reads from the external data of a model that is still in memory. */
export function externalReader({ external = [] }: WrittenModel): ReadExternal {
  const data = concat(external);
  return (_, offset, length) => data.subarray(offset, offset + length);
}

/** Beyond, weights go to the engine beside the graph: onnxruntime keeps three copies of those within (measured). */
const INLINE_BYTES = 2 ** 26;

/** Name by which the engine gets external data; no file has it. */
const DATA_FILE = 'weights.data';
