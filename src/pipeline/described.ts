// What config.json alone says of a language model or an encoder: its structures, its sizes, and what a plan needs to know.

import {
  type BlockSizes,
  describe,
  headGroups,
  headsOf,
  type LanguageModel,
  mapNeurons,
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

/** Groups of heads and neurons of every block, as ratios and reports call them. */
export function structuresOf(language: LanguageModel): Prunable[] {
  return language.sizes.flatMap((_, i) => structuresIn(language, i));
}

function structuresIn(language: LanguageModel, block: number): Prunable[] {
  const neurons = language.mlps(block).map(
    ({ name, neurons }): Prunable => ({
      name: `${block}.${name}`,
      layer: '',
      kind: 'channel',
      groups: neurons,
    }),
  );
  return [
    { name: headsIn(block), layer: '', kind: 'head', groups: headGroups(language.sizes[block]) },
    ...neurons,
  ];
}

const headsIn = (block: number) => `${block}.heads`;

/** What ratios and reports call the structures of a block's graph. */
export function namesIn(language: LanguageModel, block: number): (structure: Named) => Named {
  const byLayer = new Map(language.mlps(block).map(({ name, layer }) => [layer, `${block}.${name}`]));
  const places = [...byLayer.keys()];
  const mlpOf = (layer: string) =>
    byLayer.get(places.find((it) => layer === it || layer.endsWith(`.${it}`))!)!;
  return ({ kind, layer }) => ({ name: kind === 'head' ? headsIn(block) : mlpOf(layer), layer, kind });
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
  const sizeOf = (block: number, sizes: BlockSizes) => {
    const tensors = [...language.blockTensors(checkpoint, block, sizes).values()];
    if (of === 'params') return valuesIn(tensors);
    const products = sum(tensors.map(({ shape, share }) => share * elements(shape)));
    return length * products + 2 * length * length * sizes.heads * language.headDim;
  };
  const inBlocks = language.sizes.map((sizes, i) => sizeOf(i, sizes));
  const own = language.sizes.flatMap((_, i) => {
    const structures = structuresIn(language, i);
    const all = new Map(structures.map(({ name, groups }) => [name, groups]));
    // Of a single group: a model without it is not described, and one with two more says the same.
    const ofOne = ({ name, groups }: Prunable) => {
      const step = groups > 1 ? -1 : 1;
      const sizes = sizesAfter(language, i, new Map(all).set(name, groups + step));
      return (sizeOf(i, sizes) - inBlocks[i]) / step;
    };
    // All experts of a block are alike.
    const kinds = new Map<string, number>();
    return structures.map((structure) => {
      const kind = structure.name.replace(/\d+$/, '');
      const value = kinds.get(kind) ?? ofOne(structure);
      kinds.set(kind, value);
      return { value: value * structure.groups, of: [structure.name] };
    });
  });
  const outside =
    of === 'macs'
      ? language.macsAround(length)
      : valuesIn([...language.tensors(checkpoint).values()].filter(({ block }) => block === undefined));
  const all = sum(inBlocks) + outside;
  return [...own, { value: all - sum(own.map(({ value }) => value)), of: [] }];
}

/** Groups and neurons that stay in a block. */
function sizesAfter({ sizes }: LanguageModel, block: number, kept: Sizes): BlockSizes {
  const heads = headsOf(sizes[block], kept.get(headsIn(block))!);
  return mapNeurons({ ...sizes[block], ...heads }, (name) => kept.get(`${block}.${name}`)!);
}

/** Groups and neurons that stay in each block. */
export function allSizesAfter(language: LanguageModel, kept: Sizes): BlockSizes[] {
  return language.sizes.map((_, i) => sizesAfter(language, i, kept));
}

/** What a plan needs to know, from config.json alone. */
function languageProfile(language: LanguageModel, recipe: Recipe, kept: Sizes, length: number): Profile {
  const { architecture, hidden, headDim, sizes } = language;
  const after = allSizesAfter(language, kept);
  const { config, record, statement } = language.configOf(after);
  const nothing = { tensors: new Map() };
  const tensors = [...language.tensors(nothing).values()];
  const smaller = [...describe(config, record).tensors(nothing).values()];
  const blocks = sizes.map((_, i) => valuesIn(tensors.filter(({ block }) => block === i)));
  const outside = valuesIn(tensors.filter(({ block }) => block === undefined));
  return {
    model: architecture,
    steps: sizes.flatMap((_, i) => blockSteps(language, i, kept, recipe, length)),
    parameters: { before: valuesIn(tensors), after: valuesIn(smaller) },
    sizes: { before: sizes, after },
    statement,
    weights: { largest: Math.max(...blocks), outside, files: 0 },
    between: length * hidden,
    // What its widest layer reads or gives, and what comes in beside it; in one of them what it goes on from, too.
    held: length * (2 * hidden + Math.max(...sizes.map((size) => widestOf(size, headDim)))),
    batch: 0,
    scores: language.outputsOf(length),
    macs: { parts: length * sum(blocks), last: language.macsAround(length) },
  };
}

function blockSteps(
  language: LanguageModel,
  block: number,
  sizes: Sizes,
  { correct, method }: Recipe,
  rows: number,
): PlannedStep[] {
  const { hidden, headDim } = language;
  const { heads, kvHeads, experts } = language.sizes[block];
  const corrected = (name: string, outputs: readonly number[]): PlannedStep => ({
    name: `${block}.${name}`,
    maps: outputs.map((m) => ({ p: hidden, m, groupSize: 1, rows })),
    cuts: [],
  });
  const pruned = (name: string, p: number, groupSize: number, share = 1): PlannedStep => ({
    name: `${block}.${name}`,
    maps: [{ p, m: hidden, groupSize, rows: rows * share }],
    cuts: [{ keep: sizes.get(`${block}.${name}`)!, groupSizes: [groupSize] }],
  });
  const steps = [
    corrected('attention', [heads * headDim, kvHeads * headDim, kvHeads * headDim]),
    pruned('heads', heads * headDim, (headDim * heads) / headGroups(language.sizes[block])),
    ...(experts ? [corrected('router', [experts.length])] : []),
    ...language
      .mlps(block)
      .flatMap(({ name, neurons, share }) => [corrected('up', [neurons]), pruned(name, neurons, 1, share)]),
  ];
  const isWhole = (step: PlannedStep) => step.cuts.length === 0 || rowsThatStay(step, 0) === step.maps[0].p;
  return steps.filter((step) => !isWhole(step) || (correct && refits(method)));
}

/** Features of the widest layer's input, beside the block's own. */
export function widestOf({ heads, ffn, experts = [] }: BlockSizes, headDim: number): number {
  return Math.max(heads * headDim, ffn, ...experts);
}
