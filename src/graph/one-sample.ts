// Inputs that are one sample, as detectors of torchvision take one image: they have an axis for samples in front as long as they are worked
// with, which a Gather takes off, and none in what is written. And inputs of which a sample is a list, as of the tiles of an image in SmolVLM: as long as they
// are worked with, it is of one.

import { type BuildDims, redeclared } from './build.ts';
import type { Model } from './model.ts';
import { attributeOf } from './node.ts';
import type { NodeProto } from './onnx_pb.ts';
import { nodeOf } from './stored.ts';
import { fromIntegers } from './tensor.ts';

/** A copy whose inputs of these names have an axis of one in front; undefined where graphs inside nodes name one. */
export function withSampleAxis(model: Model, names: readonly string[]): Model | undefined {
  return behindNodes(
    model,
    names,
    (dims) => [1, ...dims],
    (copy, name, sample) => {
      const first = `${sample}.0`;
      copy.tensors.set(first, fromIntegers(first, [0], []));
      return nodeOf(copy, 'Gather', [name, first], sample); // in any opset
    },
  );
}

/** A copy whose inputs of these names lack their second axis; undefined where graphs inside nodes name one. */
export function withoutListAxis(model: Model, names: readonly string[]): Model | undefined {
  return behindNodes(
    model,
    names,
    (dims) => dims.toSpliced(1, 1),
    (copy, name, list) =>
      copy.opset < 13
        ? nodeOf(copy, 'Unsqueeze', [name], list, [attributeOf('axes', [1])])
        : nodeOf(copy, 'Unsqueeze', [name, copy.integers(`${list}.axes`, [1])], list),
  );
}

/** The inverse of `withSampleAxis`, whatever else became of its copy. */
export function withoutSampleAxis(model: Model, names: readonly string[]): Model {
  return withoutNodes(model, names, (dims) => dims.slice(1));
}

/** The inverse of `withoutListAxis`. */
export function withListAxis(model: Model, names: readonly string[], extent: number | string): Model {
  return withoutNodes(model, names, (dims) => dims.toSpliced(1, 0, extent));
}

/** A copy whose inputs have other dims, and what has read them reads what a node makes of them. */
function behindNodes(
  model: Model,
  names: readonly string[],
  change: (dims: BuildDims) => BuildDims,
  node: (copy: Model, name: string, value: string) => NodeProto,
): Model | undefined {
  if (names.some((name) => model.uses(name).some(({ index }) => index < 0))) return undefined;
  const copy = withDims(model, names, change);
  for (const name of names) {
    const value = copy.fresh(`${name}.one`);
    copy.redirect(name, value);
    copy.nodes.unshift(node(copy, name, value));
    copy.edited();
  }
  return copy;
}

/** A copy without what reads these inputs, which have other dims. */
function withoutNodes(model: Model, names: readonly string[], change: (dims: BuildDims) => BuildDims): Model {
  const copy = withDims(model, names, change);
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
