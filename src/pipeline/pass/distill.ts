// The pruned network as a whole, fitted to what the dense one gives (knowledge distillation, arXiv 1503.02531, without labels): layers
// were solved one by one, each for what it gives itself; here they go downhill together, as long as samples that are held out gain.

import { type EngineSession, type FloatTensor, isOfEngine } from '../../engine/index.ts';
import { UnsupportedModelError } from '../../errors.ts';
import {
  chained,
  elements,
  fromFloat32,
  inFloat32,
  type LinearMap,
  linearMaps,
  lossGradient,
  type Model,
  nameInChain,
  numbered,
  readWeights,
  shrink,
  subgraph,
  sum,
  type Tensor,
  toFloat32,
  toFloat64,
  type ValueInfo,
  weightTensors,
  withOutputs,
  writeWeights,
} from '../../graph/index.ts';
import { batchSource, feedsOf, type Select } from '../data/batches.ts';
import type { Dataset } from '../data/index.ts';
import { canSplit, imageOf, isHeldOut } from '../data/split.ts';
import { comparedNames, type ModelInput } from '../open/inputs.ts';
import { loadModel, withSessions } from '../open/load.ts';
import { infoOf, type OpenedModel } from '../open/open.ts';
import type { Profile } from '../profile.ts';
import type { Recipe } from '../recipe.ts';
import type { Run } from '../run.ts';
import { contentHash } from '../store/hash.ts';
import { type Example, goDown, type Metric, metricOf } from './descent.ts';
import { minimizeBytes } from './lbfgs.ts';
import { isDerived } from './producers.ts';
import { cutsOf, masked, type PrunedPart } from './pruned.ts';
import { type LastPlace, through } from './through.ts';

/**
 * Of what samples are to the layers, and as much of what is wanted of the outputs: of more samples some are left out, and wanted outputs
 * are computed again.
 */
const EXAMPLE_BYTES = 2 ** 28;
/** Steps in a row that samples held out may gain nothing by: the way is long, and what is measured on few of them rough. */
const PATIENCE = 4;
/** Copies of each network's weights: of the graphs that are joined, and in the engine, of the smaller one with derivatives (measured). */
const COPIES = 7;

/** Bytes that it takes. Weights outside of the parts that are pruned stay as they are. */
export function distillBytes({
  parameters: { before, after },
  weights: { outside },
}: Pick<Profile, 'parameters' | 'weights'>): number {
  return 2 * EXAMPLE_BYTES + 4 * COPIES * (before + after) + minimizeBytes(after - outside);
}

/** Flops of the engine: of every step forwards, of three samples in four back as well. */
export function distillFlops(
  { macs, parameters }: Pick<Profile, 'macs' | 'parameters'>,
  { distill = 0 }: Pick<Recipe, 'distill'>,
  samples: number,
): number {
  const small = (macs.parts + macs.last) * (parameters.after / parameters.before);
  return distill * 2 * small * samples * (1 + 2 * 0.75);
}

/** What came of it. */
export interface Distillation {
  /** What is left of the distance to the dense network's outputs on samples held out: 1 where nothing was gained. */
  readonly left?: number;
  /** Why nothing was done. */
  readonly refused?: string;
}

/** Weights of the smaller network by the names of constants. */
interface Found extends Distillation {
  readonly weights: Readonly<Record<string, Float32Array>>;
}

/** The parts of a pruned network by their numbers, of which each is changed. */
type PrunedParts = ReadonlyMap<number, PrunedPart>;

/** Both networks, each in one graph. */
interface Networks {
  readonly input: ModelInput;
  readonly dense: Model;
  readonly small: Model;
  readonly info: ValueInfo;
  /** Layers of the smaller one. */
  readonly maps: readonly LinearMap[];
  /** The value that they are compared by. */
  readonly output: string;
}

/** A layer's part in the networks. */
interface Own {
  readonly model: Model;
  /** Its constants that are left, with their places in those of `model`. */
  readonly places: Model;
  readonly map: LinearMap;
}

/** Leaves the weights in the parts. */
export async function distill(run: Run, parts: PrunedParts): Promise<Distillation> {
  const { chain, engine, calibration, recipe } = run;
  if (!canSplit(calibration)) return { refused: 'samples are too few to hold some out' };
  const [dense, small]: Model[][] = [[], []];
  const own = new Map<string, Own>();
  let measured: readonly string[] | undefined;
  for (let i = 0; i < chain.parts; i++) {
    const part = await chain.open(i);
    dense.push(await part.read());
    measured = part.opened?.measured;
    const { weighted: model, layers } = parts.get(i) ?? { weighted: dense[i], layers: [] };
    const cuts = cutsOf(layers);
    const maps = part.opened && parts.has(i) ? ownLayers(part.opened, model) : [];
    small.push(inFloat32(shrink(model, cuts)));
    const names = maps.flatMap((map) => tensorsOf(model, map).map(({ name }) => name));
    const places = shrink(numbered(model, names), cuts);
    for (const map of maps) own.set(nameInChain(chain.parts, i, map.node), { model, places, map });
  }
  const beside = new Set(chain.input.others.map(({ name }) => name));
  const whole = chained(small, beside);
  const info = await infoOf(engine, whole, chain.input, calibration.smallest);
  const networks: Networks = {
    input: chain.input,
    dense: chained(dense, beside),
    small: whole,
    info,
    maps: linearMaps(whole, info.shapes).filter(({ node }) => own.has(node)),
    output: comparedNames(typedOutputs(whole, info), chain.input, measured).values[0],
  };
  const hash = run.findings.isKept ? await contentHash(Array.from(whole.tensors.values(), bytesOf)) : '';
  const about = { steps: recipe.distill, hash };
  const { weights, ...found } = await run.findings.once('distilled', about, () => descended(run, networks));
  for (const map of networks.maps) {
    const { model, places, map: of } = own.get(map.node)!;
    const [now, where, all] = [tensorsOf(whole, map), tensorsOf(places, of), tensorsOf(model, of)];
    for (const [i, { name }] of now.entries())
      if (weights[name]) putBack(model, all[i], toFloat64(where[i]), weights[name]);
  }
  return found;
}

/** Samples before the last part, with the parts as they are. */
export async function again(run: Run, parts: PrunedParts, samples: Dataset): Promise<LastPlace> {
  const { chain } = run;
  const history = { name: 'distilled', isDense: false };
  const last = await through(chain, samples, run, async ({ at }) => {
    const pruned = parts.get(at.part);
    return pruned && { model: masked(pruned), history };
  });
  const pruned = parts.get(chain.parts - 1);
  return { ...last, pruned: pruned && masked(pruned) };
}

const bytesOf = ({ bytes }: Tensor) => bytes;
const tensorsOf = (model: Model, map: LinearMap) => Object.values(weightTensors(model, map));

/** Layers whose weights nothing else reads, with factors in their weights. */
function ownLayers({ info }: OpenedModel, model: Model): LinearMap[] {
  const own = linearMaps(model, info.shapes).filter(
    (map) => !map.part && !map.isInner && !map.isRecurrent && isDerived(model, info, map),
  );
  for (const map of own) {
    const { W, bias } = readWeights(model, map);
    writeWeights(model, map, W, bias);
  }
  return own;
}

/** What is left of a constant, put where it was. */
function putBack(model: Model, whole: Tensor, places: Float64Array, values: Float32Array): void {
  const all = toFloat32(whole).slice();
  places.forEach((place, i) => {
    all[place] = values[i];
  });
  model.tensors.set(whole.name, fromFloat32(all, whole.dims, whole));
}

async function descended(run: Run, networks: Networks): Promise<Found> {
  const { engine, onProgress, chain, recipe } = run;
  const { dense, small, info } = networks;
  // By squares of its scores fashion-mobilenet gains nothing, by their divergence 0.017 of the accuracy (measured).
  const isScored = chain.predictsTokens || (await hasClasses(run, networks));
  const output = isScored ? scoresOf(networks) : networks.output;
  const found = lossGradient(small, networks.maps, output, info, isScored ? 'divergence' : 'squares');
  if (!found) return { weights: {}, refused: 'no derivative of its outputs by its layers is known' };
  const { gradient, by } = found;
  const inputs = small.inputs.map(({ name }) => name);
  const computed = gradient.inputs.filter((name) => !inputs.includes(name));
  const loads = [
    () => loadModel(engine, withOutputs(dense, [output])),
    ...(computed.length > 0 ? [() => engine.load(subgraph(small, inputs, computed, info))] : []),
  ];
  try {
    return await withSessions(loads, async (teacher, before) => {
      const examplesOf = exampleReader(run, networks, {
        inputs: gradient.inputs,
        computed,
        before,
        teacher,
        output,
        target: gradient.layers[0].target,
      });
      const fit = await examplesOf((image) => !isHeldOut(image));
      const iterations = recipe.distill!;
      const left = await goDown(
        {
          model: small,
          maps: by.map((map) => ({ ...map, columns: [...Array(map.m).keys()], fixed: new Set<number>() })),
          gradient,
          examples: { fit, heldOut: await examplesOf(isHeldOut) },
          metrics: await metricsOf(run, { ...networks, maps: by }, gradient.inputs, fit),
          iterations,
          patience: PATIENCE,
          onStep: (done) => onProgress?.({ label: 'distilling', done, total: iterations }),
        },
        run,
      );
      const tensors = left < 1 ? by.flatMap((map) => tensorsOf(small, map)) : [];
      return { weights: Object.fromEntries(tensors.map((it) => [it.name, toFloat32(it)])), left };
    });
  } catch (error) {
    // Both networks themselves have run: nothing but the derivatives is at fault.
    if (!(error instanceof UnsupportedModelError || isOfEngine(error))) throw error;
    return { weights: {}, refused: error.message };
  }
}

/** What examples are read by. */
interface Reading {
  /** What the gradient is given. */
  readonly inputs: readonly string[];
  /** Of these what is no input of the network, and what computes it. */
  readonly computed: readonly string[];
  readonly before?: EngineSession;
  /** What gives the outputs that are wanted, and their name as an input of the gradient. */
  readonly teacher: EngineSession;
  readonly output: string;
  readonly target: string;
}

/** Of how many images one is looked at, where all of them take so many bytes: of four of them at least. */
export function imageStep(images: number, bytes: number): number {
  return Math.max(1, Math.min(Math.ceil(bytes / EXAMPLE_BYTES), Math.floor(images / 4)));
}

/** Of the samples of images that are asked for, numbered without those that are left out. */
function exampleReader(
  { calibration }: Run,
  { input, info }: Networks,
  { inputs, computed, before, teacher, output, target }: Reading,
): (isAsked: (image: number) => boolean) => Promise<Example[]> {
  const bytesOf = (names: readonly string[]) => 4 * calibration.size * valuesOf(input, info, names);
  const step = imageStep(imageOf(calibration.size, calibration), bytesOf(inputs));
  const isKept = bytesOf([output]) <= EXAMPLE_BYTES;
  return async (isAsked) => {
    const select: Select = (i) => {
      const image = imageOf(i, calibration);
      return image % step === 0 && isAsked(image / step);
    };
    const examples: Example[] = [];
    for await (const batch of batchSource(calibration, input, select).batches()) {
      const made = await before?.run(feedsOf(before, batch, batch.input), computed);
      const values: Record<string, FloatTensor> = { [input.name]: batch.input, ...batch.others, ...made };
      const feeds = Object.fromEntries(inputs.map((name) => [name, values[name]]));
      let wanted: Promise<Record<string, FloatTensor>> | undefined;
      const targets = async () => {
        const given = wanted ?? teacher.run(feedsOf(teacher, batch, batch.input), [output]);
        if (isKept) wanted = given;
        return { [target]: (await given)[output] };
      };
      examples.push({ feeds, samples: batch.input.dims[0], targets });
    }
    return examples;
  };
}

/** A graph need not say what its outputs are. */
function typedOutputs({ outputs }: Model, { types }: ValueInfo): { name: string; type: string }[] {
  return outputs.map(({ name }) => ({ name, type: types.get(name) ?? 'float32' }));
}

/** Whether the output has a score of every class for each of labelled samples. */
async function hasClasses({ calibration, chain }: Run, { input, info, output }: Networks): Promise<boolean> {
  if (!chain.takesLabels || info.shapes.get(output)?.length !== 2) return false;
  for await (const { labels } of batchSource(calibration, input).batches()) return labels !== undefined;
  return false;
}

/** What probabilities are made of, where both networks have that; or the output itself. */
function scoresOf({ dense, small, output }: Networks): string {
  const { opType, input: [scores] = [] } = dense.producer(output) ?? {};
  return opType === 'Softmax' && [dense, small].every((it) => it.producer(scores)) ? scores : output;
}

/** Numbers of values for one sample. */
function valuesOf({ fixedBatch }: ModelInput, { shapes }: ValueInfo, names: readonly string[]): number {
  return sum(names.map((name) => elements(shapes.get(name) ?? []))) / (fixedBatch || 1);
}

/** Of each layer, by what reaches it in the network as it is; as many at a time as there is room for their inputs. */
async function metricsOf(
  run: Run,
  { input, small, info, maps }: Networks,
  given: readonly string[],
  examples: readonly Example[],
): Promise<Metric[]> {
  const site = { opened: { input, info }, weighted: small, run };
  const samples = sum(examples.map((it) => it.samples));
  const found = new Map<LinearMap, Metric>();
  const pending = [...new Set(maps.map((it) => it.input))];
  while (pending.length > 0) {
    const values = [pending.shift()!];
    const bytesWith = (value: string) => 4 * samples * valuesOf(input, info, [...values, value]);
    while (pending.length > 0 && bytesWith(pending[0]) <= EXAMPLE_BYTES) values.push(pending.shift()!);
    const computed = values.filter((value) => !given.includes(value));
    const load = () => run.engine.load(subgraph(small, given, computed, info));
    const reached = await withSessions(computed.length > 0 ? [load] : [], async (session) => {
      const all: Pick<Example, 'feeds' | 'samples'>[] = [];
      for (const { feeds, samples } of examples)
        all.push({ feeds: { ...feeds, ...(await session?.run(feeds, computed)) }, samples });
      return all;
    });
    for (const map of maps)
      if (values.includes(map.input)) found.set(map, await metricOf(site, map, reached));
  }
  return maps.map((map) => found.get(map)!);
}
