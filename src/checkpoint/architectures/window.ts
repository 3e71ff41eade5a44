// Windows that slide over a text in some blocks, and rotary positions that are others there.

import { InputError } from '../../errors.ts';
import { integer } from './config.ts';
import { type RopeOptions, ropeOf } from './rope.ts';
import type { Config, Rope } from './types.ts';

/** None where the field is null, 4096 where it is missing. */
export function windowOf(config: Config): number | undefined {
  return config.sliding_window === null ? undefined : integer(config, 'sliding_window', 4096);
}

/** None where the field is null or missing. */
export function givenWindow(config: Config): number | undefined {
  return config.sliding_window == null ? undefined : windowOf(config);
}

/** The window of block i: of those that `layer_types` names, where it is missing of those that slide by the model type's rule. */
export function slidingWindow(config: Config, i: number, slides: () => boolean): number | undefined {
  return isSliding(config, i, slides) ? windowOf(config) : undefined;
}

const [FULL, SLIDING] = ['full_attention', 'sliding_attention'];

/** Whether block i sees a window, by `layer_types` or the model type's rule. */
export function isSliding({ layer_types: types }: Config, i: number, slides: () => boolean): boolean {
  if (types == null) return slides();
  const type = Array.isArray(types) ? types[i] : undefined;
  if (type === FULL || type === SLIDING) return type === SLIDING;
  // Another kind of attention, or that of another block, would be taken for full attention without a word.
  const got = Array.isArray(types) ? (JSON.stringify(type) ?? 'none') : JSON.stringify(types);
  throw new InputError(
    `config.json: "layer_types" expected "${FULL}" or "${SLIDING}" for each block, got ${got} for block ${i}`,
  );
}

/** The field of a base and what it is where there is none. */
type Base = Pick<RopeOptions, 'theta' | 'base'>;

/** The rotary positions of block i: unscaled and of another base where it sees a window. */
export function ropesByWindow(
  config: Config,
  options: Pick<RopeOptions, 'modelType' | 'headDim' | 'maxPositions'>,
  { full, sliding }: { readonly full: Base; readonly sliding: Base },
  window: (i: number) => number | undefined,
): (i: number) => Rope {
  const far = ropeOf(config, { ...options, ...full, layerType: FULL });
  const unscaled = { ...config, rope_scaling: undefined };
  const near = ropeOf(unscaled, { ...options, ...sliding, layerType: SLIDING });
  return (i) => (window(i) === undefined ? far : near);
}
