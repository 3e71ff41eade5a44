// How large inputs are that nothing is said of, where no sample has to be run.

import type { Engine } from '../../engine/index.ts';
import { elements, type Model, toIntegers } from '../../graph/index.ts';
import { areEdges, type InputDims, isOpen } from './inputs.ts';
import { declaredInput, type OpenOptions } from './open.ts';
import { probed } from './probe.ts';
import { sizedInput } from './size.ts';

/** Extents of inputs that nothing is said of, and how many others are tried where the network does not take these. */
const [FEW, MOST_TRIED] = [16, 16];
/** Of a shape that is written down, and of an extent that is tried. */
const [MOST_AXES, MOST_EXTENT] = [8, 4096];

/**
 * Dims of a sample of inputs of which neither the data nor samples of other ranks say how large they are: any show what can be pruned.
 * A network that was traced at one length may take no other, whatever it declares, and has that among its constants.
 */
export async function likelyDims(
  model: Model,
  engine: Engine,
  { size, inputs }: Pick<OpenOptions, 'size' | 'inputs'>,
): Promise<InputDims> {
  const declared = declaredInput(model, inputs);
  const ofGraph = declared.others.some(areEdges); // as many edges as there are features of edges
  const free = declared.others.filter(
    (it) => !it.fill && isOpen(it) && (ofGraph || it.dims.length !== declared.shape.length + 1),
  );
  const all = (extent: number) =>
    Object.fromEntries(free.map(({ name, dims }) => [name, dims.slice(1).map(() => extent)]));
  if (free.length === 0) return {};
  for (const extent of [FEW, ...writtenSizes(model).slice(0, MOST_TRIED)]) {
    const input = sizedInput(declaredInput(model, inputs, all(extent)), model, size);
    if (await probed(engine, model, input, [input.fixedBatch || 1, ...input.shape])) return all(extent);
  }
  return all(FEW);
}

/** Tokens of windows that are tried where nothing says how many a model takes, those first that most models have room for. */
const WINDOWS = [512, 128, 32, 8];

/**
 * Tokens of a window that show what can be pruned, of a model that has room for these; nothing where none of those tried is taken.
 *
 * @param features  of each token, where it is not an id
 */
export async function likelyWindow(
  model: Model,
  engine: Engine,
  inputs: OpenOptions['inputs'],
  features: readonly number[] = [],
): Promise<number[] | undefined> {
  for (const tokens of WINDOWS) {
    const size = [tokens, ...features];
    const dims = await likelyDims(model, engine, { size, inputs });
    const input = sizedInput(declaredInput(model, inputs, dims), model, size);
    if (await probed(engine, model, input, [input.fixedBatch || 1, ...input.shape])) return size;
  }
  return undefined;
}

/** Whole numbers that constants have, those first that are read most often. */
function writtenSizes(model: Model): number[] {
  const times = new Map<number, number>();
  for (const tensor of model.tensors.values()) {
    const isSizes = /^int(64|32)$/.test(tensor.type) && elements(tensor.dims) <= MOST_AXES;
    for (const size of isSizes ? new Set(toIntegers(tensor)) : [])
      if (size > 1 && size <= MOST_EXTENT)
        times.set(size, (times.get(size) ?? 0) + model.uses(tensor.name).length);
  }
  return [...times].sort(([, a], [, b]) => b - a).map(([size]) => size);
}
