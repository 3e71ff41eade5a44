// Sizes that a model's own config.json can say: the same in every block. What was asked for becomes one ratio of neurons
// and one of heads, and a budget the largest that fits. Of a mixture of experts each kind of MLP has a field of its own.

import { headGroups, headsIn, headsOf } from '../../checkpoint/architectures/facts.ts';
import type { LanguageModel } from '../../checkpoint/architectures/index.ts';
import { InputError } from '../../errors.ts';
import { groupBy, sizeAt, type Term } from '../../graph/index.ts';
import { groupsToKeep } from '../../solve/index.ts';
import { type KeepRatios, keepRatio } from '../keep.ts';
import { type Recipe, saidOf } from '../recipe.ts';
import { structuresOf } from './described.ts';

const ANY_SIZES = '`loadable: false` takes sizes that config.json cannot say';

/** Neurons in multiples of it where there are many, as kernels like them. */
const MULTIPLE = 8;
const MANY = 64;
/** Ratios that are tried within a budget. */
const STEPS = 200;

/**
 * The recipe with sizes that stock loaders can read.
 *
 * @param terms  of the size that a budget counts
 * @throws {InputError} where blocks differ already, or it is asked for what cannot be the same everywhere
 */
export function loadableRecipe(
  language: LanguageModel,
  recipe: Recipe,
  terms: (of: 'params' | 'macs' | 'bytes') => readonly Term[],
): Recipe {
  const { keep, spend } = recipe;
  if (!spend) {
    const gone = wholeBlocks(language, typeof keep === 'object' ? keep.layers : undefined);
    const ratio = keepRatio(keep!);
    const of = (kind: 'head' | 'channel') => ratio({ name: '', layer: '', kind });
    const [heads, channels] = [of('head'), of('channel')];
    const rounded = Math.min(heads, channels) < 1 ? roundedTo(language, heads, channels) : { all: 1 };
    expectSaid(language, keep!, rounded);
    return { ...recipe, keep: { ...rounded, layers: { ...rounded.layers, ...gone } } };
  }
  const { of, limit, isFraction, maxLoss, widths } = spend;
  const idle = saidOf(widths);
  if (idle !== undefined)
    throw new InputError(
      `\`${idle}\` is for sizes that differ, and says nothing beside \`loadable: true\`, which has the same in every block; leave one of them out`,
    );
  if (maxLoss !== undefined || of === undefined || of === 'latency')
    throw new InputError('`loadable: true`: expected `keep`, or a budget of `params`, `macs` or `bytes`');
  const counted = terms(of);
  const allowed = isFraction ? limit * sizeAt(counted, () => 1) : limit;
  const structures = structuresOf({ language });
  for (let step = STEPS - 1; step > 0; step--) {
    const kept = roundedTo(language, step / STEPS, step / STEPS);
    const ratio = keepRatio(kept);
    const ratios = new Map(structures.map((structure) => [structure.name, ratio(structure)]));
    if (sizeAt(counted, (name) => ratios.get(name)!) <= allowed)
      return { ...recipe, spend: undefined, keep: kept };
  }
  throw new InputError(`${of}: even the smallest model of uniform blocks is larger than the budget`);
}

/**
 * Ratios of 0 for all structures of some blocks, which are then fewer.
 * @throws {InputError} where other ratios of single structures are given, or config.json cannot say that
 */
function wholeBlocks(
  language: LanguageModel,
  layers: Readonly<Record<string, number>> = {},
): Readonly<Record<string, number>> {
  const blocks = groupBy(structuresOf({ language }), ({ name }) => name.slice(0, name.indexOf('.')));
  const gone = [...blocks.values()].filter((own) => own.every(({ name }) => layers[name] === 0));
  const known = new Set(gone.flat().map(({ name }) => name));
  if (!Object.keys(layers).every((name) => known.has(name)))
    throw new InputError('`loadable: true`: expected the same ratio for every block, or 0 for all of some');
  const left = [...language.sizes.keys()].filter((i) => !gone.includes(blocks.get(String(i))!));
  if (gone.length > 0 && !language.withBlocks(left))
    throw new InputError(
      `\`loadable: true\`: config.json of ${language.architecture} cannot say blocks ${left.join(', ')} alone; ${ANY_SIZES}`,
    );
  return layers;
}

/** @throws {InputError} where config.json has no field for what was asked for by name */
function expectSaid({ architecture }: LanguageModel, asked: number | KeepRatios, rounded: KeepRatios): void {
  if (typeof asked === 'number') return;
  for (const kind of ['heads', 'channels'] as const) {
    const isAsked = (asked[kind] ?? 1) < 1;
    if (isAsked && (rounded[kind] ?? 1) === 1 && rounded.layers === undefined)
      throw new InputError(
        `\`keep.${kind}\`: config.json of ${architecture} can say no fewer; leave it out, or take sizes that it cannot say (\`loadable: false\`)`,
      );
  }
}

/** The nearest ratios that config.json can say. */
function roundedTo(language: LanguageModel, heads: number, channels: number): KeepRatios {
  const fields = new Map<string | undefined, number>();
  const mlps = language.sizes.flatMap((_, i) =>
    language.mlps(i).map((mlp) => ({ ...mlp, neurons: mlp.neurons / mlp.times, block: i })),
  );
  for (const { field, neurons } of mlps) fields.set(field, neurons);
  const differs = mlps.some(({ field, neurons }) => neurons !== fields.get(field));
  const attentions = language.blocksByHeads().map(({ kind, blocks }) => {
    const [first, ...others] = blocks;
    const own = (i: number) => headsIn(language.sizes[i], kind)!;
    const all = headGroups(own(first));
    if (differs || others.some((i) => headGroups(own(i)) !== all))
      throw new InputError(`${language.architecture}: its blocks differ in size already; ${ANY_SIZES}`);
    const wanted = groupsToKeep(all, heads);
    const candidates = Array.from({ length: all }, (_, i) => i + 1)
      .filter((groups) => language.saysHeads(first, headsOf(own(first), groups).heads, kind))
      .sort((a, b) => Math.abs(a - wanted) - Math.abs(b - wanted) || a - b);
    return { kind, blocks, ratio: candidates[0] / all, isHeld: candidates.length === 1 };
  });
  if (attentions.every(({ isHeld }) => isHeld) && mlps.every(({ field }) => field === undefined))
    throw new InputError(
      `\`loadable: true\`: config.json of ${language.architecture} can say neither fewer heads nor fewer neurons; ${ANY_SIZES}`,
    );
  const rounded = ({ neurons, field }: { readonly neurons: number; readonly field?: string }) => {
    if (field === undefined) return 1;
    const multiple = neurons >= MANY || !language.saysNeurons(1) ? MULTIPLE : 1;
    const kept = Math.max(multiple, Math.round((neurons * channels) / multiple) * multiple);
    return Math.min(1, kept / neurons);
  };
  const usual = mlps.length > 0 ? rounded(mlps[0]) : undefined;
  const others = mlps.filter((mlp) => rounded(mlp) !== usual);
  const [first, ...more] = attentions;
  const layers = [
    ...others.map((mlp) => [`${mlp.block}.${mlp.name}`, rounded(mlp)]),
    ...more.flatMap(({ kind, blocks, ratio }) => blocks.map((i) => [`${i}.${kind}`, ratio])),
  ];
  const ratios = { heads: first?.ratio, channels: usual };
  return layers.length > 0 ? { ...ratios, layers: Object.fromEntries(layers) } : ratios;
}
