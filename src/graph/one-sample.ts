// An input that is one sample, as detectors of torchvision take one image: it has an axis for samples in front as long as it is worked
// with, which a Gather takes off, and none in what is written.

import { type BuildDims, redeclared } from './build.ts';
import type { Model } from './model.ts';
import { nodeOf } from './stored.ts';
import { fromIntegers } from './tensor.ts';

/** A copy whose input has an axis of one in front; undefined where graphs inside nodes name it. */
export function withSampleAxis(model: Model, name: string): Model | undefined {
  if (model.uses(name).some(({ index }) => index < 0)) return undefined;
  const copy = withDims(model, name, (dims) => [1, ...dims]);
  const sample = copy.fresh(`${name}.one`);
  copy.redirect(name, sample);
  const first = `${sample}.0`;
  copy.tensors.set(first, fromIntegers(first, [0], []));
  copy.nodes.unshift(nodeOf(copy, 'Gather', [name, first], sample)); // in any opset
  copy.edited();
  return copy;
}

/** The inverse of `withSampleAxis`, whatever else became of its copy. */
export function withoutSampleAxis(model: Model, name: string): Model {
  const copy = withDims(model, name, (dims) => dims.slice(1));
  const takers = new Set(copy.uses(name).map(({ node }) => node));
  for (const { output } of takers) copy.redirect(output[0], name);
  copy.remove(takers);
  return copy;
}

function withDims(model: Model, name: string, change: (dims: BuildDims) => BuildDims): Model {
  const copy = model.clone();
  const place = copy.inputs.findIndex((input) => input.name === name);
  copy.inputs[place] = redeclared(copy.inputs[place], ({ type, dims }) => ({ type, dims: change(dims) }));
  return copy;
}
