// How much of a model hangs on what can be pruned of it.

import type { LanguageModel } from '../../checkpoint/architectures/index.ts';
import { hasMethods } from '../../expect.ts';
import {
  analyse,
  byStructure,
  type HeadsMode,
  type SizeTerms,
  sizeAt,
  sizeTerms,
  type Term,
} from '../../graph/index.ts';
import type { Named } from '../keep.ts';
import { statesOf } from '../open/inputs.ts';
import { expectOpened, type OpenedModel, prunableOf } from '../open/open.ts';
import { type Described, groupsOfHeads, languageTerms, structuresOf } from './described.ts';

/** What goes from a model with channels, heads or neurons: the weights that make them and those that read them. */
export interface Share {
  readonly parameters: number;
  /** Of one sample. */
  readonly macs: number;
}

/** What goes with each prunable structure alone, and with all of a kind. Shares overlap: a weight may have two structures. */
export interface Shares {
  /** Of the whole model. */
  readonly all: Share;
  readonly structures: ReadonlyMap<string, Share>;
  readonly kinds: ReadonlyMap<Named['kind'], Share>;
}

/**
 * Of a file that is open, or of a folder of which config.json was read.
 * @param length  tokens of a window, of a folder
 * @param heads  how attention is to lose, of a folder
 *
 * @example
 * const { all, kinds } = sharesOf(model);
 * const part = (kinds.get('head')?.macs ?? 0) / all.macs;
 */
export function sharesOf(model: OpenedModel | LanguageModel, length = 1, heads?: HeadsMode): Shares {
  if (!hasMethods(model, 'tokensOf')) expectOpened('sharesOf', model);
  const terms = 'analysis' in model ? fileTerms(model) : folderTerms({ language: model, heads }, length);
  const { structures } = terms;
  const [parameters, macs] = [terms.parameters, terms.macs].map(byStructure);
  const alone = ({ name }: Named): Share => ({
    parameters: lost(parameters.get(name) ?? [], new Set([name])),
    macs: lost(macs.get(name) ?? [], new Set([name])),
  });
  const together = (chosen: readonly Named[]): Share => {
    const gone = new Set(chosen.map(({ name }) => name));
    return { parameters: lost(terms.parameters, gone), macs: lost(terms.macs, gone) };
  };
  const kinds = [...new Set(structures.map(({ kind }) => kind))];
  const whole = (of: readonly Term[]) => Math.round(sizeAt(of, () => 1));
  return {
    all: { parameters: whole(terms.parameters), macs: whole(terms.macs) },
    structures: new Map(structures.map((it) => [it.name, alone(it)])),
    kinds: new Map(kinds.map((kind) => [kind, together(structures.filter((it) => it.kind === kind))])),
  };
}

/**
 * Whether whole heads go of attention that could lose features of queries and keys instead (`heads: 'narrow'`).
 * @param heads  how attention is to lose, of a folder
 *
 * @example
 * if (couldNarrow(model)) console.log("mostly more is kept with heads: 'narrow'");
 */
export function couldNarrow(model: OpenedModel | LanguageModel, heads?: HeadsMode): boolean {
  if (!hasMethods(model, 'tokensOf')) expectOpened('couldNarrow', model);
  if (!('analysis' in model)) {
    const narrow = { language: model, heads: 'narrow' } as const;
    return heads !== 'narrow' && model.sizes.some((_, i) => groupsOfHeads(narrow, i).keys !== undefined);
  }
  const { residual, input, told } = model;
  if (model.heads === 'narrow' || !prunableOf(model).some(({ kind }) => kind === 'head')) return false;
  const { structures } = analyse(model.model, told, { residual, heads: 'narrow', states: statesOf(input) });
  return structures.some(({ prunable, features }) => prunable && features?.scores);
}

/** What goes of a size with structures. @param gone  their names */
export function lost(terms: readonly Term[], gone: ReadonlySet<string>): number {
  return Math.round(sizeAt(terms, () => 1) - sizeAt(terms, (name) => (gone.has(name) ? 0 : 1)));
}

interface Terms extends Pick<SizeTerms, 'macs' | 'parameters'> {
  readonly structures: readonly Named[];
}

function fileTerms(opened: OpenedModel): Terms {
  const { macs, weights } = sizeTerms(opened.model, opened.analysis, opened.info.shapes);
  return { macs, parameters: weights, structures: prunableOf(opened) };
}

function folderTerms(model: Described, length: number): Terms {
  return {
    macs: languageTerms(model, 'macs', length),
    parameters: languageTerms(model, 'params', length),
    structures: structuresOf(model),
  };
}
