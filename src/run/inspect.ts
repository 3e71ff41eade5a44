// What of a model can be pruned.

import type { LanguageModel } from '../checkpoint/architectures/index.ts';
import type { Structure } from '../graph/index.ts';
import {
  couldNarrow,
  type OpenedModel,
  type Pinned,
  pinnedOf,
  prunableOf,
  type Share,
  type Shares,
  sharesOf,
  type WholeHeads,
  wholeHeadsOf,
} from '../pipeline/index.ts';
import { modelFiles } from './beside.ts';
import { settingsFor } from './both.ts';
import { ownOptions } from './check.ts';
import { closing, type Opened } from './closing.ts';
import { describeInPlace, openModelFile } from './open.ts';
import type { ModelOptions, PartSettings } from './options.ts';
import type { Place } from './place.ts';
import { MODEL_NAME, placeOf, type Source } from './source.ts';

/** A structure, and what of the model hangs on it. */
export interface InspectedStructure
  extends Pick<
      Structure,
      'name' | 'layer' | 'groups' | 'groupSize' | 'prunable' | 'reason' | 'canGo' | 'wholeHeads'
    >,
    Partial<Share> {}

/** What can be pruned of a model, and what share of it each kind of structure is. */
export interface Inspected extends Share {
  readonly name: string;
  readonly kinds: Readonly<Record<string, Share>>;
  /**
   * Whether whole heads go of attention that could lose features of queries, keys and values instead, which at the same size keeps
   * more: `heads: 'narrow'`.
   */
  readonly couldNarrow: boolean;
  /** Of an ONNX file. */
  readonly file?: Pick<
    OpenedModel,
    'bytes' | 'input' | 'quantized' | 'dequantized' | 'stored' | 'branches'
  > & {
    readonly structures: readonly InspectedStructure[];
    /** What stays, by kind. */
    readonly pinned: readonly Pinned[];
    /** Where heads are to become narrow: attentions of which whole heads go, and no features. */
    readonly wholeHeads?: readonly WholeHeads[];
  };
  /** Of a language model's folder. */
  readonly folder?: Pick<
    LanguageModel,
    'architecture' | 'blocks' | 'hidden' | 'vocabulary' | 'maxPositions' | 'headDim' | 'keyDim' | 'sizes'
  > & {
    readonly structures: Shares['structures'];
  };
  /** Of a folder with an encoder and a decoder, of which this is the latter. */
  readonly encoder?: Inspected;
}

/**
 * What can be pruned, what share of the model that is, and why the rest cannot. Of a folder only config.json is read, and the
 * shapes of weights that are there.
 *
 * @example
 * const { file, kinds } = await inspect('model.onnx');
 * for (const { name, prunable, reason } of file!.structures) console.log(name, prunable ? 'yes' : reason);
 */
export async function inspect(model: Source, options: ModelOptions = {}): Promise<Inspected> {
  options = ownOptions('inspect', options);
  const place = await placeOf(model, MODEL_NAME, options.signal);
  const { file, encoder } = (await modelFiles(place)) ?? {};
  if (file === undefined) return closing((opened) => inspectFolder(place, options, opened));
  const inspected = (of: Place, told: ModelOptions) => closing((opened) => inspectFile(of, told, opened));
  if (encoder === undefined) return inspected(file, options);
  const first = await inspected(encoder, settingsFor('encoder', options));
  return { ...(await inspected(file, settingsFor('decoder', options))), encoder: first };
}

async function inspectFile(file: Place, options: ModelOptions, opened: Opened): Promise<Inspected> {
  const found = await openModelFile(file, options, opened);
  const { name, parameters, macs, bytes, input, quantized, dequantized, stored, branches, analysis } =
    found.model;
  const shares = sharesOf(found.model);
  const structures = analysis.structures.map((structure): InspectedStructure => {
    const { name, layer, groups, groupSize, prunable, reason, canGo, wholeHeads } = structure;
    const share = shares.structures.get(name);
    return { name, layer, groups, groupSize, prunable, reason, canGo, wholeHeads, ...share };
  });
  const kinds = Object.fromEntries(shares.kinds);
  const pinned = pinnedOf(found.model);
  const wholeHeads = options.heads === 'narrow' ? wholeHeadsOf(prunableOf(found.model)) : undefined;
  const own = { bytes, input, quantized, dequantized, stored, branches, structures, pinned, wholeHeads };
  return { name, parameters, macs, kinds, couldNarrow: couldNarrow(found.model), file: own };
}

async function inspectFolder(
  place: Place,
  options: ModelOptions & PartSettings,
  opened: Opened,
): Promise<Inspected> {
  const { language, length } = await describeInPlace(place, options, opened);
  if (language.hasDecoder && options.part === undefined) {
    const [encoder, decoder] = (['encoder', 'decoder'] as const).map((part) =>
      inspectFolder(place, { ...settingsFor(part, options), part }, opened),
    );
    return { ...(await decoder), encoder: await encoder };
  }
  const { architecture, blocks, hidden, vocabulary, maxPositions, headDim, keyDim, sizes } = language;
  const { all, kinds, structures } = sharesOf(language, language.tokensOf([length]), options.heads);
  return {
    name: place.path,
    ...all,
    kinds: Object.fromEntries(kinds),
    couldNarrow: couldNarrow(language, options.heads),
    folder: { architecture, blocks, hidden, vocabulary, maxPositions, headDim, keyDim, sizes, structures },
  };
}
