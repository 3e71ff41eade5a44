// The pruned network as a whole, fitted to what the dense one gives (knowledge distillation, arXiv 1503.02531, without labels): layers
// were solved one by one, each for what it gives itself; here they go downhill together, as long as samples that are held out gain.

import { type Engine, type EngineSession, type FloatTensor, isOfEngine } from '../../engine/index.ts';
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
  part,
  readWeights,
  segments,
  shrink,
  sum,
  type Tensor,
  toFloat32,
  toFloat64,
  type ValueInfo,
  weightTensors,
  withOutputs,
  writeWeights,
} from '../../graph/index.ts';
import { type Batch, batchSource, feedsOf, type Select } from '../data/batches.ts';
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
/** Copies of each network's weights: of the parts, and in the engine what derivatives do not move, in two graphs (measured). */
const COPIES = 4;

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
  /** The dense one: whoever gives it holds nothing of it afterwards, as it takes much memory. */
  takeDense(): Model;
  readonly small: Model;
  readonly info: ValueInfo;
  /** Layers of the smaller one. */
  readonly maps: readonly LinearMap[];
  /** The value that they are compared by, and what that is probabilities of, if it is. */
  readonly output: string;
  readonly scores: string;
}

/** The layers of a part, by their names in the networks. */
interface Own {
  readonly model: Model;
  readonly cuts: ReturnType<typeof cutsOf>;
  readonly maps: ReadonlyMap<string, LinearMap>;
}

/** Leaves the weights in the parts. */
export async function distill(run: Run, parts: PrunedParts): Promise<Distillation> {
  const { chain, engine, calibration, recipe } = run;
  if (!canSplit(calibration)) return { refused: 'samples are too few to hold some out' };
  const [dense, small]: Model[][] = [[], []];
  const own: Own[] = [];
  let measured: readonly string[] | undefined;
  for (let i = 0; i < chain.parts; i++) {
    const part = await chain.open(i);
    dense.push(await part.read());
    measured = part.opened?.measured;
    const { weighted: model, layers } = parts.get(i) ?? { weighted: dense[i], layers: [] };
    const cuts = cutsOf(layers);
    const maps = part.opened && parts.has(i) ? ownLayers(part.opened, model) : [];
    small.push(inFloat32(shrink(model, cuts)));
    const named = maps.map((map) => [nameInChain(chain.parts, i, map.node), map] as const);
    own.push({ model, cuts, maps: new Map(named) });
  }
  const beside = new Set(chain.input.others.map(({ name }) => name));
  const whole = chained(small, beside);
  const info = await infoOf(engine, whole, chain.input, calibration.smallest);
  const [output] = comparedNames(typedOutputs(whole, info), chain.input, measured).values;
  const networks: Networks = {
    input: chain.input,
    takeDense: () => chained(dense.splice(0), beside),
    small: whole,
    info,
    maps: linearMaps(whole, info.shapes).filter(({ node }) => own.some(({ maps }) => maps.has(node))),
    output,
    scores: scoresOf([chained(dense, beside), whole], output),
  };
  const hash = run.findings.isKept ? await contentHash(Array.from(whole.tensors.values(), bytesOf)) : '';
  const about = { steps: recipe.distill, hash };
  const { weights, ...found } = await run.findings.once('distilled', about, () => descended(run, networks));
  for (const { model, cuts, maps } of own) {
    const names = [...maps.values()].flatMap((map) => tensorsOf(model, map).map(({ name }) => name));
    const places = shrink(numbered(model, names), cuts);
    for (const map of networks.maps) {
      const of = maps.get(map.node);
      if (!of) continue;
      const [now, where, all] = [tensorsOf(whole, map), tensorsOf(places, of), tensorsOf(model, of)];
      for (const [i, { name }] of now.entries())
        if (weights[name]) putBack(model, all[i], toFloat64(where[i]), weights[name]);
    }
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
  const { small, info } = networks;
  // By squares of its scores fashion-mobilenet gains nothing, by their divergence 0.017 of the accuracy (measured).
  const isScored = chain.predictsTokens || (await hasClasses(run, networks));
  const output = isScored ? networks.scores : networks.output;
  const found = lossGradient(small, networks.maps, output, info, isScored ? 'divergence' : 'squares');
  if (!found) return { weights: {}, refused: 'no derivative of its outputs by its layers is known' };
  const { gradient, by } = found;
  try {
    const [{ target }] = gradient.layers;
    const samples = await reached(run, networks, { inputs: gradient.inputs, output });
    const { end } = samples;
    return await withSessions(end ? [loading(engine, end)] : [], async (session) => {
      const wanted = async ({ others, from }: Reached) =>
        session ? (await session.run(feedsOf(session, { others }, from), [output]))[output] : from;
      const [fit, heldOut] = [samples.fit, samples.heldOut].map((batches) =>
        batches.map((batch) => ({ ...batch, targets: async () => ({ [target]: await wanted(batch) }) })),
      );
      const iterations = recipe.distill!;
      const left = await goDown(
        {
          model: small,
          maps: by.map((map) => ({ ...map, columns: [...Array(map.m).keys()], fixed: new Set<number>() })),
          gradient,
          examples: { fit, heldOut },
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

/** What is asked of samples: what the gradient is given, and the value that is wanted of the dense network. */
interface Asked {
  readonly inputs: readonly string[];
  readonly output: string;
}

/** A batch of them. */
interface Reached {
  readonly feeds: Record<string, FloatTensor>;
  readonly samples: number;
  readonly others: Batch['others'];
  /** What is wanted, or what it is computed from. */
  readonly from: FloatTensor;
}

/** Of how many images one is looked at, where all of them take so many bytes: of four of them at least. */
export function imageStep(images: number, bytes: number): number {
  return Math.max(1, Math.min(Math.ceil(bytes / EXAMPLE_BYTES), Math.floor(images / 4)));
}

/**
 * Samples, once through both networks. Of the dense one what is wanted is kept, or where there is no room for that what its end is computed
 * from, so that no more of it is held and run in every step.
 *
 * @returns with what computes from these what is wanted, where that is still to be done
 */
async function reached(
  { calibration, engine }: Pick<Run, 'calibration' | 'engine'>,
  { input, info, small, takeDense }: Networks,
  { inputs, output }: Asked,
): Promise<{ readonly fit: Reached[]; readonly heldOut: Reached[]; readonly end?: Model }> {
  const given = small.inputs.map(({ name }) => name);
  const computed = inputs.filter((name) => !given.includes(name));
  const bytesOf = (names: readonly string[]) => 4 * calibration.size * valuesOf(input, info, names);
  const hasRoom = (value: string) => bytesOf([value]) <= EXAMPLE_BYTES;
  const dense = takeDense();
  const rest: ReturnType<typeof tailOf> = hasRoom(output)
    ? { from: output }
    : tailOf(dense, small, input, info, output, hasRoom);
  const kept = rest?.from;
  const step = imageStep(imageOf(calibration.size, calibration), bytesOf(inputs));
  // Scores of a vocabulary, as there are several of, outnumber everything else.
  const outputs = Math.max(input.outputs ?? 1, valuesOf(input, info, [output]));
  const before = computed.length > 0 ? [loading(engine, part(small, given, computed, info))] : [];
  const teacher = kept === undefined ? [] : [loading(engine, onlyWith(dense, kept))];
  return withSessions([...before, ...teacher], async (...sessions) => {
    const run = async (session: EngineSession, { input, others }: Batch, names: readonly string[]) =>
      session.run(feedsOf(session, { others }, input), names);
    const read = async (isAsked: (image: number) => boolean) => {
      const select: Select = (i) => {
        const image = imageOf(i, calibration);
        return image % step === 0 && isAsked(image / step);
      };
      const batches: Reached[] = [];
      for await (const batch of batchSource(calibration, { ...input, outputs }, select).batches()) {
        const { input: own, others } = batch;
        const made = computed.length > 0 ? await run(sessions[0], batch, computed) : {};
        const values: Record<string, FloatTensor> = { [input.name]: own, ...others, ...made };
        const feeds = Object.fromEntries(inputs.map((name) => [name, values[name]]));
        const from = kept === undefined ? own : (await run(sessions.at(-1)!, batch, [kept]))[kept];
        batches.push({ feeds, samples: own.dims[0], others, from });
      }
      return batches;
    };
    const fit = await read((image) => !isHeldOut(image));
    return { fit, heldOut: await read(isHeldOut), end: rest ? rest.model : onlyWith(dense, output) };
  });
}

/** Closures hold what is around them: this one the model alone. */
const loading = (engine: Engine, model: Model) => () => loadModel(engine, model);

/**
 * The end of the dense network, from the last value that there is room for; absent where there is none, or where the smaller network's end is
 * another one, as shapes are of that.
 */
function tailOf(
  dense: Model,
  small: Model,
  input: ModelInput,
  info: ValueInfo,
  output: string,
  hasRoom: (value: string) => boolean,
): { readonly from: string; readonly model?: Model } | undefined {
  const from = segments(dense, info, input.name)
    .map(({ value }) => value)
    .findLast((value) => value !== output && info.shapes.has(value) && hasRoom(value));
  if (from === undefined) return undefined;
  const others = input.others.map(({ name }) => name);
  const model = part(dense, [from], [output], info, others);
  const isSame = ({ name, dims }: Tensor) => small.tensors.get(name)?.dims.join() === dims.join();
  return [...model.tensors.values()].every(isSame) ? { from, model } : undefined;
}

/** A model that gives one value. */
function onlyWith(model: Model, value: string): Model {
  const copy = withOutputs(model, [value]);
  copy.graph.output = copy.graph.output.filter(({ name }) => name === value);
  copy.edited();
  return copy;
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
function scoresOf(networks: readonly Model[], output: string): string {
  const { opType, input: [scores] = [] } = networks[0].producer(output) ?? {};
  return opType === 'Softmax' && networks.every((it) => it.producer(scores)) ? scores : output;
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
    const loads = computed.length > 0 ? [loading(run.engine, part(small, given, computed, info))] : [];
    const inputs = await withSessions(loads, async (session) => {
      const all: Pick<Example, 'feeds' | 'samples'>[] = [];
      for (const { feeds, samples } of examples)
        all.push({ feeds: { ...feeds, ...(await session?.run(feeds, computed)) }, samples });
      return all;
    });
    for (const map of maps) if (values.includes(map.input)) found.set(map, await metricOf(site, map, inputs));
  }
  return maps.map((map) => found.get(map)!);
}
