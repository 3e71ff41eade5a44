// What a run store is of: a store of something else is refused rather than mixed up.

import { FormatError, InputError } from '../../errors.ts';
import { isObject } from '../../expect.ts';
import { type JsonObject, parseJsonObject } from '../../json.ts';
import type { RunStore } from './store.ts';

/** Something by its name, for messages, and by its contents. */
interface Named {
  readonly name: string;
  /** See `contentHash`. */
  readonly hash: string;
}

export interface Manifest {
  readonly model: Named;
  /** What is calibrated with. */
  readonly data: Named;
  /** Of osscar: another may compute other bits. */
  readonly version: string;
}

const FILE = 'manifest.json';

function refuse(store: RunStore, why: string): never {
  throw new InputError(`work folder "${store.name}": ${why}; give another \`work\` folder`);
}

/**
 * What a store says that it is of, nothing where it is empty.
 *
 * @throws {InputError} where it holds what is no run
 */
export async function manifestIn(store: RunStore): Promise<JsonObject | undefined> {
  const bytes = await store.read(FILE);
  if (bytes) return parsed(bytes) ?? refuse(store, `its ${FILE} is damaged`);
  if ((await store.list()).length > 0) refuse(store, 'is not empty, and holds no run');
  return undefined;
}

/**
 * To be called before a store is used: writes the manifest into one that is empty.
 *
 * @throws {InputError} naming what differs, where the store holds a run of something else, or what is no run
 */
export async function openRun(store: RunStore, manifest: Manifest): Promise<void> {
  const found = await manifestIn(store);
  if (!found) return store.write(FILE, new TextEncoder().encode(JSON.stringify(manifest, null, 2)));
  const { model, data, version } = found;
  const named = (name: unknown) => ({ name, hash: name });
  for (const [what, held, wanted] of [
    ['model', namedIn(model), manifest.model],
    ['calibration data', namedIn(data), manifest.data],
    ['osscar', namedIn(named(version)), named(manifest.version) as Named],
  ] as const) {
    if (held?.hash === wanted.hash) continue;
    const [before, now] = [held, wanted].map((it) => {
      const hash = held?.name === wanted.name ? ` (${it?.hash?.slice(0, 8)})` : '';
      return `"${it?.name ?? '?'}"${hash}`;
    });
    refuse(store, `holds a run of ${what} ${before}, not of ${now}`);
  }
}

/** Nothing where it is no manifest. */
function parsed(bytes: Uint8Array): JsonObject | undefined {
  try {
    return parseJsonObject(bytes, FILE);
  } catch (cause) {
    if (cause instanceof FormatError) return undefined;
    throw cause;
  }
}

/** What a manifest says of something, or nothing where it makes no sense: it is a file that anybody may have edited. */
function namedIn(value: unknown): Named | undefined {
  const isText = isObject(value) && [value.name, value.hash].every((it) => typeof it === 'string');
  return isText ? (value as unknown as Named) : undefined;
}
