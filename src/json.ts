// JSON from files that nobody vouches for.

import { FormatError, InputError } from './errors.ts';
import { isObject, said } from './expect.ts';
import { otherDocument, placeholder, TELLING } from './formats.ts';
import { limits } from './limits.ts';

export type JsonObject = Record<string, unknown>;

/**
 * The first key that an object of a valid JSON text has twice. `JSON.parse` keeps the last silently, and a header
 * with two tensors of one name would then mean different things to different readers.
 */
function findDuplicateKey(text: string): string | undefined {
  const objects: Set<string>[] = [];
  let last = '';
  for (let i = 0; i < text.length; i++) {
    const char = text[i];
    if (char === '"') {
      const start = i++;
      while (text[i] !== '"') i += text[i] === '\\' ? 2 : 1;
      last = text.slice(start, i + 1);
    } else if (char === '{') objects.push(new Set());
    else if (char === '}') objects.pop();
    else if (char === ':') {
      const key: string = JSON.parse(last);
      const keys = objects[objects.length - 1];
      if (keys.has(key)) return key;
      keys.add(key);
    }
  }
  return undefined;
}

/** Whoever walks through a value, `JSON.stringify` among them, has no end of stack. */
function isTooDeep(text: string): boolean {
  let depth = 0;
  let inString = false;
  for (let i = 0; i < text.length; i++) {
    const char = text.charCodeAt(i);
    if (inString) {
      if (char === BACKSLASH) i++;
      else if (char === QUOTE) inString = false;
    } else if (char === QUOTE) inString = true;
    else if (char === BRACKET || char === BRACE) {
      if (++depth > limits.jsonDepth) return true;
    } else if (char === BRACKET + 2 || char === BRACE + 2) depth--;
  }
  return false;
}
/** UTF-16 units; closing ones are two further on. */
const [QUOTE, BACKSLASH, BRACKET, BRACE] = [0x22, 0x5c, 0x5b, 0x7b];

/**
 * @param where  what messages begin with, in the form that its kind of file has
 * @throws {FormatError} if the text is not JSON, or nested too deeply
 * @throws {InputError} if it is no text
 */
export function parseJson(text: string, where: string): unknown {
  if (typeof text !== 'string') throw new InputError(`${where}: expected JSON as text, got ${said(text)}`);
  if (isTooDeep(text)) throw new FormatError(`${where}: nested more than ${limits.jsonDepth} times`);
  try {
    return JSON.parse(text);
  } catch (cause) {
    const other = placeholder(new TextEncoder().encode(text.slice(0, TELLING)));
    const [, python] = /[:[,]\s*(NaN|-?Infinity)\b/.exec(text) ?? [];
    const hint = python ? ` (there is no ${python} in JSON; write a number, or null)` : '';
    const reason = other ? `it is ${other}` : `not valid JSON: ${(cause as Error).message}${hint}`;
    throw new FormatError(`${where}: ${reason}`, { cause });
  }
}

/** @throws {FormatError} if the bytes are not UTF-8, or more than a string holds */
export function decodeUtf8(bytes: Uint8Array, where: string): string {
  const head = bytes.subarray(0, TELLING);
  // UTF-16 without the mark at its beginning is UTF-8 too, in which every other character is none.
  if (head.filter((byte) => byte === 0).length > head.length / 4)
    throw new FormatError(
      `${where}: it is ${otherDocument(head) ?? 'UTF-16 text, or none; save it as UTF-8'}`,
    );
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    if (cause instanceof TypeError) {
      const other = otherDocument(head);
      throw new FormatError(`${where}: ${other ? `it is ${other}` : 'not UTF-8 text; save it as UTF-8'}`, {
        cause,
      });
    }
    throw new FormatError(
      `${where}: ${bytes.length} bytes are more than one text may have; give a part of it`,
      {
        cause,
      },
    );
  }
}

/**
 * To be called before a file is parsed: its values take fifteen times its bytes.
 *
 * @throws {FormatError} where it is larger than what is read of its kind
 */
export function checkJsonBytes(bytes: number, most: number, path: string): void {
  if (bytes > most) throw new FormatError(`"${path}": expected at most ${most} bytes, got ${bytes}`);
}

/** @throws {FormatError} if the bytes are not UTF-8, not JSON, not an object, or have a key twice */
export function parseJsonObject(bytes: Uint8Array, where: string): JsonObject {
  const text = decodeUtf8(bytes, `"${where}"`);
  const value = parseJson(text, `"${where}"`);
  if (!isObject(value)) throw new FormatError(`"${where}": expected a JSON object`);
  const duplicate = findDuplicateKey(text);
  if (duplicate !== undefined) throw new FormatError(`"${where}": "${duplicate}" comes twice`);
  return value;
}
