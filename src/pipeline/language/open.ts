// A language model's folder, opened, and the model in it as parts.

import { describe, type LanguageModel, type SizesRecord } from '../../checkpoint/architectures/index.ts';
import { type Checkpoint, type Folder, openCheckpoint, readJson } from '../../checkpoint/index.ts';
import { InputError } from '../../errors.ts';
import type { Dataset } from '../data/index.ts';
import type { Chain } from './chain.ts';

/** A folder in Hugging Face's layout that is ready to be pruned or evaluated. */
export interface OpenedLanguageModel {
  readonly folder: Folder;
  readonly checkpoint: Checkpoint;
  readonly language: LanguageModel;
}

/** Beside config.json: the sizes of every block, where config.json cannot say them. */
export const SIZES_FILE = 'osscar.json';
const MAX_JSON_BYTES = 2 ** 24;

/**
 * @throws {InputError} if a file is missing, or config.json contradicts the tensors
 * @throws {FormatError} naming the malformed file
 * @throws {UnsupportedModelError} naming the model type, or the part of it that is not supported
 */
export async function openLanguageModel(folder: Folder): Promise<OpenedLanguageModel> {
  const checkpoint = await openCheckpoint(folder);
  const language = describe(checkpoint.config, await sizesIn(folder));
  language.check(checkpoint);
  return { folder, checkpoint, language };
}

/** The model that a folder describes, from its config.json alone; there need be no weights. */
export async function describeFolder(folder: Folder): Promise<LanguageModel> {
  return describe(await readJson(folder, 'config.json', MAX_JSON_BYTES), await sizesIn(folder));
}

async function sizesIn(folder: Folder): Promise<SizesRecord | undefined> {
  if (!(await folder.list()).includes(SIZES_FILE)) return undefined;
  return (await readJson(folder, SIZES_FILE, MAX_JSON_BYTES)) as unknown as SizesRecord; // describe checks it
}

/** The model as parts. */
export function chainOf({ folder, checkpoint, language }: OpenedLanguageModel): Chain {
  const { blocks, hidden, vocabulary } = language;
  return {
    ...{ name: folder.name, blocks, hidden, vocabulary },
    embedding: (length) => language.embedding(checkpoint, { length }),
    block: (i, length) => language.block(checkpoint, i, { length }),
    head: () => language.head(checkpoint),
  };
}

/** @throws {InputError} where windows are longer than the model's positions or hold ids outside its vocabulary */
export async function checkWindows(
  windows: Dataset,
  { maxPositions, vocabulary, architecture }: LanguageModel,
): Promise<void> {
  const [length] = windows.shape;
  if (windows.shape.length !== 1 || length < 2 || length > maxPositions) {
    throw new InputError(
      `windows of 2 to ${maxPositions} tokens expected for this ${architecture}, got [${windows.shape}]; see --seqlen`,
    );
  }
  for await (const { inputs } of windows.batches(64)) {
    const id = inputs.find((value) => !(value >= 0 && value < vocabulary));
    if (id !== undefined)
      throw new InputError(
        `token ${id} is outside the model's vocabulary of ${vocabulary}: the tokenizer is not this model's`,
      );
  }
}
