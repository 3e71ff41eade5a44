// Statistics of layers over one pass of both networks.

import type { FloatTensor } from '../../engine/index.ts';
import {
  elements,
  type LinearMap,
  padsFor,
  roundsOf,
  type SamplePlace,
  samplesOf,
  sum,
  usesOf,
} from '../../graph/index.ts';
import type { Convolution, LayerStatistics } from '../../solve/index.ts';
import { turn } from '../../turn.ts';
import { concatenated } from '../data/dataset.ts';
import { canSplit, imageOf, isHeldOut } from '../data/split.ts';
import type { Feeds } from '../open/inputs.ts';
import type { OpenedModel } from '../open/open.ts';
import type { Target } from '../recipe.ts';
import type { Run } from '../run.ts';
import type { Frontier, Values } from './frontier.ts';
import { dilated, onGrid, outputOf, partOf, planeOf, planes, stacks } from './images.ts';
import { isInTiles, plannedStep, type Step } from './steps.ts';
import type { Sums } from './sums.ts';

/** Whole or in tiles. */
type AnyStatistics = Pick<
  ReturnType<Run['session']['statistics' | 'tiledStatistics']>,
  'addRows' | 'addImages' | 'finish' | 'dispose'
>;

const hasTarget = ({ isInner }: LinearMap, { kind }: Target) => kind !== 'self' && !isInner;

/** The shortcut that a target leaves out of a sum. */
const shortcutOf = ({ residual }: LinearMap, { kind }: Target) =>
  kind === 'residual' ? residual : undefined;

/** The dense network's value that a layer is fitted to, a shortcut less. */
export function wantedName(map: LinearMap, target: Target): string {
  return shortcutOf(map, target)?.sum ?? map.output;
}

/** The values that layers are fitted by, of either network. */
export function valuesFor(maps: readonly LinearMap[], target: Target): { dense: string[]; pruned: string[] } {
  const dense = new Set<string>();
  const pruned = new Set<string>();
  for (const map of maps.flatMap(usesOf)) {
    pruned.add(map.input);
    if (!hasTarget(map, target)) continue;
    const residual = shortcutOf(map, target);
    dense.add(wantedName(map, target));
    if (residual) pruned.add(residual.shortcut);
  }
  return { dense: [...dense], pruned: [...pruned] };
}

/** A layer's sums while they are added up: over the samples that it is fitted to, and over those that are held out. */
interface Accumulator {
  readonly map: LinearMap;
  /** The step of the grid. */
  readonly stride: number;
  readonly fit: AnyStatistics;
  readonly heldOut?: AnyStatistics;
}

/**
 * Sums of each layer over the samples behind the frontier, every fourth of them apart; of those in tiles of all.
 *
 * @param isThin  whether convolutions are looked at on a grid of positions, where there are many for each input
 */
export async function collect(
  frontier: Frontier,
  { session, recipe, clock, calibration }: Run,
  step: Step,
  target: Target,
  isThin = false,
): Promise<Sums[]> {
  const { opened, samples } = frontier;
  const { maps } = step;
  const inTiles = isInTiles(plannedStep(step), recipe, session.maximumBytes);
  const splits = !inTiles && canSplit({ ...calibration, size: samples });
  const all: AnyStatistics[] = [];
  const open = (map: LinearMap, stride: number) => {
    const shape = [map.p, map.m, hasTarget(map, target)] as const;
    all.push(
      inTiles ? session.tiledStatistics(...shape) : session.statistics(...shape, onGridOf(map, stride)),
    );
    return all[all.length - 1];
  };
  const { dense, pruned } = valuesFor(maps, target);
  let { first } = frontier;
  let added: Promise<unknown> = Promise.resolve();
  try {
    const accumulators = maps.map((map): Accumulator => {
      const stride = isThin ? thinning(map, samples) : 1;
      const fit = open(map, stride);
      return { map, stride, fit, heldOut: splits ? open(map, stride) : undefined };
    });
    for await (const values of frontier.run(dense, pruned)) {
      // The networks have run on the next batch while this was being added.
      await clock.time('waiting', () => added);
      const from = first;
      const isUnseen = (index: number) => splits && isHeldOut(imageOf(from + index, calibration));
      const adding = accumulators.flatMap((it) => addBatch(it, opened, values, target, isUnseen));
      added = clock.time('statistics', () => Promise.all(adding));
      added.catch(() => {}); // awaited above or below
      first += values.count;
    }
    await clock.time('waiting', () => added);
    return await Promise.all(accumulators.map(finished));
  } catch (error) {
    await Promise.all(all.map((it) => it.dispose()));
    throw error;
  }
}

function addBatch(
  { map, stride, fit, heldOut }: Accumulator,
  opened: OpenedModel,
  values: Values,
  target: Target,
  isUnseen: (index: number) => boolean,
): Promise<unknown>[] {
  const indices = indicesOf(values.count);
  const unseen = indices.filter(isUnseen);
  const seen = indices.filter((index) => !isUnseen(index));
  return usesOf(map).flatMap((use) => {
    const add = sampleParts(opened, use, values, target, stride);
    return heldOut ? [add(seen, fit), add(unseen, heldOut)] : [add(seen, fit)];
  });
}

async function finished({ fit, heldOut }: Accumulator): Promise<Sums> {
  const unseen = await heldOut?.finish({ shared: true });
  return { fit: await fit.finish({ shared: true }), ...(unseen?.n && { heldOut: unseen }) } as Sums;
}

/** Σx and XᵀX of a layer's inputs, on a grid of positions, where there are many for each input. */
export async function inputSums(
  opened: Sampled,
  map: LinearMap,
  batches: readonly { readonly feeds: Feeds; readonly samples: number }[],
  { session, signal }: Run,
): Promise<LayerStatistics> {
  const stride = thinning(map, sum(batches.map(({ samples }) => samples)));
  const statistics = session.statistics(map.p, map.m, false, onGridOf(map, stride));
  try {
    for (const { feeds, samples } of batches) {
      await turn(signal);
      const values: Values = { dense: {}, pruned: feeds, batch: samples, count: samples };
      const add = sampleParts(opened, map, values, { kind: 'self', blend: 0 }, stride);
      await add(indicesOf(samples), statistics);
    }
    return await statistics.finish();
  } catch (error) {
    await statistics.dispose();
    throw error;
  }
}

/** Rows for each input of a layer that thin statistics do not go below: with more of them supports hardly change. */
const THIN_ROWS = 48;

/** The step of the grid. */
function thinning({ conv, rows, p }: LinearMap, samples: number): number {
  let stride = 1;
  if (conv?.inputDilations) return 1; // a grid would show some of the kernel's taps alone
  while (conv && samples * rows >= THIN_ROWS * p * (2 * stride) ** 2 && rows >= (4 * stride) ** 2)
    stride *= 2;
  return stride;
}

/**
 * The convolution that a layer is, where it is one, on every `stride`-th row and column of its output. Not of a transposed one:
 * its output may have rows and columns that its padding does not tell of.
 */
function onGridOf({ conv }: LinearMap, stride: number): Convolution | undefined {
  if (!conv || conv.inputDilations) return undefined;
  return { ...conv, strides: [conv.strides[0] * stride, conv.strides[1] * stride] };
}

const indicesOf = (count: number) => Array.from({ length: count }, (_, i) => i);

/** Rows of several samples; those of one are not copied. */
const joined = (parts: readonly Float32Array[]) => (parts.length === 1 ? parts[0] : concatenated(parts));

/** What says where the samples of values are. */
export type Sampled = Pick<OpenedModel, 'info' | 'input'>;

/** For adding samples of a batch, the layer's rows and their targets, to an accumulator. */
function sampleParts(opened: Sampled, map: LinearMap, values: Values, target: Target, stride: number) {
  const x = values.pruned[map.input];
  const y = hasTarget(map, target) ? wantedOf(map, values, target) : undefined;
  const wanted = wantedName(map, target);
  const shared = new Set([
    ...(isShared(opened, map.input, x, values.batch) ? [x] : []),
    ...(y && isShared(opened, wanted, y, values.batch) ? [y] : []),
  ]);
  const from = placeIn(opened, map.input, x, values.batch);
  const to = y && placeIn(opened, wanted, y, values.batch);
  const part = (tensor: FloatTensor, index: number, place: SamplePlace) =>
    shared.has(tensor) ? tensor.data : picked(tensor, [index], values.batch, place).data;
  if (!map.conv) {
    // (t, 1, n, h) of (t, directions, n, h)
    const own = map.isRecurrent ? picked(x, [map.part!.index], x.dims[1], { axis: 1, positions: 1 }) : x;
    return (samples: readonly number[], statistics: AnyStatistics): Promise<unknown> =>
      statistics.addRows(
        joined(samples.map((i) => part(own, i, from))),
        y && joined(samples.map((i) => part(y, i, to!))),
      );
  }
  // Of a video a sample has several, frame by frame.
  const images = (tensor: FloatTensor, i: number, place: SamplePlace) => {
    const [, channels, ...sides] = tensor.dims;
    const [data, size] = [part(tensor, i, place), channels * elements(sides)];
    return Array.from({ length: Math.ceil(data.length / size) }, (_, frame) =>
      partOf({ channels, data: data.subarray(frame * size, (frame + 1) * size) }, map),
    );
  };
  const { inputDilations = [1, 1], depth, ...conv } = padsFor(map.conv, x.dims.slice(2));
  const { height, width, of } = dilated(x.dims, inputDilations);
  const extents = y ? y.dims.slice(2) : outputOf(opened.info, map, x.dims.slice(2));
  const [outHeight, outWidth] = planeOf(extents);
  const [down, across] = conv.strides;
  const geometry = {
    ...conv,
    height,
    width,
    strides: [down * stride, across * stride] as [number, number],
    outHeight: Math.ceil(outHeight / stride),
    outWidth: Math.ceil(outWidth / stride),
  };
  const read = (i: number) =>
    images(x, i, from).flatMap((image) => (depth ? stacks(image, x.dims[2], depth, extents[0]) : [image]));
  const given = (tensor: FloatTensor) => (i: number) =>
    images(tensor, i, to!)
      .flatMap((image) => planes(image, depth ? extents[0] : 1))
      .map(({ channels, data }) => ({ channels, data: onGrid(data, outHeight, outWidth, stride) }));
  return (samples: readonly number[], statistics: AnyStatistics): Promise<unknown> =>
    statistics.addImages(geometry, samples.flatMap(read).map(of), y && samples.flatMap(given(y)));
}

/** Whether a value is the same for all samples of a batch, and there once. */
function isShared({ info, input }: Sampled, name: string, { dims }: FloatTensor, batch: number): boolean {
  if (!info.unreached?.has(name)) return false;
  const { axis, positions } = samplesOf(info, name);
  const samples = input.fixedBatch || 1;
  const extent = info.shapes.get(name)?.[axis] ?? 0;
  const ofOne = positions > 1 ? extent / samples : 1; // positions may be merged with samples
  return dims[axis] !== ofOne * batch || extent !== ofOne * samples;
}

/** Where the samples of a batch are in a value: what merges positions with them has as many as these samples. */
export function placeIn(
  { info, input }: Sampled,
  value: string,
  { dims }: FloatTensor,
  batch: number,
): SamplePlace {
  const place = samplesOf(info, value);
  if (place.positions === 1) return place;
  const ofOne = info.shapes.get(value)![place.axis] / (input.fixedBatch || 1);
  return { ...place, positions: (place.positions * dims[place.axis]) / (ofOne * batch) };
}

/** Some samples of a tensor. @param batch  how many it has */
export function picked(
  { dims, data }: FloatTensor,
  samples: readonly number[],
  batch: number,
  place: SamplePlace,
): FloatTensor {
  const rounds = roundsOf(dims, place);
  const size = data.length / rounds / batch;
  const own = dims.with(place.axis, (dims[place.axis] / batch) * samples.length);
  const of = (round: number, sample: number) => {
    const from = (round * batch + sample) * size;
    return data.subarray(from, from + size);
  };
  if (rounds === 1 && samples.length === 1) return { dims: own, data: of(0, samples[0]) };
  const result = new Float32Array(rounds * size * samples.length);
  for (let round = 0, at = 0; round < rounds; round++)
    for (const sample of samples) {
      result.set(of(round, sample), at);
      at += size;
    }
  return { dims: own, data: result };
}

/** The numbers of a value where another one has them, which has as many of each sample in the same order, in other rounds (`roundsOf`). */
export function placedAs(
  data: Float32Array,
  batch: number,
  [from, to]: readonly [roundsBefore: number, rounds: number],
): Float32Array {
  if (from === to || batch === 1) return data;
  const each = data.length / batch;
  const placeIn = (rounds: number, sample: number, at: number) => {
    const size = each / rounds;
    return (Math.floor(at / size) * batch + sample) * size + (at % size);
  };
  const result = new Float32Array(data.length);
  for (let sample = 0; sample < batch; sample++)
    for (let at = 0; at < each; at++) result[placeIn(to, sample, at)] = data[placeIn(from, sample, at)];
  return result;
}

/** What the layer should give. */
export function wantedOf(map: LinearMap, { dense, pruned }: Values, target: Target): FloatTensor {
  const residual = shortcutOf(map, target);
  if (!residual) return dense[map.output];
  const [sum, shortcut] = [dense[residual.sum], pruned[residual.shortcut]];
  const data = new Float32Array(sum.data.length);
  // There is one shortcut for all samples where none reaches it, as positions.
  const { length } = shortcut.data;
  for (let i = 0; i < data.length; i++) data[i] = sum.data[i] - shortcut.data[i % length];
  return { dims: sum.dims, data };
}
