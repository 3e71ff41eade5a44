// docs/plugin-abi.md says what the module has.

import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { binaryModule, Host } from './host.ts';

const text = readFileSync('docs/plugin-abi.md', 'utf8');

test('the tables list every function with all its arguments, and no other', () => {
  const { abi } = new Host(binaryModule('baseline'));
  const documented = Array.from(text.matchAll(/^\| `(osscar_\w+)\(([^)]*)\)` \|/gm), ([, name, args]) => [
    name,
    args === '' ? 0 : args.split(',').length,
  ]);
  const exported = Object.entries(abi).flatMap(([name, value]) =>
    typeof value === 'function' ? [[name, value.length]] : [],
  );
  expect(documented.sort()).toEqual(exported.sort());
});

test('the lines in C are those of the example that is compiled and run', () => {
  const source = readFileSync('examples/plugin/host.c', 'utf8');
  const blocks = Array.from(text.matchAll(/```c\n([\s\S]*?)```/g), ([, block]) => block);
  expect(blocks).toHaveLength(2);
  for (const block of blocks) expect(source).toContain(block);
});
