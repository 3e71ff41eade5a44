// What pruning a model will take, of as much of it as there is: a model that is open, or what config.json says.

import type { LanguageModel } from '../../checkpoint/architectures/index.ts';
import { HEADS, type HeadsMode, type StoredType, storedAs } from '../../graph/index.ts';
import { expectOptions, type Options, oneOf, SWITCH } from '../../options.ts';
import { problemOf, uniformSizes } from '../allocate/index.ts';
import { checkBudget } from '../budget.ts';
import { sizesOf } from '../keep.ts';
import { describedSubject } from '../models/described.ts';
import type { FolderOptions } from '../models/folder.ts';
import { loadableRecipe } from '../models/loadable.ts';
import { subjectOf } from '../models/subjects.ts';
import type { OpenedLanguageModel } from '../models/twin.ts';
import type { OpenedModel } from '../open/open.ts';
import type { Plannable, Profile } from '../profile.ts';
import { RECIPE_OPTIONS, type Recipe, type RecipeOptions, recipeOf } from '../recipe.ts';
import type { Subject } from '../subject.ts';
import {
  MACHINES_OPTIONS,
  type Machines,
  type MachinesPlan,
  planMachines as planOnMachines,
} from './machines.ts';
import { PLAN_OPTIONS, type Plan, type PlanOptions, planRun, type Rates } from './plan.ts';

interface PlannedOptions extends RecipeOptions, PlanOptions, Pick<FolderOptions, 'loadable'> {
  /** What goes of attention, of a folder that is only described; others are opened for it. */
  readonly heads?: HeadsMode;
}
const PLANNED_OPTIONS: Options<PlannedOptions> = {
  ...RECIPE_OPTIONS,
  ...PLAN_OPTIONS,
  loadable: SWITCH,
  heads: oneOf(...HEADS),
};

/**
 * What pruning will take. Of a folder, its config.json is enough (`describeFolder`).
 *
 * @throws {InputError} for impossible ratios
 *
 * @example
 * const { bytes, parameters } = plan(await describeFolder(folder), { keep: 0.7, samples: 128, sample: [512] });
 * console.log(parameters.after, bytes.total);
 */
export function plan(
  model: OpenedModel | OpenedLanguageModel | LanguageModel,
  options: PlannedOptions,
): Plan {
  expectOptions('plan', options, PLANNED_OPTIONS);
  const { profile, recipe, weights, most, isBound } = profileOf(model, options);
  return { ...planRun(profile, recipe, { ...options, weights }, most), ...(isBound && { isBound }) };
}

/**
 * The same on several machines that share a queue and a store.
 *
 * @param rates  of one of them, as from `measureRates`; `kernels` on all of its threads
 * @throws {InputError} for impossible ratios
 *
 * @example
 * const rates = await measureRates(engine, kernels);
 * const { seconds, networkBytes } = planMachines(language, { keep: 0.5, samples: 128, sample: [2048] }, rates, { machines: 8 });
 */
export function planMachines(
  model: OpenedModel | OpenedLanguageModel | LanguageModel,
  options: PlannedOptions,
  rates: Rates,
  machines: Machines,
): MachinesPlan {
  expectOptions('planMachines', options, PLANNED_OPTIONS);
  expectOptions('planMachines', machines, MACHINES_OPTIONS);
  const { profile, recipe, weights } = profileOf(model, options);
  return planOnMachines(profile, recipe, { ...options, weights }, rates, machines);
}

/** As much of a model as there is. */
interface Known extends Plannable, Partial<Pick<Subject, 'file' | 'loadable'>> {
  /** How many bytes it has is not known before its weights are read. */
  readonly isDescribed?: boolean;
}

function plannableOf(
  model: OpenedModel | OpenedLanguageModel | LanguageModel,
  { loadable, heads, weights }: Pick<PlannedOptions, 'loadable' | 'heads' | 'weights'>,
): Known {
  if (!('architecture' in model)) return subjectOf(model, { weights });
  const uniform = (recipe: Recipe) => loadableRecipe(model, recipe, () => []);
  return {
    ...describedSubject({ language: model, heads }),
    isDescribed: true,
    stored: storedAs(weights),
    ...(loadable && { loadable: uniform }),
  };
}

/** The steps of a run, and how it is to be done. Within a budget those of uniform sizes, and of the largest there may be. */
function profileOf(
  model: OpenedModel | OpenedLanguageModel | LanguageModel,
  options: PlannedOptions,
): {
  readonly profile: Profile;
  readonly recipe: Recipe;
  readonly weights?: StoredType;
  readonly most?: Profile;
  readonly isBound?: boolean;
} {
  const asked = recipeOf(options);
  const { sample = [] } = options;
  const subject = plannableOf(model, options);
  const weights = subject.stored;
  // Within a budget sizes are not known yet.
  const recipe = (asked.keep !== undefined && subject.loadable?.(asked, sample)) || asked;
  const { spend } = recipe;
  checkBudget(spend, subject.file !== undefined);
  const most = subject.profile(recipe, sizesOf(recipe, subject.structures), sample);
  if (!spend) return { profile: most, recipe, weights };
  const isKnown = spend.of !== 'latency' && spend.maxLoss === undefined;
  if (!isKnown || (spend.of === 'bytes' && !spend.isFraction && subject.isDescribed))
    return { profile: most, recipe, weights, isBound: true };
  const sizes = uniformSizes(problemOf(subject, sample, spend));
  return { profile: subject.profile(recipe, sizes, sample), recipe, weights, most };
}
