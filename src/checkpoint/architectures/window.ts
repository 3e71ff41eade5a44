// Windows that slide over a text, in some blocks.

import { integer } from './config.ts';
import type { Config } from './types.ts';

/**
 * The window of block i: of those that `layer_types` names, where it is missing of those that slide by the model type's rule. None where
 * the field is null; 4096 where it is missing.
 */
export function slidingWindow(config: Config, i: number, slides: () => boolean): number | undefined {
  if (config.sliding_window === null) return undefined;
  const types = config.layer_types;
  const isSliding = Array.isArray(types) ? types[i] === 'sliding_attention' : slides();
  return isSliding ? integer(config, 'sliding_window', 4096) : undefined;
}
