// Where channels are features of attention's heads: the layers around the attention.

import { type LinearMap, linearMap, madeOf, type Reader, type Structure } from '../../graph/index.ts';
import type { OpenedModel } from '../open/open.ts';

/** The layers around an attention whose features can go: what makes queries, keys and values, each once, and what reads what was mixed. */
export interface FeatureMaps {
  readonly makers: readonly LinearMap[];
  readonly reader: Reader;
}

export function featureMaps({ model, info }: OpenedModel, { features, consumers }: Structure): FeatureMaps {
  const nodes = new Set(madeOf(features!).map(({ node }) => node));
  return {
    makers: Array.from(nodes, (node) => linearMap(model, model.node(node)!, info.shapes)!),
    reader: consumers[0],
  };
}

/** A value, and where in its rows each head's features begin. */
export interface HeadFeatures {
  readonly value: string;
  readonly heads: readonly number[];
}

/** What is looked at where channels are features: queries and keys, and what was mixed. */
export function featureValues(opened: OpenedModel, structure: Structure): HeadFeatures[] {
  const { scores, mixture } = structure.features ?? {};
  if (!scores && !mixture) return [];
  const { makers, reader } = featureMaps(opened, structure);
  const made = (scores ? [scores.queries, scores.keys] : []).map(({ node, heads }) => {
    const { output } = makers.find((map) => map.node === node)!;
    return { value: output, heads };
  });
  return [...made, ...(mixture ? [{ value: reader.input, heads: mixture.read }] : [])];
}

/** The values of the pruned network that layers are fitted by, and those that features are turned by. */
export function watchedBy(
  opened: OpenedModel,
  { cuts }: { readonly cuts: readonly { readonly structure: Structure }[] },
  fitted: readonly string[],
): string[] {
  const seen = cuts.flatMap(({ structure }) => featureValues(opened, structure).map(({ value }) => value));
  return [...new Set([...fitted, ...seen])];
}
