// Why channels stay, by kind: how much of the model that is, and what would help.

import { groupBy, type Structure, sizeTerms, type Term } from '../../graph/index.ts';
import { named } from '../../printable.ts';
import { expectOpened, type OpenedModel } from '../open/open.ts';
import { lost, type Share } from './shares.ts';

/** Structures that stay for the same reason. */
export interface Pinned {
  /** With the operator, without the names of nodes. */
  readonly reason: string;
  readonly structures: number;
  /** What hangs on them and on nothing that can be pruned. */
  readonly share: Share;
  readonly help: string;
}

/** The first that fits counts. */
const HELP: readonly (readonly [RegExp, string])[] = [
  [/^residual stream$/, 'residual streams are left whole by default: --residual'],
  [/graph output/, 'nothing: what the model gives keeps its size'],
  [/another model makes/, 'nothing: the model that gives these values keeps their size'],
  [/quantized weights/, 'float weights: prune that model, then quantise it'],
  [
    /not constant floating-point/,
    'weights as constants: an export that folds what they are computed from (onnx-simplifier does)',
  ],
  [
    /cannot be seen through/,
    'an export without the operator, or a description of it (operators of openModel)',
  ],
  [
    /comes between layer and product/,
    'nothing where positions turn features or norms see them; otherwise an export without it there',
  ],
  [/normalises over it|reduces over it|sums over it/, 'nothing: all channels meet there'],
  [/size|number|shape|takes it apart/, 'an export whose shapes have -1 or come of Shape there'],
  [/no layer makes/, 'a constant or a layer in place of that value'],
  [/no layer reads it/, 'a layer with constant weights behind it'],
  [/grouped convolution/, 'numbers of groups that divide each other'],
  [/single/, 'nothing: one is the least'],
];

/** Before these, of a model with several outputs. */
const OF_SEVERAL: (typeof HELP)[number] = [
  /graph output/,
  'what the model gives keeps its size: --output-names leaves out what nobody reads',
];

/**
 * In the order of what hangs on them.
 *
 * @example
 * for (const { reason, help } of pinnedOf(model)) console.log(`${reason}: ${help}`);
 */
export function pinnedOf(opened: Pick<OpenedModel, 'model' | 'analysis' | 'info'>): Pinned[] {
  expectOpened('pinnedOf', opened);
  const { model, analysis, info } = opened;
  const { structures } = analysis;
  const helps = model.outputs.length > 1 ? [OF_SEVERAL, ...HELP] : HELP;
  const all = { structures: structures.map((structure) => ({ ...structure, prunable: true })) };
  const { macs, weights } = sizeTerms(model, all, info.shapes);
  const prunable = structures.filter((structure) => structure.prunable).map(({ name }) => name);
  const share = (names: readonly string[]): Share => {
    const [without, together] = [new Set(prunable), new Set([...prunable, ...names])];
    const more = (of: readonly Term[]) => lost(of, together) - lost(of, without);
    return { parameters: more(weights), macs: more(macs) };
  };
  const kinds = groupBy(
    structures.filter((structure) => !structure.prunable),
    reasonOf,
  );
  return Array.from(kinds, ([reason, list]) => ({
    reason,
    structures: list.length,
    share: share(list.map(({ name }) => name)),
    help: helps.find(([kind]) => kind.test(reason))?.[1] ?? 'an export with other operators there',
  })).sort((a, b) => b.share.macs - a.share.macs || b.share.parameters - a.share.parameters);
}

/** What keeps a stream even with all streams pruned is its reason. */
function reasonOf({ reason = '' }: Structure): string {
  const [first, other] = reason.split('; ');
  if (first.startsWith('residual stream') && !other) return 'residual stream';
  return withoutNames(other ?? first);
}

function withoutNames(reason: string): string {
  return reason
    .replace(/ \(and \d+ more\)$/, '')
    .replace(/^(\w+) "[^"]*"/, '$1')
    .replace(/"[^"]*"/g, '…');
}

/** Attentions that lose whole heads for the same reason where features were to go. */
export interface WholeHeads extends Pick<Pinned, 'reason' | 'help'> {
  /** Names of their structures. */
  readonly structures: readonly string[];
}

/** The first that fits counts. */
const NARROW_HELP: readonly (readonly [RegExp, string])[] = [
  [/is one node/, 'an export whose attention is of single products'],
  [
    /^Concat comes between layer|graph output/,
    'an export without caches of keys and values, or the Hugging Face folder',
  ],
  [/comes between/, 'an export without it there'],
];

/** @param structures  that can be pruned */
export function wholeHeadsOf(
  structures: readonly Pick<Structure, 'name' | 'wholeHeads'>[],
): readonly WholeHeads[] {
  const whole = structures.filter(({ wholeHeads }) => wholeHeads !== undefined);
  return Array.from(
    groupBy(whole, ({ wholeHeads }) => withoutNames(wholeHeads!)),
    ([reason, list]) => ({
      reason,
      structures: list.map(({ name }) => name),
      help: NARROW_HELP.find(([kind]) => kind.test(reason))?.[1] ?? 'an export with other operators there',
    }),
  );
}

/** The same as warnings. */
export function wholeHeadsTexts(structures: Parameters<typeof wholeHeadsOf>[0]): string[] {
  return wholeHeadsOf(structures).map(({ reason, structures: names, help }) => {
    return `whole heads go of ${named(names)}, and no features: ${reason}; what would help: ${help}`;
  });
}
