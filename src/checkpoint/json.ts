// JSON from files that nobody vouches for.

import { FormatError } from '../errors.ts';

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

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** @throws {FormatError} if the bytes are not UTF-8, not JSON, not an object, or have a key twice */
export function parseJsonObject(bytes: Uint8Array, where: string): JsonObject {
  let text: string;
  let value: unknown;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    value = JSON.parse(text);
  } catch (cause) {
    throw new FormatError(`"${where}": not valid JSON: ${(cause as Error).message}`, { cause });
  }
  if (!isObject(value)) throw new FormatError(`"${where}": expected a JSON object`);
  const duplicate = findDuplicateKey(text);
  if (duplicate !== undefined) throw new FormatError(`"${where}": "${duplicate}" comes twice`);
  return value;
}
