// Dimensions that a model leaves open, filled from what the user says.

import { InputError } from '../../errors.ts';
import type { Model } from '../../graph/index.ts';
import { type ModelInput, takesWindows } from './inputs.ts';

/**
 * The input with a sample's dimensions known.
 *
 * @param size  height and width of images, in whatever order the model has its axes; else one extent for each that is
 *   open, or for each axis
 * @throws {InputError} where extents stay open, or the model has others
 */
export function sizedInput(input: ModelInput, model: Model, size: readonly number[] | undefined): ModelInput {
  const axes = axesOf(input.shape, size);
  const given = new Map(axes.map((axis, i) => [axis, size![i]]));
  const contradicts = axes.some((axis) => input.shape[axis] > 0 && input.shape[axis] !== given.get(axis));
  if (size && (axes.length === 0 || contradicts)) throw refused(input, size);
  const channels = input.shape.length === 3 ? channelAxis(input.shape) : -1;
  const shape = input.shape.map((dim, axis) => {
    if (dim > 0) return dim;
    return given.get(axis) ?? (axis === channels ? channelsOf(input.name, model) : 0);
  });
  if (shape.every((dim) => dim > 0)) return { ...input, shape };
  const images = shape.length === 3 ? 'the image size' : 'the size';
  const what = takesWindows(input) ? 'the tokens of a window (`seqlen`)' : `${images} (\`size\`)`;
  throw new InputError(
    `input "${input.name}" has open dimensions [${shape.map((dim) => dim || '?').join(', ')}]; give ${what}`,
  );
}

function refused({ name, shape, open }: ModelInput, size: readonly number[]): InputError {
  const dims = shape.map((dim) => dim || '?').join(', ');
  const fixed = open.some(Boolean) ? 'of' : 'of a fixed size,';
  const given = size.length === 1 ? '`seqlen`' : '`size`';
  // Of audio it was one number.
  const extents = shape.length < 3 ? [...new Set(size)] : size;
  return new InputError(`${given} ${extents.join('x')}: input "${name}" is ${fixed} [${dims}]`);
}

/** The axes of a sample that a size is of; none, where it cannot be told. */
function axesOf(shape: readonly number[], size: readonly number[] = []): number[] {
  const all = [...shape.keys()];
  if (shape.length === 3 && size.length === 2) {
    const channels = channelAxis(shape);
    return all.filter((axis) => axis !== channels);
  }
  const open = all.filter((axis) => shape[axis] === 0);
  const isWhole = all.every((axis) => shape[axis] === size[axis] || open.includes(axis));
  if (size.length === shape.length && isWhole) return all;
  const axes = (open.length > 0 ? open : all).slice(0, size.length);
  // The height and width of one number are one extent.
  return axes.length === size.length || new Set(size).size === 1 ? axes : [];
}

/** 0 as in (c, h, w), or 2 as in (h, w, c). */
function channelAxis([first, , last]: readonly number[]): 0 | 2 {
  const isChannels = (dim: number) => dim === 1 || dim === 3 || dim === 4;
  return !isChannels(first) && isChannels(last) ? 2 : 0;
}

/** Whether images may have sizes of their own: more is open than their channels. */
export function hasOpenSides({ shape, open }: ModelInput): boolean {
  return shape.length === 3 && open.some((isOpen, axis) => isOpen && axis !== channelAxis(shape));
}

/** What the convolutions that read an input want; 3 where none does. */
function channelsOf(input: string, model: Model): number {
  for (const { node } of model.uses(input)) {
    const weight = node.opType === 'Conv' ? model.tensors.get(node.input[1]) : undefined;
    if (weight) return weight.dims[1];
  }
  return 3;
}
