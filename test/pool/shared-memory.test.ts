import { expect, test } from 'vitest';
import { compile, type Simd } from '../../src/kernel/index.ts';

const simds: Simd[] = ['baseline', 'relaxed'];

/** Who helps with large operations, who has what lies in tiles, and the memory. */
const IMPORTS = [
  { module: 'env', name: 'helpers', kind: 'function' },
  { module: 'env', name: 'memory', kind: 'memory' },
  { module: 'env', name: 'share', kind: 'function' },
  { module: 'env', name: 'tiles', kind: 'function' },
];
const crew = { helpers: () => 0, tiles() {}, share() {} };

test.each(simds)('%s: one form takes a memory that is shared, the other one that is not', async (simd) => {
  for (const kind of ['own', 'shared'] as const) {
    const module = await compile(simd, kind);
    const imports = WebAssembly.Module.imports(module);
    expect(imports.sort((a, b) => (a.name < b.name ? -1 : 1))).toEqual(IMPORTS);
    for (const shared of [false, true]) {
      const memory = new WebAssembly.Memory({ initial: 1, maximum: 65536, shared });
      const make = () => new WebAssembly.Instance(module, { env: { memory, ...crew } });
      if (shared === (kind === 'shared')) make();
      else expect(make).toThrow(WebAssembly.LinkError);
    }
  }
  const names = async (kind: 'own' | 'shared') => WebAssembly.Module.exports(await compile(simd, kind));
  expect(await names('shared')).toEqual(await names('own'));
});

test.each(simds)('%s: a second instance on the same memory changes nothing there', async (simd) => {
  const memory = new WebAssembly.Memory({ initial: 2, maximum: 65536, shared: true });
  const module = await compile(simd, 'shared');
  new WebAssembly.Instance(module, { env: { memory, ...crew } });
  const bytes = new Uint8Array(memory.buffer);
  for (let i = 0; i < bytes.length; i++) bytes[i] = (i * 37) % 251;
  const before = bytes.slice();
  new WebAssembly.Instance(module, { env: { memory, ...crew } });
  expect(Buffer.compare(Buffer.from(bytes), Buffer.from(before))).toBe(0);
});

test('a module is compiled once for each form', async () => {
  expect(await compile('baseline', 'shared')).toBe(await compile('baseline', 'shared'));
  expect(await compile('baseline', 'shared')).not.toBe(await compile('baseline'));
});
