// What pruning each structure alone costs the network's outputs, on samples that it was not fitted on.
//
// Some widths of every structure are solved in the dense network, and their effect is carried on to the outputs: in a
// file the network runs on from the cut before the layer; of a folder each further part is opened once and moves all
// that was tried before it.

import type { FloatTensor } from '../../engine/index.ts';
import { elements, type Model, maskInner, type Structure } from '../../graph/index.ts';
import { groupsToKeep, type SolvedLayers } from '../../solve/index.ts';
import { turn } from '../../turn.ts';
import { onlyOutput } from '../data/batches.ts';
import { quarterHeldOut } from '../data/split.ts';
import { statesOf } from '../open/inputs.ts';
import { loadModel, withSessions } from '../open/load.ts';
import type { OpenedModel } from '../open/open.ts';
import { featureMaps, watchedBy } from '../pass/features.ts';
import { Frontier } from '../pass/frontier.ts';
import { lineSums, writeGain } from '../pass/gain.ts';
import { FeatureMoments, narrow, writeNarrowed } from '../pass/narrow.ts';
import { sampleOf, stack } from '../pass/samples.ts';
import { goneWith, layersOf, solveEach, solveTogether, writeLayers } from '../pass/solve.ts';
import { collect, valuesFor } from '../pass/statistics.ts';
import { endOf, isPreliminary, placed, type Step, stepsOf } from '../pass/steps.ts';
import type { Sums } from '../pass/sums.ts';
import { type Place, through } from '../pass/through.ts';
import type { Run } from '../run.ts';
import { activationLimit } from '../store/activations.ts';
import { type Distance, mean } from './score.ts';

/** A structure at some widths, all others whole. */
export interface Alone {
  readonly name: string;
  readonly groups: number;
  /** Of the layer, for k = 0 … groups kept: see `LayerReport.curve`. */
  readonly curve: readonly number[];
  /** The most kept first. */
  readonly points: readonly { readonly kept: number; readonly loss: number }[];
}

/** Fractions of the groups that are tried, beside none where all can go. Between them the layer's own curve says how the loss goes. */
const RATIOS = [0.75, 0.5, 0.3, 0.15];

/** Before a layer nothing is pruned, so that the dense weights are the best target. */
const SELF = { kind: 'self', blend: 0 } as const;
/** Where what reaches it is pruned too. */
const DENSE = { kind: 'dense', blend: 1 } as const;

/** A network with one structure pruned. */
interface Variant {
  readonly name: string;
  readonly kept: number;
  /** What the visited parts have made of the held-out samples, one by one. */
  states: FloatTensor[];
  readonly distances: number[];
}

/** Bytes that are held for `aloneLosses` between two parts. */
function stateBytes({ chain, subject, calibration }: Run, isHeldOut: (index: number) => boolean): number {
  const samples = [...Array(calibration.size).keys()].filter(isHeldOut).length;
  return 4 * samples * elements(chain.between) * subject.structures.length * (RATIOS.length + 1);
}

/**
 * The losses of all structures. Where what must be held between the parts of a folder exceeds `activationBytes`, they are
 * the layers' own relative errors.
 */
export async function aloneLosses(run: Run, distance: Distance): Promise<Alone[]> {
  const { chain, calibration } = run;
  const { isFit, isHeldOut } = quarterHeldOut(calibration);
  const isCarried = chain.parts === 1 || stateBytes(run, isHeldOut) <= activationLimit(run);
  const found: Omit<Alone, 'points'>[] = [];
  const variants: Variant[] = [];
  const last = await through(chain, calibration, run, async (place) => {
    const { part: index } = place.at;
    const isLast = index === chain.parts - 1;
    if (isCarried && variants.length > 0)
      await moveOn(run, place, variants, isLast ? distance : undefined, isHeldOut);
    const { opened } = place.part;
    if (opened) {
      const walk = { run, place, opened, isFit, isHeldOut, distance: isLast ? distance : undefined };
      for await (const { alone, own } of tryPart(walk, isCarried)) {
        found.push(alone);
        variants.push(...own);
        const total = run.subject.structures.length;
        run.onProgress?.({ label: 'structures alone', done: found.length, total });
      }
    }
    return undefined;
  });
  await last.close();
  return found.map((alone) => ({
    ...alone,
    points: variants
      .filter(({ name }) => name === alone.name)
      .map(({ kept, distances }) => ({ kept, loss: mean(Float64Array.from(distances)) })),
  }));
}

/** What the tries in a part share. */
interface Walk {
  readonly run: Run;
  readonly place: Place;
  readonly opened: OpenedModel;
  isFit(index: number): boolean;
  isHeldOut(index: number): boolean;
  /** In the last part. */
  readonly distance?: Distance;
}

async function* tryPart(
  walk: Walk,
  isCarried: boolean,
): AsyncGenerator<{ alone: Omit<Alone, 'points'>; own: Variant[] }> {
  const { run, place, opened, isFit, isHeldOut, distance } = walk;
  const { part } = place.at;
  const { recipe } = run;
  // Other methods have no curve, and sizes are worth to them about the same.
  const solver: Run = { ...run, recipe: { ...recipe, method: 'osscar' } };
  const frontierFor = (samples: 'fit' | 'held out') => {
    const source = place.source(samples === 'fit' ? isFit : isHeldOut);
    return new Frontier(run, opened, () => tried.model, source, { part, samples });
  };
  const tried = { model: opened.model };
  const recipeOfSteps = { ...recipe, correct: false };
  const steps = placed(
    opened.model,
    stepsOf(opened, ({ groups }) => groups - 1, recipeOfSteps, SELF),
  );
  // What norms give in the dense network is asked for, too.
  const hasNorms = steps.some((step) => isPreliminary(step, solver.recipe));
  const [fit, unseen] = [frontierFor('fit'), frontierFor('held out')];
  const canGo = new Set(run.subject.structures.filter((it) => it.canGo).map(({ name }) => name));
  try {
    for (const step of steps) {
      if (step.cuts.length === 0) continue; // refits behind a norm
      for (const frontier of [fit, unseen]) {
        if (distance) frontier.moveDense(hasNorms ? step.from : step.position);
        frontier.movePruned(step.from, watchedBy(opened, step, valuesFor(step.maps, SELF).pruned));
      }
      const sums = step.turned ? [] : await collect(fit, solver, step, SELF, true);
      for (const { structure } of step.cuts) {
        const { name } = place.part.named(structure);
        const { groups } = structure;
        const own: Variant[] = [];
        let curve: readonly number[] = [];
        const trial = { step, structure, sums, fit, tried };
        const solve = structure.features ? await narrower(walk, solver, trial) : cutter(walk, solver, trial);
        const widths = new Set(RATIOS.map((ratio) => groupsToKeep(groups, ratio)));
        if (canGo.has(name)) widths.add(0);
        for (const kept of widths) {
          const found = await solve(kept, own.length === 0);
          if (own.length === 0) curve = [...found.curve!];
          const variant: Variant = { name, kept, states: [], distances: [] };
          own.push(variant);
          if (!isCarried) variant.distances.push(Math.max(0, found.relativeError!));
          else await runOn(walk, unseen, found.model, variant);
        }
        yield { alone: { name, groups, curve }, own };
      }
    }
  } finally {
    for (const frontier of [fit, unseen]) await frontier.close();
  }
}

/** What a structure is tried at some widths by. */
interface Trial {
  readonly step: Step;
  readonly structure: Structure;
  /** Of what the dense network gives the step's layers. */
  readonly sums: readonly Sums[];
  readonly fit: Frontier;
  /** The network that `fit` runs beside the dense one. */
  readonly tried: { model: Model };
}

/** What comes of a width: the network, and how much of what its layers read is gone. */
interface Tried extends Pick<SolvedLayers, 'curve' | 'relativeError'> {
  readonly model: Model;
}

type Solve = (kept: number, wholeCurve: boolean) => Promise<Tried>;

function cutter(walk: Walk, solver: Run, trial: Trial): Solve {
  const { opened } = walk;
  const { step, structure, sums } = trial;
  return async (keep, wholeCurve) => {
    const pass = { target: SELF, search: 'greedy', wholeCurve } as const;
    const layers = layersOf(opened.model, step.maps, sums, new Map(), structure);
    const solved = await solveTogether(solver, pass, opened, step.maps, layers, { keep });
    const { curve, relativeError, kept } = solved;
    const model = isPreliminary(step, solver.recipe)
      ? await ended(walk, solver, trial, kept)
      : masked(opened.model, step, structure, solved);
    return { curve, relativeError, model };
  };
}

/** A network whose norms over channels that were chosen are refitted to what they gave, and then what reads these. */
async function ended(
  { opened }: Walk,
  solver: Run,
  { step, structure, fit, tried }: Trial,
  kept: readonly number[],
): Promise<Model> {
  const model = opened.model.clone();
  const gone = goneWith(new Map(), structure, kept);
  try {
    for (const { step: end } of endOf(opened, step)) {
      tried.model = maskInner(model, new Map([[structure, kept]]));
      if (end.gain) writeGain(model, end.gain, (await lineSums(fit, end.gain)).lines());
      else {
        const sums = await collect(fit, solver, end, DENSE, true);
        const pass = { target: DENSE, search: 'greedy' } as const;
        const layers = layersOf(model, end.maps, sums, gone);
        writeLayers(model, end.maps, await solveEach(solver, pass, opened, end.maps, layers));
      }
    }
  } finally {
    tried.model = opened.model;
  }
  return maskInner(model, new Map([[structure, kept]]));
}

/** Of features of heads, which are turned; what reads them is solved towards what the dense network gives there. */
async function narrower(
  { opened }: Walk,
  solver: Run,
  { step, structure, fit, tried }: Trial,
): Promise<Solve> {
  const around = featureMaps(opened, structure);
  const moments = new FeatureMoments(opened, [structure], fit.samples);
  await moments.addAll(fit);
  return async (keep) => {
    const model = opened.model.clone();
    const narrowed = narrow(model, structure, around, moments.read(), keep);
    writeNarrowed(model, around, narrowed);
    tried.model = model;
    const sums = await collect(fit, solver, step, DENSE, true);
    tried.model = opened.model;
    const kept = Array.from({ length: keep }, (_, i) => i);
    const gone = goneWith(new Map(), structure, kept);
    const layers = layersOf(model, step.maps, sums, gone);
    const pass = { target: DENSE, search: 'greedy' } as const;
    const solved = await solveEach(solver, pass, opened, step.maps, layers);
    const { curve } = narrowed;
    return {
      model: masked(model, step, structure, { layers: solved, kept }),
      curve,
      relativeError: curve[keep],
    };
  };
}

function masked(
  model: Model,
  { maps }: Step,
  structure: Structure,
  { layers, kept }: Pick<SolvedLayers, 'layers' | 'kept'>,
): Model {
  const changed = model.clone();
  writeLayers(changed, maps, layers);
  return maskInner(changed, new Map([[structure, kept]]));
}

/** From the frontier to the end of the part. */
async function runOn(
  { opened, distance }: Walk,
  frontier: Frontier,
  model: Model,
  variant: Variant,
): Promise<void> {
  const states = statesOf(opened.input);
  const { name } = opened.model.outputs.find((it) => !states.some(({ output }) => output === it.name))!;
  const outputs = frontier.run(distance ? [name] : [], [name], model);
  for await (const { dense, pruned, batch, count } of outputs) {
    if (distance) variant.distances.push(...distance(dense[name], batch, count)(pruned[name]));
    else variant.states.push(...samplesIn(pruned[name], count));
  }
}

/** One by one. */
const samplesIn = (tensor: FloatTensor, count: number) =>
  Array.from({ length: count }, (_, i) => sampleOf(tensor, i, tensor.dims.slice(1)));

/** Through a part that is whole; in the last one to the distances of the outputs. */
async function moveOn(
  { chain, signal }: Run,
  { part, source }: Place,
  variants: readonly Variant[],
  distance: Distance | undefined,
  isHeldOut: (index: number) => boolean,
): Promise<void> {
  const load = async () => loadModel(chain.engine, part.opened?.model ?? (await part.read()));
  await withSessions([load], async (session) => {
    let at = 0;
    for await (const batch of source(isHeldOut).batches()) {
      const { input, count } = batch;
      await turn(signal);
      const distances = distance?.(await onlyOutput(session, input, batch), count, count);
      for (const variant of variants) {
        const output = await onlyOutput(session, stack(variant.states.slice(at, at + count)), batch);
        if (distances) variant.distances.push(...distances(output));
        else variant.states.splice(at, count, ...samplesIn(output, count));
      }
      at += count;
    }
  });
  if (distance) for (const variant of variants) variant.states = [];
}

/** Relative errors below it are rounding. */
const SMALLEST_ERROR = 1e-7;

/** The loss of a structure at any width: a power of the layer's own error between the widths that were tried. */
export function lossAt({ groups, curve, points }: Alone, kept: number): number {
  if (kept >= groups) return 0;
  const error = (k: number) => Math.log(Math.max(SMALLEST_ERROR, curve[k] || 0));
  const known = points.map(({ kept, loss }) => ({
    x: error(kept),
    loss: Math.log(Math.max(SMALLEST_ERROR, loss)),
  }));
  // With fewer groups a network is no better; what says otherwise is noise.
  for (let i = 1; i < known.length; i++) known[i].loss = Math.max(known[i].loss, known[i - 1].loss);
  const x = error(kept);
  const right = known.findIndex((it) => it.x >= x);
  if (right === 0) return Math.exp(known[0].loss + x - known[0].x);
  const [a, b] = right < 0 ? known.slice(-2) : [known[right - 1], known[right]];
  const slope = b.x > a.x ? (b.loss - a.loss) / (b.x - a.x) : 0;
  return Math.exp(b.loss + slope * (x - b.x));
}
