// What a model is pruned by: all that changes the result beside the model, its data and the engine.

import { InputError } from '../errors.ts';
import { isObject, said } from '../expect.ts';
import { AMOUNT, ANY, COUNT, expectOptions, NUMBER, OBJECT, type Options, SWITCH } from '../options.ts';
import { type LayerRecipe, METHODS, refits, SEARCHES } from '../solve/index.ts';
import { BUDGETS, type Budget, type BudgetOptions, parseBudget, SIZES, type WidthOptions } from './budget.ts';
import type { Select } from './data/batches.ts';
import { type Positions, quarterHeldOut, splitSamples } from './data/split.ts';
import { EFFORTS, type Effort } from './effort.ts';
import { type KeepRatios, keepRatio, type Sizes, type Supports } from './keep.ts';

/** What layers can be fitted to; see {@link Target}. `auto` tries several. */
export const TARGETS = ['auto', 'self', 'dense', 'residual'] as const;
/** One of {@link TARGETS}. */
export type TargetChoice = (typeof TARGETS)[number];

/** What a layer is fitted to. */
export interface Target {
  /**
   * - `self`: the dense weights' output on the pruned network's inputs (the published default)
   * - `dense`: the dense network's output of the layer
   * - `residual`: the dense network's sum after the shortcut minus the pruned network's shortcut, where the
   *   layer feeds one; elsewhere as `dense`
   */
  readonly kind: Exclude<TargetChoice, 'auto'>;
  /** How far towards the target, the rest staying at `self`. 0 for `self`. */
  readonly blend: number;
}

/** What is to be kept is for a budget to decide. */
export interface Spend extends Budget {
  readonly widths: WidthOptions;
  /** How long is searched for sizes. */
  readonly effort: Effort;
}

/** How a model is pruned, with nothing left open but sizes within a budget. */
export interface Recipe
  extends Required<Pick<LayerRecipe, 'method' | 'search'>>,
    Pick<LayerRecipe, 'damping' | 'groupsPerStep'> {
  /** Fraction of each structure's groups to keep, in (0, 1]; or one for each kind of them. Absent where a budget decides. */
  readonly keep?: number | KeepRatios;
  /** Where no sizes are given. */
  readonly spend?: Spend;
  /** Default `auto`: chosen by the error on held-out calibration samples. Or a blend of one's own. */
  readonly target: TargetChoice | Target;
  /** Whether layers that keep all their inputs are refitted to what now reaches them. Default true. */
  readonly correct: boolean;
  /** Whether the layers that make the channels that stay are refitted with those that read them (`osscar`). Default true. */
  readonly producers: boolean;
  /**
   * Steps in which the pruned network is fitted as a whole to the dense one's outputs, at most: they end where samples that are held out
   * gain no more. Default: none.
   */
  readonly distill?: number;
}

/** A recipe of which only what is to be kept must be given: `keep`, or one budget. One that was parsed stays as it is. */
export interface RecipeOptions extends Partial<Recipe>, BudgetOptions, WidthOptions {
  /** How long is searched for sizes. Default `medium`. */
  readonly effort?: Effort;
}

/** Those that are only ANY are judged by their ranges, and by what they are given beside. */
export const RECIPE_OPTIONS: Options<RecipeOptions> = {
  keep: ANY,
  method: ANY,
  search: ANY,
  target: ANY,
  correct: SWITCH,
  producers: SWITCH,
  distill: COUNT,
  effort: ANY,
  macs: AMOUNT,
  params: AMOUNT,
  bytes: AMOUNT,
  latency: AMOUNT,
  maxLoss: AMOUNT,
  of: ANY,
  spend: ANY,
  round: COUNT,
  min: OBJECT,
  max: OBJECT,
  pin: OBJECT,
  exclude: ANY,
  groupsPerStep: COUNT,
  damping: NUMBER,
};

/**
 * @throws {InputError} for a ratio outside (0, 1], no budget or several, widths or an effort without a budget, a negative damping, or an
 *   unknown method, target, search or effort, or an option that there is not
 *
 * @example
 * const { method, target } = parseRecipe({ keep: 0.5 }); // with all defaults
 */
export function parseRecipe(options: RecipeOptions): Recipe {
  expectOptions('parseRecipe', options, RECIPE_OPTIONS);
  return recipeOf(options);
}

/** The same of options that say more than a recipe, and were looked at before. */
export function recipeOf(options: RecipeOptions): Recipe {
  const { keep, method = 'osscar', target = 'auto', search = 'swap', correct = true } = options;
  const { producers = true, distill } = options;
  const { damping, groupsPerStep, effort, of, round, min, max, pin, exclude } = options;
  if (exclude !== undefined && !(Array.isArray(exclude) && exclude.every((it) => typeof it === 'string')))
    throw new InputError(`\`exclude\`: expected a list of names or patterns, got ${said(exclude)}`);
  const budget = parseBudget(options);
  const widths = { round, min, max, pin, exclude };
  const spend = options.spend ?? (budget && { ...budget, widths, effort: effort ?? 'medium' });
  if (options.spend !== undefined) checkSpend(options.spend);
  if ((keep === undefined) === (spend === undefined)) {
    const budgets = [...BUDGETS, 'maxLoss'].map((it) => `\`${it}\``).join(', ');
    throw new InputError(
      keep === undefined
        ? `expected \`keep\` or a budget (${budgets})`
        : `expected \`keep\` or a budget (${budgets}), got both`,
    );
  }
  if (keep !== undefined) {
    keepRatio(keep);
    const foreign = saidOf(widths);
    if (foreign !== undefined)
      throw new InputError(
        `\`${foreign}\` is for budgets, and says nothing beside \`keep\`; of single structures, give \`keep.layers\``,
      );
    if (effort !== undefined)
      throw new InputError('`effort` is for budgets, and says nothing beside `keep`; leave it out');
  }
  if (of !== undefined && options.maxLoss === undefined && options.spend === undefined)
    throw new InputError('`of` is for `maxLoss`, and says nothing beside what is given; leave it out');
  if (damping !== undefined && !(damping >= 0 && damping < Infinity))
    throw new InputError(`\`damping\` must be at least 0, got ${damping}`);
  const expect = (name: string, known: readonly string[], got: string) => {
    if (!known.includes(got))
      throw new InputError(`\`${name}\` must be one of ${known.join(', ')}, got ${said(got)}`);
  };
  expect('method', METHODS, method);
  checkTarget(target);
  expect('search', SEARCHES, search);
  if (effort !== undefined) expect('effort', EFFORTS, effort);
  if (of !== undefined) expect('of', SIZES, of);
  return { keep, spend, method, target, search, damping, groupsPerStep, correct, producers, distill };
}

/** The first of the options that say something, by its name. */
export function saidOf(widths: WidthOptions): string | undefined {
  const isSaid = (value: unknown) => typeof value === 'number' || Object.keys(value ?? {}).length > 0;
  return Object.entries(widths).find(([, value]) => isSaid(value))?.[0];
}

/** Of a recipe that was parsed, or of whoever writes one. */
function checkSpend(spend: unknown): void {
  const { limit, isFraction, widths, effort } = isObject(spend) ? spend : {};
  const isBudget = typeof limit === 'number' && limit > 0 && typeof isFraction === 'boolean';
  if (!(isBudget && isObject(widths) && EFFORTS.some((it) => it === effort)))
    throw new InputError(
      `\`spend\`: expected what a recipe says of its budget, got ${said(spend)}; give a budget, as \`macs\``,
    );
}

function checkTarget(target: unknown): void {
  if (TARGETS.some((name) => name === target)) return;
  const { kind, blend } = isObject(target) ? target : {};
  const isKnown = kind !== 'auto' && TARGETS.some((name) => name === kind);
  if (isKnown && typeof blend === 'number' && blend >= 0 && blend <= 1) return;
  const got = isObject(target) ? `{ kind: ${said(kind)}, blend: ${said(blend)} }` : said(target);
  throw new InputError(
    `\`target\` must be one of ${TARGETS.join(', ')}, or such as { kind: 'residual', blend: 0.5 }, got ${got}`,
  );
}

/** The target of a choice other than `auto`. */
export function targetOf(choice: Exclude<Recipe['target'], 'auto'>): Target {
  return typeof choice === 'string' ? { kind: choice, blend: choice === 'self' ? 0 : 1 } : choice;
}

/** Whether what keeps all its inputs is refitted: towards themselves, layers have nothing to correct. */
export function corrects({ correct, method }: Recipe, { kind }: Target): boolean {
  return correct && refits(method) && kind !== 'self';
}

/** Whether what makes channels is refitted, in the pass that counts. */
export function refitsProducers({ producers, method }: Recipe): boolean {
  return producers && method === 'osscar';
}

/** How all layers are fitted for their weights to be rounded, whatever has chosen what stays. */
export function roundingOf(recipe: Recipe): Recipe {
  return { ...recipe, method: 'osscar', correct: true };
}

/** How layers are solved, whatever their sizes. */
export function fittingOf({
  keep: _,
  spend: __,
  distill: ___,
  ...fitting
}: Recipe): Omit<Recipe, 'keep' | 'spend' | 'distill'> {
  return fitting;
}

/** How one of the passes over the model is made: plain data. */
export interface Pass
  extends Required<Pick<LayerRecipe, 'search'>>,
    Pick<LayerRecipe, 'wholeCurve' | 'steps'> {
  /** For progress. */
  readonly label: string;
  readonly sizes: Sizes;
  readonly target: Target;
  /** Groups that stay, of structures where that was decided before. */
  readonly supports?: Supports;
  /** Samples that are fitted to, by a name; the others only go along. */
  readonly samples: 'all' | 'fit of a search' | 'fit';
  /** Whether statistics may leave out positions of convolutions. */
  readonly isThin?: boolean;
  /** Whether the layers that make channels are refitted too. */
  readonly refitsProducers?: boolean;
}

/** Which samples a pass is fitted to. */
export function fitOf({ samples }: Pick<Pass, 'samples'>, positions: Positions): Select | undefined {
  if (samples === 'all') return undefined;
  return (samples === 'fit' ? quarterHeldOut : splitSamples)(positions).isFit;
}

/** How sizes and targets are tried: the local search moves all alike. */
export const TRIAL: Pick<Pass, 'search'> = { search: 'greedy' };
