// What config.json alone says of a language model or an encoder: its structures, its sizes, and what a plan needs to know.

import {
  ALL_TOKENS,
  BESIDE,
  featuresOf,
  type HeadDims,
  headGroups,
  headsOf,
  mapNeurons,
} from '../../checkpoint/architectures/facts.ts';
import type { AttentionSizes, BlockSizes, LanguageModel } from '../../checkpoint/architectures/index.ts';
import type { Checkpoint } from '../../checkpoint/index.ts';
import { elements, type HeadsMode, type Structure, sum, type Term } from '../../graph/index.ts';
import { refits } from '../../solve/index.ts';
import type { Named, Prunable, Sizes } from '../keep.ts';
import { type PlannedStep, rowsThatStay } from '../pass/steps.ts';
import type { Plannable, Profile } from '../profile.ts';
import type { Recipe } from '../recipe.ts';

/** Of tensors, as they are described. */
export function valuesIn(tensors: Iterable<{ readonly shape: readonly number[] }>): number {
  return sum(Array.from(tensors, ({ shape }) => elements(shape)));
}

/** A model, and what of it is to go. */
export interface Described {
  readonly language: LanguageModel;
  /** How attention loses. Default: `fewer`. */
  readonly heads?: HeadsMode;
  /** What is there of the model; without, all that config.json speaks of counts. */
  readonly checkpoint?: Pick<Checkpoint, 'tensors'>;
}

/** As much of it as config.json says: bytes as if each parameter had one. */
export function describedSubject(model: Described): Plannable {
  const tokens = (sample: readonly number[]) => model.language.tokensOf(sample);
  return {
    structures: structuresOf(model),
    terms: (of, sample) => languageTerms(model, of === 'bytes' ? 'params' : of, tokens(sample)),
    profile: (recipe, sizes, sample) => languageProfile(model, recipe, sizes, tokens(sample)),
  };
}

/** Groups of heads, or features of each of them, and neurons of every block, as ratios and reports call them. */
export function structuresOf(model: Described): Prunable[] {
  return model.language.sizes.flatMap((_, i) => structuresIn(model, i));
}

function structuresIn(model: Described, block: number): Prunable[] {
  const neurons = model.language.mlps(block).map(
    ({ name, neurons }): Prunable => ({
      name: `${block}.${name}`,
      layer: '',
      kind: 'channel',
      groups: neurons,
      canGo: name === ALL_TOKENS && model.language.canGo(block, 'mlp'),
    }),
  );
  const attention = Object.entries(groupsOfHeads(model, block)).map(
    ([of, groups]): Prunable => ({
      name: `${block}.${of}`,
      layer: '',
      kind: 'head',
      groups,
      canGo: of === 'heads' && model.language.canGo(block, 'attention'),
    }),
  );
  return [...attention, ...neurons];
}

/**
 * What an attention can lose, as its structures are called: heads, or features of each, of values and where they can go of keys; heads of a state
 * space beside it; and all that of attention to what an encoder gives.
 */
type Attention = Readonly<
  Partial<Record<'heads' | 'keys' | 'values' | 'space' | 'cross' | 'cross.keys' | 'cross.values', number>>
>;

/** How much an attention has of what it loses: features where they are to go, and those of values can and are several, and else groups of heads. */
export function groupsOfHeads({ language, heads }: Described, block: number): Attention {
  const size = language.sizes[block];
  if (size.heads === 0) return {};
  const isNarrow = heads === 'narrow';
  const { space, cross } = size;
  const { keyDim, valueDim } = featuresOf(size, language);
  const losesFeatures = isNarrow && language.valuesCanNarrow(block) && valueDim > 1;
  const keys = language.keysCanNarrow(block) && keyDim > 1 && { keys: keyDim };
  return {
    ...(losesFeatures ? { ...keys, values: valueDim } : { heads: headGroups(size) }),
    ...(space && { space: headGroups(space) }),
    ...(cross && crossIn(language, cross, isNarrow)),
  };
}

function crossIn(language: LanguageModel, cross: AttentionSizes, isNarrow: boolean): Attention {
  const { keyDim, valueDim } = featuresOf(cross, language);
  if (!isNarrow || valueDim === 1) return { cross: headGroups(cross) };
  return { ...(keyDim > 1 && { 'cross.keys': keyDim }), 'cross.values': valueDim };
}

/** What ratios and reports call the structures of a block's graph. */
export function namesIn(
  language: LanguageModel,
  block: number,
): (structure: Named & Pick<Structure, 'features'>) => Named {
  const byLayer = new Map(language.mlps(block).map(({ name, layer }) => [layer, `${block}.${name}`]));
  const places = [...byLayer.keys()];
  const mlpOf = (layer: string) =>
    byLayer.get(places.find((it) => layer === it || layer.endsWith(`.${it}`))!)!;
  const [space, cross] = BESIDE.map((kind) => language.layerBeside(block, kind));
  return ({ kind, layer, features }) => {
    const isOf = (name?: string) => name !== undefined && layer.endsWith(name);
    const lost = features && (features.mixture ? 'values' : 'keys');
    const ofCross = () => (lost ? (`cross.${lost}` as const) : 'cross');
    const attention: keyof Attention = isOf(space) ? 'space' : isOf(cross) ? ofCross() : (lost ?? 'heads');
    return { name: kind === 'head' ? `${block}.${attention}` : mlpOf(layer), layer, kind };
  };
}

/**
 * Sizes are linear in the groups of every block: what one of them counts is the difference that it makes.
 *
 * @param length  tokens of a window or an image, whose multiply-adds are counted
 */
export function languageTerms(model: Described, of: 'macs' | 'params', length: number): Term[] {
  const { language, checkpoint = { tensors: new Map() } } = model;
  const sizeOf = (block: number, sizes: BlockSizes) => {
    const tensors = [...language.blockTensors(checkpoint, block, sizes).values()];
    if (of === 'params') return valuesIn(tensors);
    const products = sum(tensors.map(({ shape, share }) => share * elements(shape)));
    return length * products + language.macsOfHeads(block, sizes, length);
  };
  const inBlocks = language.sizes.map((sizes, i) => sizeOf(i, sizes));
  const own = language.sizes.flatMap((_, i) => {
    const structures = structuresIn(model, i);
    const all = new Map(structures.map(({ name, groups }) => [name, groups]));
    // Of a single group: a model without it is not described, and one with two more says the same.
    const ofOne = ({ name, groups }: Prunable) => {
      const step = groups > 1 ? -1 : 1;
      const sizes = sizesAfter(model, i, new Map(all).set(name, groups + step));
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
function sizesAfter(model: Described, block: number, kept: Sizes): BlockSizes {
  const changed = headsAfter(model, block, kept);
  return mapNeurons({ ...model.language.sizes[block], ...changed }, (name) => kept.get(`${block}.${name}`)!);
}

/** What so many of their groups, or features of each, make of heads. */
function headsAfter(model: Described, block: number, kept: Sizes): Partial<BlockSizes> {
  const all = groupsOfHeads(model, block);
  const left = (of: keyof Attention) => kept.get(`${block}.${of}`)!;
  const { space, cross, ...own } = model.language.sizes[block];
  const isFewer = (of: keyof Attention) => all[of] !== undefined && left(of) < all[of];
  const features = (of: '' | 'cross.') => ({
    ...(isFewer(`${of}keys`) && { keyDim: left(`${of}keys`) }),
    ...(isFewer(`${of}values`) && { valueDim: left(`${of}values`) }),
  });
  const seen = () => (all.cross === undefined ? features('cross.') : headsOf(cross!, left('cross')));
  return {
    ...(all.heads === undefined ? features('') : headsOf(own, left('heads'))),
    ...(space && { space: { ...space, ...headsOf(space, left('space')) } }),
    ...(cross && { cross: { ...cross, ...seen() } }),
  };
}

/** Groups and neurons that stay in each block. */
export function allSizesAfter(model: Described, kept: Sizes): BlockSizes[] {
  return model.language.sizes.map((_, i) => sizesAfter(model, i, kept));
}

/** What a plan needs to know, from config.json alone. */
function languageProfile(model: Described, recipe: Recipe, kept: Sizes, length: number): Profile {
  const { language } = model;
  const { architecture, hidden, sizes, states } = language;
  const after = allSizesAfter(model, kept);
  const { statement } = language.configOf(after);
  const nothing = { tensors: new Map() };
  const tensors = [...language.tensors(nothing).values()];
  const smaller = [...language.tensors(nothing, after).values()];
  const blocks = sizes.map((_, i) => valuesIn(tensors.filter(({ block }) => block === i)));
  const passed = sum(blocks.map((values, i) => values * language.timesOf(i)));
  const outside = valuesIn(tensors.filter(({ block }) => block === undefined));
  return {
    model: architecture,
    steps: sizes.flatMap((_, i) => blockSteps(model, i, kept, recipe, length * language.timesOf(i))),
    parameters: { before: valuesIn(tensors), after: valuesIn(smaller) },
    sizes: { before: sizes, after },
    statement,
    weights: { largest: Math.max(...blocks), outside, files: 0 },
    // What an encoder gives is there in the data, and once more behind the first part.
    between: length * hidden + (states ? language.statesOf(length) * states.width : 0),
    // What its widest layer reads or gives, and what comes in beside it; in one of them what it goes on from, too.
    held: length * (2 * hidden + Math.max(...sizes.map((size) => widestOf(size, language)))),
    batch: 0,
    scores: language.outputsOf(length),
    macs: { parts: length * passed, last: language.macsAround(length) },
  };
}

function blockSteps(
  model: Described,
  block: number,
  sizes: Sizes,
  { correct, method }: Recipe,
  rows: number,
): PlannedStep[] {
  const { language } = model;
  const { hidden } = language;
  const { heads, experts, space, cross } = language.sizes[block];
  const { valueDim } = featuresOf(language.sizes[block], language);
  const corrected = (name: string, outputs: readonly number[], p = hidden, own = rows): PlannedStep => ({
    name: `${block}.${name}`,
    maps: outputs.map((m) => ({ p, m, groupSize: 1, rows: own })),
    cuts: [],
  });
  const pruned = (name: string, p: number, groups: number, share = 1): PlannedStep => ({
    name: `${block}.${name}`,
    maps: [{ p, m: hidden, groupSize: p / groups, rows: rows * share }],
    cuts: [{ keep: sizes.get(`${block}.${name}`)!, groups, groupSizes: [p / groups] }],
  });
  const own = groupsOfHeads(model, block);
  const reader = own.heads === undefined ? 'values' : 'heads';
  const before = language.mapsBefore(block);
  const convolution = [corrected('convolution', before), corrected('convolution', [hidden])];
  const attention =
    heads > 0
      ? [corrected('attention', before), pruned(reader, heads * valueDim, own[reader]!)]
      : before.length > 0
        ? convolution
        : [];
  const { keyDim: keysLeft, cross: crossLeft } = headsAfter(model, block, sizes);
  const beside = space
    ? [
        corrected('state space', language.mapsBeforeSpace(block)),
        pruned('space', space.heads * space.valueDim, own.space!),
      ]
    : [];
  const crossing = () => {
    const { asking, seen } = language.mapsBeforeCross(block)!;
    const { width } = language.states!;
    const name = own.cross === undefined ? 'cross.values' : 'cross';
    return [
      corrected('asking', asking),
      corrected('seen', seen, width, language.statesOf(rows)),
      pruned(name, cross!.heads * featuresOf(cross!, language).valueDim, own[name]!),
    ];
  };
  const steps = [
    ...beside,
    ...attention,
    ...(cross ? crossing() : []),
    ...(experts ? [corrected('router', [experts.length])] : []),
    ...language
      .mlps(block)
      .flatMap(({ name, neurons, share }) => [
        corrected('up', [neurons]),
        pruned(name, neurons, neurons, share),
      ]),
  ];
  const isWhole = (step: PlannedStep) => step.cuts.length === 0 || rowsThatStay(step, 0) === step.maps[0].p;
  // Of fewer features of keys what is mixed is another.
  const isReached = ({ name }: PlannedStep) =>
    (keysLeft !== undefined && name === `${block}.${reader}`) ||
    (crossLeft?.keyDim !== cross?.keyDim && name === `${block}.cross.values`);
  return steps.filter((step) => !isWhole(step) || isReached(step) || (correct && refits(method)));
}

/** Features of what is widest between the layers of a block. */
export function widestOf(sizes: BlockSizes, dense: HeadDims): number {
  const { ffn, experts = [], space, cross } = sizes;
  const beside = space ? space.heads * space.valueDim : 0;
  const seeing = [sizes, ...(cross ? [cross] : [])].map((own) => {
    const { keyDim, valueDim } = featuresOf(own, dense);
    return own.heads * Math.max(keyDim, valueDim);
  });
  return Math.max(...seeing, beside, ffn, ...experts);
}
