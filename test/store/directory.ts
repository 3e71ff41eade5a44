// A browser's folder in memory, with one way to write or none.

import type { Directory, WritableFile } from '../../src/pipeline/store/opfs.ts';

export function fakeDirectory(way: 'stream' | 'access' | 'none'): Directory & { failing: boolean } {
  const files = new Map<string, Uint8Array<ArrayBuffer>>();
  const find = (name: string) => {
    const bytes = files.get(name);
    if (!bytes) throw new DOMException(`no ${name}`, 'NotFoundError');
    return bytes;
  };
  const it = {
    failing: false,
    async getFileHandle(name: string, options?: { create: boolean }): Promise<WritableFile> {
      if (options?.create && !files.has(name)) files.set(name, new Uint8Array());
      find(name);
      const append = (bytes: Uint8Array) => {
        const count = it.failing ? bytes.length >> 1 : bytes.length;
        files.set(name, Uint8Array.from([...find(name), ...bytes.subarray(0, count)]));
        return count;
      };
      return {
        getFile: async () => new Blob([find(name)]),
        ...(way === 'stream' && {
          async createWritable() {
            const parts: Uint8Array[] = [];
            return {
              async write(bytes: Uint8Array<ArrayBuffer>) {
                if (it.failing) throw new DOMException('no space', 'QuotaExceededError');
                parts.push(bytes.slice());
              },
              async close() {
                files.set(name, new Uint8Array());
                parts.forEach(append);
              },
            };
          },
        }),
        ...(way === 'access' && {
          createSyncAccessHandle: async () => ({
            truncate: (size: number) => void files.set(name, find(name).slice(0, size)),
            read: () => 0,
            write: append,
            flush() {},
            close() {},
          }),
        }),
      };
    },
    async removeEntry(name: string) {
      find(name);
      files.delete(name);
    },
    async *keys() {
      yield* files.keys();
    },
  };
  return it;
}
