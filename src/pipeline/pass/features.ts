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

/** What is looked at where channels are features, and where each head has its own there: queries and keys, and what was mixed. */
export function featureValues(
  opened: OpenedModel,
  structure: Structure,
): { readonly value: string; readonly heads: readonly number[] }[] {
  const { features } = structure;
  if (!features) return [];
  const { makers, reader } = featureMaps(opened, structure);
  const made = [features.queries, features.keys].flatMap((own) => {
    const map = makers.find(({ node }) => node === own?.node);
    return own && map ? [{ value: map.output, heads: own.heads }] : [];
  });
  return [...made, { value: reader.input, heads: features.read }];
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
