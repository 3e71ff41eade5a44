// A run store for as long as the process lives.

import { fileOf, keysOf, type RunStore } from './store.ts';

export function memoryStore(): RunStore {
  const files = new Map<string, Uint8Array<ArrayBuffer>>();
  return {
    name: 'memory',
    read: async (key) => files.get(fileOf(key))?.slice(),
    write: async (key, bytes) => void files.set(fileOf(key), new Uint8Array(bytes)),
    list: async (prefix = '') => keysOf(files.keys(), prefix),
    remove: async (key) => void files.delete(fileOf(key)),
  };
}
