// What config.json alone says of a language model or an encoder: its structures, its sizes, and what a plan needs to know.

import {
  type BlockSizes,
  describe,
  headGroups,
  headsOf,
  type LanguageModel,
} from '../checkpoint/architectures/index.ts';
import type { Checkpoint } from '../checkpoint/index.ts';
import { elements, sum, type Term } from '../graph/index.ts';
import { refits } from '../solve/index.ts';
import type { Named, Prunable, Sizes } from './keep.ts';
import type { Plannable, Profile } from './profile.ts';
import type { Recipe } from './recipe.ts';
import { type PlannedStep, rowsThatStay } from './steps.ts';

/** Of tensors, as they are described. */
export function valuesIn(tensors: Iterable<{ readonly shape: readonly number[] }>): number {
  return sum(Array.from(tensors, ({ shape }) => elements(shape)));
}

/** As much of it as config.json says: bytes as if each parameter had one. */
export function describedSubject(language: LanguageModel): Plannable {
  return {
    structures: structuresOf(language),
    terms: (of, sample) => languageTerms(language, of === 'bytes' ? 'params' : of, language.tokensOf(sample)),
    profile: (recipe, sizes, sample) => languageProfile(language, recipe, sizes, language.tokensOf(sample)),
  };
}

/** What ratios and reports call the structures of a block. */
export function named(block: number, kind: Named['kind'], layer = ''): Named {
  return { name: `${block}.${kind === 'head' ? 'heads' : 'mlp'}`, layer, kind };
}

/** Groups of heads and neurons of every block. */
export function structuresOf({ sizes }: LanguageModel): Prunable[] {
  return sizes.flatMap((size, i) => [
    { ...named(i, 'head'), groups: headGroups(size) },
    { ...named(i, 'channel'), groups: size.ffn },
  ]);
}

/**
 * Sizes are linear in the groups of every block: what one of them counts is the difference that it makes.
 *
 * @param length  tokens of a window or an image, whose multiply-adds are counted
 * @param checkpoint  what is there of the model; without, all that config.json speaks of counts
 */
export function languageTerms(
  language: LanguageModel,
  of: 'macs' | 'params',
  length: number,
  checkpoint: Pick<Checkpoint, 'tensors'> = { tensors: new Map() },
): Term[] {
  const structures = structuresOf(language);
  const all = new Map(structures.map(({ name, groups }) => [name, groups]));
  const size = (kept: Sizes) => {
    const after = sizesAfter(language, kept);
    const { config, record } = language.configOf(after);
    const tensors = [...describe(config, record).tensors(checkpoint).values()];
    if (of === 'params') return valuesIn(tensors);
    const scores = sum(after.map(({ heads }) => 2 * length * length * heads * language.headDim));
    const inside = valuesIn(tensors.filter(({ block }) => block !== undefined));
    return length * inside + language.macsAround(length) + scores;
  };
  const before = size(all);
  // Of a single group: a model without it is not described, and one with two more says the same.
  const own = structures.map(({ name, groups }) => {
    const step = groups > 1 ? -1 : 1;
    return { value: ((size(new Map(all).set(name, groups + step)) - before) / step) * groups, of: [name] };
  });
  return [...own, { value: before - sum(own.map(({ value }) => value)), of: [] }];
}

/** Groups and neurons that stay in each block. */
export function sizesAfter({ sizes }: LanguageModel, kept: Sizes): BlockSizes[] {
  return sizes.map((size, i) => ({
    ...headsOf(size, kept.get(named(i, 'head').name)!),
    ffn: kept.get(named(i, 'channel').name)!,
  }));
}

/** What a plan needs to know, from config.json alone. */
function languageProfile(language: LanguageModel, recipe: Recipe, kept: Sizes, length: number): Profile {
  const { architecture, hidden, headDim, sizes } = language;
  const after = sizesAfter(language, kept);
  const { config, record, statement } = language.configOf(after);
  const nothing = { tensors: new Map() };
  const tensors = [...language.tensors(nothing).values()];
  const smaller = [...describe(config, record).tensors(nothing).values()];
  const blocks = sizes.map((_, i) => valuesIn(tensors.filter(({ block }) => block === i)));
  const outside = valuesIn(tensors.filter(({ block }) => block === undefined));
  return {
    model: architecture,
    steps: sizes.flatMap((size, i) => blockSteps(language, size, after[i], i, recipe, length)),
    parameters: { before: valuesIn(tensors), after: valuesIn(smaller) },
    sizes: { before: sizes, after },
    statement,
    weights: { largest: Math.max(...blocks), outside, files: 0 },
    between: length * hidden,
    // What its widest layer reads or gives, and what comes in beside it; in one of them what it goes on from, too.
    held: length * (2 * hidden + Math.max(...sizes.map(({ heads, ffn }) => Math.max(heads * headDim, ffn)))),
    batch: 0,
    scores: language.outputsOf(length),
    macs: { parts: length * sum(blocks), last: language.macsAround(length) },
  };
}

function blockSteps(
  { hidden, headDim }: LanguageModel,
  before: BlockSizes,
  after: BlockSizes,
  block: number,
  { correct, method }: Recipe,
  rows: number,
): PlannedStep[] {
  const corrected = (name: string, outputs: readonly number[]): PlannedStep => ({
    name: `${block}.${name}`,
    maps: outputs.map((m) => ({ p: hidden, m, groupSize: 1, rows })),
    cuts: [],
  });
  const { heads, kvHeads, ffn } = before;
  const width = (headDim * heads) / headGroups(before);
  const pruned = ({ name }: Named, p: number, groupSize: number, groups: number): PlannedStep => ({
    name,
    maps: [{ p, m: hidden, groupSize, rows }],
    cuts: [{ keep: groups, groupSizes: [groupSize] }],
  });
  const steps = [
    corrected('attention', [heads * headDim, kvHeads * headDim, kvHeads * headDim]),
    pruned(named(block, 'head'), heads * headDim, width, (after.heads * headDim) / width),
    corrected('up', [ffn]),
    pruned(named(block, 'channel'), ffn, 1, after.ffn),
  ];
  const isWhole = (step: PlannedStep) => step.cuts.length === 0 || rowsThatStay(step, 0) === step.maps[0].p;
  return steps.filter((step) => !isWhole(step) || (correct && refits(method)));
}
