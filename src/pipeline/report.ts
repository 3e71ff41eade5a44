// What a run says when it is done.

import type { BlockSizes } from '../checkpoint/architectures/index.ts';
import {
  dequantizedText,
  groupBy,
  quantizedText,
  type StoredType,
  type Structure,
  sizeAt,
  type Term,
} from '../graph/index.ts';
import { counted } from '../printable.ts';
import type { Method } from '../solve/index.ts';
import type { AllocationReport, Tradeoff } from './allocate/index.ts';
import type { StageTime } from './clock.ts';
import type { Named } from './keep.ts';
import type { Metric } from './measure/evaluate.ts';
import type { Fidelity } from './measure/fidelity.ts';
import { hasFewRows, samplesFor } from './measure/plausible.ts';
import type { Proof } from './measure/verify.ts';
import { type Pinned, wholeHeadsTexts } from './models/pinned.ts';
import { branchTexts } from './open/branches.ts';
import { inputTexts } from './open/inputs.ts';
import type { Distillation } from './pass/distill.ts';
import type { PrunedLayer } from './pass/pruned.ts';
import type { BeforeAfter } from './profile.ts';
import type { Recipe } from './recipe.ts';
import type { Run } from './run.ts';
import type { StoredCopy } from './subject.ts';
import type { TargetReport } from './target.ts';

/** A structure and what is left of it. */
export interface LayerReport
  extends Named,
    Pick<PrunedLayer, 'kept' | 'damping'>,
    Required<Pick<PrunedLayer, 'relativeError'>>,
    Pick<Structure, 'groups'> {
  /**
   * Whether these groups are features of each head of an attention (`heads: 'narrow'`). Absent where they are not. Those of queries and
   * keys alone have `relativeError` and `curve` of the scores.
   */
  readonly isFeatures?: boolean;
  /**
   * Relative error of the greedy elimination with k = 0 … groups groups kept (`osscar`; `ziplm` down to the kept ones,
   * NaN below, null in JSON): the layer's own, or of layers that share the channels the sum, each relative to its signal. Of the
   * objective with its damping, before any local search: at the kept ones not `relativeError`, which is of the data alone.
   */
  readonly curve?: readonly number[];
  /** Fraction of the dense model's multiply-adds that this structure saves alone; what several save together is less than the sum. */
  readonly macsSaved: number;
}

/** What was pruned, how, and what it cost. */
export interface PruneReport {
  readonly recipe: Recipe;
  readonly target: TargetReport;
  /** How sizes were found, where a budget was given. */
  readonly allocation?: AllocationReport;
  /** Of a budget that is counted: what other sizes are expected to lose. */
  readonly tradeoff?: Tradeoff;
  /** Where the network was fitted as a whole (`distill`): what that left of the distance to the dense one's outputs, on samples held out. */
  readonly distilled?: { readonly left: number };
  /** Calibration samples, and the dims of one: `[tokens]` of a language model. */
  readonly samples: number;
  readonly sample: readonly number[];
  readonly parameters: BeforeAfter;
  /** Of the files. */
  readonly bytes: BeforeAfter;
  /** What weights of a written ONNX file are stored as, where that is not what the network computes with. */
  readonly weights?: StoredType;
  /** Multiply-adds for one sample, of a file. */
  readonly macs?: BeforeAfter;
  /** Median of one sample in the engine, of a file. */
  readonly latencyMs?: BeforeAfter;
  /** Absent where samples carry no labels. */
  readonly metric?: BeforeAfter &
    Pick<Metric, 'name' | 'samples'> & { readonly data: 'evaluation' | 'calibration' };
  /** The ONNX file whose weights are stored as was asked for, of a folder: `metric` is of what else there is. */
  readonly stored?: Pick<StoredCopy, 'file' | 'bytes'> & {
    readonly weights: StoredType;
    /** As `metric.after`. */
    readonly metric?: number;
  };
  /** How near the pruned network's outputs are to the dense one's, where there is no metric. */
  readonly quality?: Fidelity & { readonly data: 'evaluation' | 'held-out' | 'calibration' };
  /**
   * Largest difference between outputs of the written model and of the masked network, as a part of their range: whether
   * the file is what was solved for, which says nothing of how good that is.
   */
  readonly maxDifference: number;
  readonly layers: readonly LayerReport[];
  /** What speaks against the data, and what they are too few for. */
  readonly warnings: readonly string[];
  /** Why channels of a file stay, by kind. */
  readonly pinned: readonly Pinned[];
  readonly notPrunable: readonly { readonly name: string; readonly reason: string }[];
  /** Of a language model's blocks, as written. */
  readonly sizes?: readonly BlockSizes[];
  /** Who can read the written folder. */
  readonly statement?: string;
  /** Whether its config.json says the sizes, so that stock loaders can. */
  readonly isLoadable?: boolean;
  /** SHA-256 of the calibration samples: data, shapes and labels. Absent where browsers have none (a page that is not secure). */
  readonly calibrationHash?: string;
  readonly memory: {
    /** Peak of the whole process that was planned for. */
    readonly plannedBytes: number;
    /** Bytes of WebAssembly memory that the largest step was said to take, in one thread. */
    readonly wasmBytes: number;
  };
  readonly seconds: number;
  readonly stages: readonly StageTime[];
  readonly engine: string;
  readonly simd: string;
  /** Of the solver. */
  readonly threads: number;
}

/** What a method leaves of the model at the same sizes. */
export interface MethodReport extends Pick<PruneReport, 'metric' | 'quality' | 'seconds'> {
  readonly method: Method;
}

/** A report as it is kept: what was run on what, and where it went. Fields may come to it within a version. */
export interface SavedReport extends PruneReport {
  /** Of this form: a greater one where a reader of this one would err. */
  readonly version: 1;
  readonly calibration: { readonly path: string; readonly samples: number; readonly seed: number };
  /** What the run was told, as a configuration that tells it the same. */
  readonly settings: { readonly model: string; readonly [option: string]: unknown };
  readonly model: { readonly path: string; readonly sha256?: string };
  /** Other methods, where they were asked for. */
  readonly comparison?: readonly MethodReport[];
  /** Of a decoder that was pruned along with its encoder, what has become of that. */
  readonly encoder?: SavedReport;
}

/** What a run has come to. */
interface Outcome extends Pick<PruneReport, 'target' | 'allocation' | 'tradeoff' | 'memory'> {
  readonly layers: readonly PrunedLayer[];
  readonly distilled?: Distillation;
  readonly proof: Proof;
  /** Of the dense model. */
  readonly before?: Metric;
  readonly doubt?: string;
  /** As the search for the target measured it, on samples that it did not fit to. */
  readonly heldOut?: Fidelity;
  /** What was measured on. */
  readonly data: 'evaluation' | 'calibration';
}

export function reportOf(run: Run, outcome: Outcome): PruneReport {
  const { recipe, calibration, calibrationHash, subject, session, engine, clock } = run;
  const { layers, distilled, proof, target, allocation, tradeoff, before, doubt, data, memory } = outcome;
  const { subject: small, maxDifference, latencyMs, sizes, statement, isLoadable, after, stored } = proof;
  const saved = savedBy(subject.terms('macs', calibration.shape));
  const metric = before && after && metricOf(before, after, data);
  const quality = metric ? undefined : qualityOf(outcome);
  const quantized = quantizedText(subject.file?.quantized ?? []);
  return {
    recipe,
    samples: calibration.size,
    sample: calibration.shape,
    parameters: { before: subject.parameters, after: small.parameters },
    bytes: { before: subject.bytes, after: small.bytes },
    weights: subject.stored,
    macs: subject.macs === undefined ? undefined : { before: subject.macs, after: small.macs! },
    latencyMs,
    maxDifference,
    layers: layers.map(({ structure, curve, relativeError = 0, refused: _, ...layer }) => ({
      ...layer,
      groups: structure.groups,
      isFeatures: structure.features && true,
      macsSaved: saved(layer.name, layer.kept.length / structure.groups),
      relativeError,
      curve: curve && [...curve],
    })),
    warnings: [
      ...(doubt === undefined ? [] : [doubt]),
      ...fewRows(layers, calibration.size),
      ...layers.flatMap(unrefitted),
      ...(distilled?.refused === undefined
        ? []
        : [`not fitted as a whole (\`distill\`): ${distilled.refused}`]),
      ...wholeHeadsTexts(layers.map(({ name, structure }) => ({ ...structure, name }))),
      ...(quantized ? [`some layers stay as they are: ${quantized}`] : []),
      ...(subject.file?.dequantized ? [dequantizedText(subject.stored)] : []),
      ...branchTexts(subject.file?.branches ?? []),
      ...(subject.file ? inputTexts(subject.file.input) : []),
      ...farOff(quality),
    ],
    pinned: subject.pinned,
    notPrunable: subject.notPrunable,
    sizes,
    statement,
    isLoadable,
    calibrationHash,
    seconds: clock.seconds,
    stages: clock.stages,
    engine: engine.name,
    simd: session.simd,
    threads: session.threads,
    target,
    allocation,
    tradeoff,
    distilled: distilled?.left === undefined ? undefined : { left: distilled.left },
    metric,
    stored: stored && {
      file: stored.file,
      bytes: stored.bytes,
      weights: stored.rounding,
      metric: stored.metric?.value,
    },
    quality,
    memory,
  };
}

/** What a structure saves that keeps a fraction of its groups, as a fraction of all. */
function savedBy(terms: readonly Term[]): (structure: string, kept: number) => number {
  const all = sizeAt(terms, () => 1);
  return (structure, kept) => 1 - sizeAt(terms, (name) => (name === structure ? kept : 1)) / (all || 1);
}

/** Layers that are alike in one line: deep networks have many. */
function fewRows(layers: readonly Pick<PrunedLayer, 'structure'>[], samples: number): string[] {
  const readers = layers.flatMap(({ structure }) => structure.consumers);
  const few = new Map(readers.filter((it) => hasFewRows(it, samples)).map((it) => [it.node, it]));
  const alike = groupBy(few.values(), ({ p, rows }) => `${p} ${rows}`);
  return Array.from(alike.values(), ([layer, ...others]) => {
    const { node, p, rows } = layer;
    const which = others.length > 0 ? `layers "${node}" and ${others.length} more` : `layer "${node}"`;
    return `${which}: ${counted(rows * samples, 'calibration row')} for ${counted(p, 'input')}; ${counted(samplesFor(layer), 'sample')} or more fit better`;
  });
}

function unrefitted({ name, refused }: Pick<PrunedLayer, 'name' | 'refused'>): string[] {
  return refused === undefined
    ? []
    : [`structure "${name}": the layers that make its channels are as they were: ${refused}`];
}

function metricOf(before: Metric, after: Metric, data: Outcome['data']): PruneReport['metric'] {
  return { name: before.name, samples: before.samples, before: before.value, after: after.value, data };
}

function qualityOf({ heldOut, proof, data }: Outcome): PruneReport['quality'] {
  if (heldOut) return { ...heldOut, data: 'held-out' };
  return proof.fidelity && { ...proof.fidelity, data };
}

/** Outputs that are further off are another network's. */
const LARGE_ERROR = 0.5;

function farOff(quality: PruneReport['quality']): string[] {
  if (!quality || !(quality.relativeError > LARGE_ERROR)) return [];
  const { relativeError, samples, data } = quality;
  return [
    `the outputs are ${(100 * relativeError).toFixed(0)} % off those of the dense network (${counted(samples, `${data} sample`)}); keep more, or calibrate with more samples`,
  ];
}
