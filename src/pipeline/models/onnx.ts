// An ONNX file for the pipeline: one part, which samples go into and outputs come out of.

import type { Engine } from '../../engine/index.ts';
import { InputError } from '../../errors.ts';
import { nonFiniteAt } from '../../finite.ts';
import {
  countParameters,
  elements,
  graphBytes,
  isFitted,
  isStorable,
  linearMaps,
  liveValues,
  type Model,
  mergedAgain,
  type StoredType,
  sizeAt,
  sizeTerms,
  storedAs,
  storeWeights,
  sum,
  type Term,
  toFloat32,
  type WeightType,
  type WriteOptions,
  weightTensors,
  withListAxis,
  withoutSampleAxis,
  writeModel,
} from '../../graph/index.ts';
import type { SizeKind } from '../budget.ts';
import { batchSize, LARGEST_BATCH } from '../data/batches.ts';
import type { Dataset } from '../data/index.ts';
import type { Sizes } from '../keep.ts';
import {
  externalReader,
  forSizes,
  type OpenedModel,
  openModel,
  openParsed,
  prunableOf,
  shrunkTo,
} from '../open/open.ts';
import { expectIds, rowsFor } from '../open/vocabulary.ts';
import { shrunk } from '../pass/pruned.ts';
import { plannedStep, stepsOf } from '../pass/steps.ts';
import type { Profile } from '../profile.ts';
import { type Recipe, roundingOf } from '../recipe.ts';
import type { Hashable } from '../store/hash.ts';
import {
  NARROW_HEADS,
  PRUNING,
  provenanceText,
  type Round,
  type Shipment,
  type Subject,
  type Writer,
} from '../subject.ts';
import { pinnedOf } from './pinned.ts';

/** Of ONNX files. */
export interface FileOptions extends Pick<WriteOptions, 'externalName'> {
  /** Entries for the metadata of written ONNX models. */
  readonly metadata?: Readonly<Record<string, string>>;
  /**
   * What weights are stored as in ONNX files: `float16`, or `int8` or `int4` with scales, of which the latter are fitted
   * to the calibration samples once more. Values are computed in float32, or in float16 where they were, all the same. `float32` is for
   * weights as the network computes with them. Default: as those of the file are stored.
   */
  readonly weights?: WeightType;
}

/** How far outputs may be off: rounding of float32 is near 1e-6, of float16 near 1e-3. */
const TOLERANCE = { float32: 1e-3, float16: 2e-2 };

export function onnxSubject(opened: OpenedModel, options: FileOptions = {}): Subject {
  const { name, input, model, source, analysis, parameters, bytes, macs } = opened;
  const structures = prunableOf(opened);
  const isHalf = [...model.tensors.values()].some(({ type }) => type === 'float16');
  const stored = storedAs(options.weights, opened.stored);
  return {
    name,
    heads: opened.heads,
    parameters,
    bytes,
    macs,
    structures,
    pinned: pinnedOf(opened),
    notPrunable: analysis.structures
      .filter(({ prunable }) => !prunable)
      .map(({ name, reason = '' }) => ({ name, reason })),
    hasShortcuts: structures.some(({ consumers }) => consumers.some(({ residual }) => residual)),
    tolerance: isHalf ? TOLERANCE.float16 : TOLERANCE.float32,
    file: opened,
    chain: (engine, { smallest, tokens }) => {
      const isUnseen = smallest && !opened.smallest;
      const bySize = isUnseen && opened.branches.find((it) => it.taken && it.bySize);
      if (bySize)
        throw new InputError(
          `${name}: samples have several sizes, and If "${bySize.node}" is decided by these; give them one (\`size\`)`,
        );
      let sized: Promise<OpenedModel> | undefined; // the same for all passes
      return {
        name,
        engine,
        input,
        predictsTokens: opened.predictsTokens || tokens !== undefined,
        takesLabels: true,
        parts: 1,
        between: [],
        async open() {
          if (smallest) sized ??= forSizes(opened, engine, smallest);
          return {
            read: async () => source,
            opened: sized ? await sized : opened,
            batch: 0,
            named: ({ name, layer, kind }) => ({ name, layer, kind }),
          };
        },
      };
    },
    check: async (samples) => {
      checkWeights(opened);
      if (stored && !isStorable(model, stored))
        throw new InputError(
          `${name}: it has no weights that are fewer bytes as ${stored}; leave out \`weights\``,
        );
      await checkIds(opened, samples);
    },
    stored,
    terms: (of) => termsOf(opened, of, stored),
    denseBytes: (stored ?? opened.stored) && bytes,
    profile: (recipe, sizes) => profileOf(opened, recipe, sizes, stored),
    contents: () => contentsOf(opened),
    shipment: async () => shipmentOf(opened),
    writer: async (recipe, _, engine) => fileWriter(opened, recipe, engine, { ...options, stored }),
  };
}

/** @throws {InputError} naming the tensor and its layer, where one of its weights is no number, or a bias is NaN: some are meant to be −∞ */
function checkWeights({ name, model, info }: OpenedModel): void {
  for (const map of linearMaps(model, info.shapes)) {
    const { weight, bias } = weightTensors(model, map);
    for (const tensor of bias ? [weight, bias] : [weight]) {
      const values = toFloat32(tensor);
      const at = tensor === weight ? nonFiniteAt(values) : values.findIndex(Number.isNaN);
      if (at >= 0)
        throw new InputError(
          `${name}: tensor "${tensor.name}" of layer "${map.node}" has ${values[at]} at element ${at}`,
        );
    }
  }
}

/** @throws {InputError} where a window has ids that a table has no row for; what is negative counts from its end */
async function checkIds({ model, input }: OpenedModel, samples: Dataset): Promise<void> {
  const rows = rowsFor(model, input.name);
  if (rows === Infinity) return;
  for await (const { inputs } of samples.batches(LARGEST_BATCH)) expectIds(inputs, rows, -rows, samples.name);
}

/** Bytes that metadata may add. */
const METADATA_BYTES = 2 ** 11;

function termsOf(opened: OpenedModel, of: SizeKind, stored?: StoredType): Term[] {
  const { model, analysis, info, parameters } = opened;
  const sizes = sizeTerms(model, analysis, info.shapes);
  const terms = sizes[of === 'params' ? 'parameters' : of];
  if (of === 'macs') return [...terms];
  // What the terms do not know: constants that were folded away, the graph itself.
  const known = sizeAt(terms, () => 1);
  if (of === 'params') return [...terms, { value: Math.max(0, parameters - known), of: [] }];
  const folded = sum(Array.from(model.tensors.values(), ({ bytes }) => bytes.byteLength));
  return [
    ...(stored ? sizeTerms(model, analysis, info.shapes, stored).bytes : terms),
    { value: graphBytes(model) + METADATA_BYTES + Math.max(0, folded - known), of: [] },
  ];
}

function shipmentOf(opened: OpenedModel): Shipment {
  const { name, source, size, smallest, inputs, dims, residual, heads, isCustom } = opened;
  if (isCustom) throw new InputError(`${name}: operators of one's own cannot be sent to workers`);
  const { model, external = [] } = writeModel(source);
  const files = [model, ...external].map((content, i) => {
    const read = async (at: number, length: number) => content.subarray(at, at + length);
    return { name: String(i), size: content.length, read };
  });
  return { kind: 'file', name, files, how: { size, smallest, inputs, dims, residual, heads } };
}

function profileOf(opened: OpenedModel, recipe: Recipe, sizes: Sizes, weights?: StoredType): Profile {
  const { name, input, model, info, parameters, bytes, macs } = opened;
  // With all the corrections that there may be: the target is not chosen yet, and to be rounded all layers are fitted.
  const isRounded = isFitted(weights);
  const how = isRounded ? roundingOf(recipe) : recipe;
  const steps = stepsOf(opened, ({ name }) => sizes.get(name)!, how, { kind: 'dense', blend: 1 }, isRounded);
  const probed = info.shapes.get(input.name)?.[0] || 1;
  const values = (dims: readonly number[] = []) => elements(dims) / probed;
  const places = liveValues(model, info, input.name).map(({ values: live }) =>
    live.map((value) => values(info.shapes.get(value))),
  );
  const live = Math.max(0, ...places.map(sum));
  return {
    model: name,
    steps: steps.filter(({ maps }) => maps.length > 0).map(plannedStep),
    parameters: { before: parameters, after: countParameters(shrunkTo(opened, sizes)) },
    weights: { largest: parameters, outside: 0, files: 2 * bytes },
    between: 0,
    held: 2 * live, // where a network is, and where it goes on to
    batch: live * batchSize(input, values(info.shapes.get(input.name))),
    all: info.varies ? undefined : sum(Array.from(info.shapes.values(), values)),
    scores: 0,
    macs: { parts: macs, last: 0 },
  };
}

async function* contentsOf({ source, inputs = {}, branches, heads }: OpenedModel): AsyncGenerator<Hashable> {
  const { model, external = [] } = writeModel(source, { externalThreshold: 0 });
  yield model;
  yield* external;
  yield JSON.stringify([Object.entries(inputs), branches]);
  if (heads === 'narrow') yield NARROW_HEADS;
}

function fileWriter(
  opened: OpenedModel,
  recipe: Recipe,
  engine: Engine,
  { metadata = {}, externalName, stored: weights }: FileOptions & Pick<Subject, 'stored'>,
): Writer {
  const { input, parameters, size, smallest, inputs, dims, merged } = opened;
  const { operators } = opened.source;
  let small: Model;
  return {
    async part(_, pruned) {
      small = shrunk(pruned);
    },
    async finish(how, { round, prove }) {
      for (const [key, value] of Object.entries(metadata)) small.setMetadata(key, value);
      const counted = { before: parameters, after: countParameters(small) };
      small.setMetadata(PRUNING, provenanceText(recipe, counted, { ...how, weights }));
      const opening = { name: 'the written model', engine, size, smallest, inputs, dims, operators };
      const exact = weights && onnxSubject(await openParsed(small, opening));
      const stored = exact ? await storedModel(small, exact, weights, round) : small;
      const { lists, single = [] } = input;
      const taken = lists ? withListAxis(stored, lists.names, lists.axis) : withoutSampleAxis(stored, single);
      const model = writeModel(merged ? mergedAgain(taken, merged) : taken, { externalName });
      const external = externalReader(model);
      const subject = onnxSubject(await openModel(model.model, { ...opening, external }));
      return prove({ subject, model, exact, rounding: weights, copies: [] });
    },
    abort: async () => {},
  };
}

/** The model with its weights stored as these. @param exact  the same as it is */
async function storedModel(small: Model, exact: Subject, weights: StoredType, round: Round): Promise<Model> {
  if (!isFitted(weights)) return storeWeights(small, weights);
  let stored = small;
  await round(exact, async (_, part) => {
    stored = storeWeights(shrunk(part), weights, part.onSteps);
  });
  return stored;
}
