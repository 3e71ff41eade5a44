// The header of an AVIF file: boxes that name items, where their bytes lie, and what is said of each. Of that the primary item's
// size and how it is turned, and how many frames the decoder would be given.
//
// https://aomediacodec.github.io/av1-avif, ISO/IEC 14496-12, 8.11, and 23008-12, 6.5

import { concat } from '../../../graph/index.ts';
import { checkSize, type Frame, nameAt, viewOf } from './frame.ts';

/** A box by its name, without size and name. */
type Boxes = ReadonlyMap<string, Uint8Array>;

/** What the boxes of an item say. */
interface Item {
  /** Boxes of its own (`ispe`, `irot`, `av1C`, …). */
  readonly properties: Boxes;
  /** Its data, in as many pieces as it lies in. */
  readonly extents: readonly Uint8Array[];
}

/** Of colour, alpha, thumbnail and their layers; a decoder goes through all that it is given, a few bytes for each. */
const MOST_FRAMES = 8;
/** Data units of AV1 that begin a frame: a header alone, or with its tiles. */
const FRAMES = [3, 6];
/** By quarters that it is turned anticlockwise, and then mirrored: not, upside down, left to right. */
const ORIENTATIONS = [
  [1, 4, 2],
  [8, 5, 7],
  [3, 2, 4],
  [6, 7, 5],
];

export function isAvif(bytes: Uint8Array): boolean {
  if (nameAt(bytes, 4) !== 'ftyp') return false;
  const end = Math.min(viewOf(bytes).getUint32(0), bytes.length);
  for (let at = 8; at < end; at += 4) if (/^avi[fs]$/.test(nameAt(bytes, at))) return true;
  return false;
}

/** @throws {Error} where it is no single image, or would take the decoder minutes */
export function avifFrame(bytes: Uint8Array): Frame {
  if (nameAt(bytes, 8) === 'avis') throw new Error('it is a sequence of images; take them apart');
  const { primary, items } = readMeta(bytes);
  const size = items.get(primary)?.properties.get('ispe');
  if (!size) throw new Error('it holds no image');
  const [width, height] = [viewOf(size).getUint32(4), viewOf(size).getUint32(8)];
  checkSize({ width, height });
  const coded = [...items.values()].filter(({ properties }) => properties.has('av1C'));
  const stored = coded.flatMap(({ extents }) => extents).reduce((sum, { length }) => sum + length, 0);
  if (stored > bytes.length) throw new Error(`its items have ${stored} bytes, the file ${bytes.length}`);
  const frames = coded.reduce((sum, { extents }) => sum + framesIn(concat(extents)), 0);
  if (frames > MOST_FRAMES) throw new Error(`it has ${frames} frames or tiles, more than ${MOST_FRAMES}`);
  return { width, height, channels: 3, orientation: orientationOf(items.get(primary)!.properties) };
}

function orientationOf(properties: Boxes): number {
  const [quarters, axis] = [properties.get('irot')?.[0] ?? 0, properties.get('imir')?.[0]];
  return ORIENTATIONS[quarters & 3][axis === undefined ? 0 : 1 + (axis & 1)];
}

function* boxesOf(bytes: Uint8Array): Generator<[name: string, data: Uint8Array]> {
  const view = viewOf(bytes);
  for (let at = 0; at + 8 <= bytes.length; ) {
    const short = view.getUint32(at);
    const [head, size] =
      short === 1 ? [16, Number(view.getBigUint64(at + 8))] : [8, short === 0 ? bytes.length - at : short];
    if (size < head || at + size > bytes.length)
      throw new Error(`truncated in its box "${nameAt(bytes, at + 4)}"`);
    yield [nameAt(bytes, at + 4), bytes.subarray(at + head, at + size)];
    at += size;
  }
}

/** Numbers one after the other; those beyond the end are a RangeError. */
class Cursor {
  #at = 0;
  readonly #view: DataView;

  constructor(bytes: Uint8Array) {
    this.#view = viewOf(bytes);
  }

  /** Of as many bytes. */
  uint(bytes: number): number {
    let value = 0;
    for (let i = 0; i < bytes; i++) value = 256 * value + this.#view.getUint8(this.#at++);
    return value;
  }
}

function readMeta(bytes: Uint8Array): { primary: number; items: Map<number, Item> } {
  const box = (boxes: Boxes, name: string) => {
    const data = boxes.get(name);
    if (!data) throw new Error(`it has no box "${name}"`);
    return data;
  };
  const VERSION_BYTES = 4;
  const meta: Boxes = new Map(boxesOf(box(new Map(boxesOf(bytes)), 'meta').subarray(VERSION_BYTES)));
  const pitm = new Cursor(box(meta, 'pitm'));
  const primary = pitm.uint(VERSION_BYTES) < 2 ** 24 ? pitm.uint(2) : pitm.uint(4);
  const described = [...boxesOf(box(meta, 'iprp'))];
  const properties = readProperties(described);
  const extents = readLocations(box(meta, 'iloc'), bytes, meta.get('idat') ?? new Uint8Array());
  const items = new Map<number, Item>();
  for (const [id, own] of properties) items.set(id, { properties: own, extents: extents.get(id) ?? [] });
  return { primary, items };
}

/** `ipma`: which of the boxes in `ipco` belong to an item, by their numbers, whose first bit tells something else. */
function readProperties(iprp: readonly (readonly [string, Uint8Array])[]): Map<number, Boxes> {
  const boxes = iprp.filter(([name]) => name === 'ipco').flatMap(([, data]) => [...boxesOf(data)]);
  const items = new Map<number, Boxes>();
  for (const [, ipma] of iprp.filter(([name]) => name === 'ipma')) {
    const cursor = new Cursor(ipma);
    const version = cursor.uint(1);
    const indexBytes = cursor.uint(3) & 1 ? 2 : 1;
    for (let entries = cursor.uint(4); entries > 0; entries--) {
      const id = cursor.uint(version === 0 ? 2 : 4);
      const own = new Map(items.get(id));
      for (let count = cursor.uint(1); count > 0; count--) {
        const index = cursor.uint(indexBytes) % 2 ** (8 * indexBytes - 1);
        if (index > 0 && index <= boxes.length) own.set(...boxes[index - 1]);
      }
      items.set(id, own);
    }
  }
  return items;
}

/** `iloc`: where the pieces of items lie, in the file or in the box `idat`. */
function readLocations(iloc: Uint8Array, file: Uint8Array, idat: Uint8Array): Map<number, Uint8Array[]> {
  const cursor = new Cursor(iloc);
  const version = cursor.uint(4) >>> 24;
  const halves = () => {
    const byte = cursor.uint(1);
    return [byte >> 4, byte & 15];
  };
  const [offsetBytes, lengthBytes] = halves();
  const [baseBytes, indexBytes] = halves();
  const items = new Map<number, Uint8Array[]>();
  for (let count = cursor.uint(version < 2 ? 2 : 4); count > 0; count--) {
    const id = cursor.uint(version < 2 ? 2 : 4);
    const source = version > 0 && (cursor.uint(2) & 15) === 1 ? idat : file;
    cursor.uint(2); // in which other file, of which there is none
    const base = cursor.uint(baseBytes);
    const extents: Uint8Array[] = [];
    const pieces = cursor.uint(2);
    if (pieces > 0 && lengthBytes === 0) throw new Error('its items have no lengths');
    for (let i = 0; i < pieces; i++) {
      if (version > 0) cursor.uint(indexBytes);
      const start = base + cursor.uint(offsetBytes);
      extents.push(source.subarray(start, start + cursor.uint(lengthBytes)));
    }
    items.set(id, extents);
  }
  return items;
}

/** Frames among the data units of an item: type, flags, and the size in groups of seven bits (AV1, 5.3). */
function framesIn(data: Uint8Array): number {
  let frames = 0;
  for (let at = 0; at < data.length; ) {
    const head = data[at];
    if (FRAMES.includes((head >> 3) & 15)) frames++;
    const [isExtended, isSized] = [(head & 4) !== 0, (head & 2) !== 0];
    if (!isSized) break; // the last
    at += isExtended ? 2 : 1;
    let size = 0;
    for (let i = 0; i < 8; i++) {
      const byte = data[at++] ?? 0;
      size += (byte & 127) * 128 ** i;
      if (byte < 128) break;
    }
    at += size;
  }
  return frames;
}
