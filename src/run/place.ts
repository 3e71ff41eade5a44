// Where a model and its data lie: on a disk, in files picked in a page, behind an address, in memory. What reads them
// knows nothing else of it. The disk's places are those of disk/place.ts, all others those of source.ts.

import type { Folder } from '../checkpoint/index.ts';
import type { ReadExternal } from '../graph/index.ts';
import { checkJsonBytes, parseJsonObject } from '../json.ts';

/** Names in a folder, sorted. */
export interface Listing {
  readonly files: readonly string[];
  readonly folders: readonly string[];
  /** Links that lead nowhere. */
  readonly dangling?: readonly string[];
}

/** A file or a folder, or nothing yet. */
export interface Place {
  /** What messages call it. */
  readonly path: string;
  kind(): Promise<'file' | 'folder' | undefined>;
  /** @throws {InputError} naming the path, if it is no folder */
  list(): Promise<Listing>;
  /** @throws {InputError} naming the path, if it is no file */
  read(): Promise<Uint8Array>;
  /** Within the folder. */
  at(name: string): Place;
  /** The folder that it is in. */
  parent(): Place;
  /** The folder, with its files read by range. */
  openFolder(): Promise<Folder>;
  /**
   * For the tensors that this ONNX file keeps beside it.
   * @param onRead  is told the real path of every file that is read
   */
  externalReader(onRead?: (path: string) => void): ReadExternal;
}

/** Hidden files are of the system: macOS puts one beside each file on disks of others. */
export const isVisible = (name: string) => !name.startsWith('.');
export const isFile = async (place: Place) => (await place.kind()) === 'file';
export const isFolder = async (place: Place) => (await place.kind()) === 'folder';
/** @throws {FormatError} naming the path, where there are more bytes */
export async function readAtMost(place: Place, most: number): Promise<Uint8Array> {
  const bytes = await place.read();
  checkJsonBytes(bytes.length, most, place.path);
  return bytes;
}
/** @throws {FormatError} naming the path, where it is no JSON object, or has more bytes */
export const readJsonAt = async (place: Place, most: number) =>
  parseJsonObject(await readAtMost(place, most), place.path);
/** The last part of a path. */
export const baseName = ({ path }: Pick<Place, 'path'>) => path.split(/[/\\]/).pop()!;
