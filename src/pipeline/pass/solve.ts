// The layers of a step, as the session solves them.

import { InputError, NotPositiveDefiniteError } from '../../errors.ts';
import {
  blockOf,
  elements,
  isFloat,
  type LinearMap,
  layerKey,
  type Model,
  type Reader,
  readWeights,
  removedOf,
  rowsOf,
  type Structure,
  toFloat32,
  writeWeights,
} from '../../graph/index.ts';
import { counted } from '../../printable.ts';
import type { Layer, SolvedLayers } from '../../solve/index.ts';
import { isTiledLayer, type TiledLayer } from '../../tiles/layers.ts';
import type { OpenedModel } from '../open/open.ts';
import type { Pass } from '../recipe.ts';
import type { Run } from '../run.ts';
import { type Cut, isFree } from './steps.ts';
import type { Sums } from './sums.ts';

/** What layers are solved by. */
type SolverRun = Pick<Run, 'session' | 'recipe' | 'signal' | 'layerBytes'>;
type SolverPass = Pick<Pass, 'target' | 'search' | 'wholeCurve' | 'steps'>;

/** Whole or in tiles. */
type AnyLayer = Layer | TiledLayer;

/**
 * Solves layers that read the same channels, in one job.
 *
 * @param cut  left out, all channels stay
 */
export async function solveTogether(
  run: SolverRun,
  pass: SolverPass,
  opened: Pick<OpenedModel, 'name' | 'source'>,
  maps: readonly LinearMap[],
  layers: readonly AnyLayer[],
  { keep, support }: Partial<Pick<Cut, 'keep' | 'support'>> = {},
): Promise<SolvedLayers> {
  const { session, recipe, signal, layerBytes } = run;
  const { target, search, wholeCurve, steps } = pass;
  if (keep === 0) {
    const solved = wholeCurve && (await solveTogether(run, pass, opened, maps, layers, { keep: 1 }));
    return nothingOf(layers, solved || undefined);
  }
  const { method, damping, groupsPerStep } = recipe;
  const how = { method, damping, groupsPerStep, search, wholeCurve, support, blend: target.blend };
  try {
    const [layer] = layers;
    if (isTiledLayer(layer)) {
      return await session.solveTiled(layer, how, keep, { signal, memory: layerBytes });
    }
    return await session.solveLayers(layers as readonly Layer[], { ...how, steps }, keep, { signal });
  } catch (error) {
    const where = `${opened.name}: layer "${maps[0].node}"`;
    if (error instanceof InputError) {
      const suspect = NON_FINITE.test(error.message) && suspectOf(opened.source);
      error.message = `${where}: ${error.message}${suspect || ''}`;
    }
    throw error instanceof NotPositiveDefiniteError ? undetermined(where, layers, error) : error;
  }
}

/** Of layers that go with all that they read. @param solved  that keep something of it, of which the curve is */
function nothingOf(layers: readonly AnyLayer[], solved?: SolvedLayers): SolvedLayers {
  return {
    kept: [],
    relativeError: 1,
    curve: solved?.curve,
    layers: layers.map(({ W, bias }, i) => ({
      W: new Float64Array(W.length),
      bias: bias && new Float64Array(bias.length),
      damping: solved?.layers[i].damping ?? 0,
    })),
  };
}

/** Layers that keep all that they read: as many at a time as there are threads; those in tiles, whose memory is bounded, one after the other. */
export async function solveEach(
  run: SolverRun,
  pass: SolverPass,
  opened: Pick<OpenedModel, 'name' | 'source'>,
  maps: readonly LinearMap[],
  layers: readonly AnyLayer[],
): Promise<SolvedLayers['layers']> {
  const alone = (layer: AnyLayer, i: number) => solveTogether(run, pass, opened, [maps[i]], [layer]);
  const solved: SolvedLayers[] = [];
  if (layers.some(isTiledLayer))
    for (const [i, layer] of layers.entries()) solved.push(await alone(layer, i));
  else solved.push(...(await Promise.all(layers.map(alone))));
  return solved.flatMap((it) => it.layers);
}

/** What the sums of a layer say of what reaches it. */
const NON_FINITE = /NaN or infinite values$/;
/** Squares of what is larger are no float32. */
const HUGE = 2 ** 64;
/** Of what is meant to be −∞, some write the float32 that is next to it. */
const MASK = -3.4e38;

/** The constant of several numbers that is most likely what makes it so. */
function suspectOf({ tensors }: OpenedModel['source']): string | undefined {
  let [worst, text] = [HUGE, undefined as string | undefined];
  for (const tensor of tensors.values()) {
    if (!isFloat(tensor.type) || elements(tensor.dims) < 2) continue;
    for (const [at, value] of toFloat32(tensor).entries()) {
      const size = Number.isNaN(value) ? Number.POSITIVE_INFINITY : Math.abs(value);
      if (!(size > worst) || value < MASK) continue;
      [worst, text] = [
        size,
        `; tensor "${tensor.name}" has ${Number(value.toPrecision(3))} at element ${at}`,
      ];
    }
  }
  return text;
}

/** What a failed factorisation is to the user: inputs that never differ, or fewer rows than inputs. */
function undetermined(
  where: string,
  layers: readonly AnyLayer[],
  cause: NotPositiveDefiniteError,
): NotPositiveDefiniteError {
  const [{ fit, heldOut }] = layers;
  const rows = fit.n + (heldOut?.n ?? 0);
  const { message, pivot, value } = cause;
  return new NotPositiveDefiniteError(
    `${where}: ${counted(rows, 'calibration row')} cannot determine its ${counted(fit.p, 'input')} (${message}); ${counted(fit.p, 'row')} or more of samples that differ can (\`samples\`), or a larger \`damping\``,
    pivot,
    { cause, value },
  );
}

/** Rows of layers' weights that went with structures, by layer. */
export type Gone = ReadonlyMap<string, readonly number[]>;

/** Those that go with another structure too. */
export function goneWith(gone: Gone, structure: Structure, kept: readonly number[]): Gone {
  const removed = removedOf(structure, kept);
  const all = new Map(gone);
  for (const reader of structure.consumers) {
    const key = layerKey(reader);
    all.set(key, [...(all.get(key) ?? []), ...rowsOf(reader, removed)]);
  }
  return all;
}

/** Puts weights in the place of layers' own. */
export function writeLayers(
  model: Model,
  maps: readonly LinearMap[],
  layers: readonly Pick<SolvedLayers['layers'][number], 'W' | 'bias'>[],
): void {
  for (const [i, map] of maps.entries()) writeWeights(model, map, layers[i].W, layers[i].bias);
}

/**
 * The layers of a step, with what was seen of their inputs.
 *
 * @param gone  what of them went before
 * @param structure  that is to lose channels
 */
export function layersOf(
  model: Model,
  maps: readonly LinearMap[],
  sums: readonly Sums[],
  gone: Gone,
  structure?: Structure,
): AnyLayer[] {
  return maps.map((map, i) => {
    const { W, bias } = readWeights(model, map);
    // Only a bare MatMul has nowhere to put a bias.
    const own = bias ?? (map.kind === 'matmul' ? undefined : new Float64Array(map.m));
    const reader = structure?.consumers[i];
    const free = structure && reader && freeRows(structure, reader);
    const removed = gone.get(layerKey(map));
    return {
      W,
      bias: own,
      groupSize: (reader ?? map).groupSize,
      ...sums[i],
      free,
      gone: removed && Int32Array.from(removed),
      block: blockOf(model, model.tensors.get(map.weight)!),
    } as AnyLayer;
  });
}

/** The rows that the structure may remove, group by group; undefined where these are all rows in their order. */
function freeRows(structure: Structure, reader: Reader): Int32Array | undefined {
  if (isFree(reader, structure)) return undefined;
  return Int32Array.from(rowsOf(reader, [...Array(structure.groups).keys()]));
}
