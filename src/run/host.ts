// What an environment can do with names: the disk of Node, which src/node.ts brings, or a page's nothing.

import type { OnnxRuntime } from '../engine/index.ts';
import { InputError } from '../errors.ts';
import type { Queue, RunStore, Scratch } from '../pipeline/index.ts';
import type { Opened } from './closing.ts';
import type { Output, OutputKind, Replacing } from './output.ts';
import type { Place } from './place.ts';

export interface Host {
  /** What a path names. */
  place(path: string | URL): Place;
  /** @throws {InputError} where nothing can be written there */
  output(path: string, kind: OutputKind, replacing: Replacing): Promise<Output>;
  /** A run store at a path; one that is shared is used by several at a time. */
  store(path: string, options?: { readonly isShared?: boolean }): Promise<RunStore & { close(): unknown }>;
  /** A queue at an address. @throws {InputError} where there is none, or what speaks with it is not installed */
  queue?(url: string, options: { onNote?(text: string): void }): Promise<Queue & { close(): unknown }>;
  /** For activations that do not fit the memory. */
  scratch?(opened: Opened, folder?: string): Promise<() => Scratch>;
  /** The native build of onnxruntime, where it is installed. @throws {InputError} where it is not, and is asked for */
  native?(isAsked: boolean): Promise<OnnxRuntime | undefined>;
  /** Of onnxruntime-web, where nothing else is said. Default: as `openEngine` has it. */
  readonly threads?: number;
}

const refuse = (what: string, instead: string) => (path: unknown) => {
  throw new InputError(`"${path}": ${what} cannot be a path here; give ${instead}`);
};

/** Where there are no paths. */
const page: Host = {
  place: refuse('models and data', 'a File, an address with http(s):// in front, or bytes'),
  output: refuse('`output`', 'none, and the result has the files'),
  store: refuse('`work`', 'opfsStore() or another run store'),
};

/** In use. One for a program, as its environment is: set before anything is opened, by whichever entry is imported. */
export let host: Host = page;

export function setHost(environment: Host): void {
  host = environment;
}
