// Inputs that are one sample, as detectors of torchvision take one image: they have an axis for samples in front as long as they are worked
// with, which a Gather takes off, and none in what is written.

import { type BuildDims, redeclared } from './build.ts';
import type { Model } from './model.ts';
import { nodeOf } from './stored.ts';
import { fromIntegers } from './tensor.ts';

/** A copy whose inputs of these names have an axis of one in front; undefined where graphs inside nodes name one. */
export function withSampleAxis(model: Model, names: readonly string[]): Model | undefined {
  if (names.some((name) => model.uses(name).some(({ index }) => index < 0))) return undefined;
  const copy = withDims(model, names, (dims) => [1, ...dims]);
  for (const name of names) {
    const sample = copy.fresh(`${name}.one`);
    copy.redirect(name, sample);
    const first = `${sample}.0`;
    copy.tensors.set(first, fromIntegers(first, [0], []));
    copy.nodes.unshift(nodeOf(copy, 'Gather', [name, first], sample)); // in any opset
    copy.edited();
  }
  return copy;
}

/** The inverse of `withSampleAxis`, whatever else became of its copy. */
export function withoutSampleAxis(model: Model, names: readonly string[]): Model {
  const copy = withDims(model, names, (dims) => dims.slice(1));
  for (const name of names) {
    const takers = new Set(copy.uses(name).map(({ node }) => node));
    for (const { output } of takers) copy.redirect(output[0], name);
    copy.remove(takers);
  }
  return copy;
}

function withDims(model: Model, names: readonly string[], change: (dims: BuildDims) => BuildDims): Model {
  if (names.length === 0) return model;
  const copy = model.clone();
  for (const [place, input] of copy.inputs.entries())
    if (names.includes(input.name))
      copy.inputs[place] = redeclared(input, ({ type, dims }) => ({ type, dims: change(dims) }));
  return copy;
}
