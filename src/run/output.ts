// Where a smaller model goes: there when it is whole, or not at all.

import { memoryOutput, type OutputFolder } from '../checkpoint/index.ts';
import { locationOf } from '../graph/index.ts';
import type { FileOptions, FolderOptions, PruneResult } from '../pipeline/index.ts';
import { CARD_FILE } from './card.ts';
import type { Place } from './place.ts';

/** What may be there already, where something is to be written. */
export interface Replacing {
  /** Whether what is there may be replaced. */
  readonly overwrite?: boolean;
  /** Paths of what the run reads: never replaced. */
  readonly inputs?: readonly string[];
  /** Of these, what it reads model and data from: no folder is written into them. */
  readonly sources?: readonly string[];
}

/** A file, a folder of safetensors, or a folder like another one but for the model in it. */
export type OutputKind =
  | 'file'
  | 'folder'
  | {
      readonly source: Place;
      /** The model in it. */
      readonly file: Place;
      /** Other models in it that stay as they are. */
      readonly parts?: readonly Place[];
    };

export interface Output extends FileOptions, FolderOptions {
  /**
   * @param isRead  whether the run has read a file, which then stays
   * @param card  README.md of a folder
   * @param along  files beside the model, by their names
   * @returns what reports say of it
   */
  save(
    result: PruneResult,
    isRead: (path: string) => boolean,
    card: string,
    along?: ReadonlyMap<string, Blob>,
  ): Promise<{ readonly path: string; readonly sha256?: string }>;
  /** What was saved, where it has gone nowhere else. */
  files?(): ReadonlyMap<string, Blob>;
  /** Harmless after `save`. */
  close(): Promise<void>;
}

/** @param name  of the model, or of its folder */
export function keptOutput(name: string, isFile: boolean): Output {
  if (!isFile) {
    const output = memoryOutput(name);
    return { ...heldFolder(output), files: output.files };
  }
  const externalName = `${locationOf(name)}_data`;
  const files = new Map<string, Blob>();
  return {
    externalName,
    files: () => files,
    async save({ written }, _, __, along = new Map()) {
      const { model, external } = written!;
      for (const [other, content] of along) files.set(other, content);
      files.set(name, new Blob([model as Uint8Array<ArrayBuffer>]));
      if (external) files.set(externalName, new Blob(external as Uint8Array<ArrayBuffer>[]));
      return { path: name };
    },
    close: async () => {},
  };
}

/** A folder that appears when it is saved, once its card is in it. */
export function heldFolder(folder: OutputFolder): Output {
  const { name } = folder;
  return {
    output: {
      name,
      list: (within) => folder.list(within),
      size: (file) => folder.size(file),
      read: (file, offset, length) => folder.read(file, offset, length),
      close: () => folder.close(),
      writeAt: (file, offset, bytes) => folder.writeAt(file, offset, bytes),
      commit: async () => {},
      abort: () => folder.abort(),
    },
    async save(_, __, card) {
      await folder.writeAt(CARD_FILE, 0, new TextEncoder().encode(card));
      await folder.commit();
      return { path: name };
    },
    close: () => folder.abort(),
  };
}
