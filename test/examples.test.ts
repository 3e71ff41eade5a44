// The examples of the reference: every public function has one, and TypeScript finds no fault with it as a reader copies
// it. Types are those of the built dist/.

import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import * as index from '../src/index.ts';
import * as layer from '../src/layer.ts';
import * as model from '../src/model.ts';
import * as report from '../src/report/index.ts';
import { run } from './support/children.ts';

const ROOT = join(import.meta.dirname, '..');
/** In the repository, where `osscar-wasm` is the package itself. */
const FOLDER = join(ROOT, 'build/examples');
afterAll(() => rmSync(FOLDER, { recursive: true, force: true }));

const ENTRIES = [
  { name: 'osscar-wasm/model', file: 'src/model.ts', entry: model },
  { name: 'osscar-wasm/layer', file: 'src/layer.ts', entry: layer },
  { name: 'osscar-wasm', file: 'src/index.ts', entry: index },
  { name: 'osscar-wasm/report', file: 'src/report/index.ts', entry: report },
];

const isClass = (value: unknown) => /^class\b/.test(String(value));
const functionsOf = (entry: object) =>
  Object.entries(entry).flatMap(([name, value]) =>
    typeof value === 'function' && !isClass(value) ? [name] : [],
  );

/** The comment before the function's declaration, wherever an entry exports it from. */
function commentOf(file: string, name: string): string | undefined {
  const source = readFileSync(join(ROOT, file), 'utf8');
  const declared = new RegExp(
    `(?:/\\*\\*((?:(?!\\*/).)*)\\*/\\n)?export (?:async )?(?:function\\*? ?|const )${name}\\b`,
    's',
  ).exec(source);
  if (declared) return declared[1] ?? '';
  for (const [, names, from] of source.matchAll(/export (\*|\{[^}]*\}) from '(\.[^']*)'/g)) {
    if (names !== '*' && !new RegExp(`\\b${name}\\b`).test(names)) continue;
    const found = commentOf(join(dirname(file), from), name);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** The code of each example of a comment. */
function examplesOf(comment: string): string[] {
  return comment
    .replace(/^ \* ?/gm, '')
    .split(/^@/m)
    .filter((block) => block.startsWith('example\n'))
    .map((block) => block.slice('example\n'.length));
}

/** What the reader has: names that examples use without saying where they come from. */
const GIVEN = `
declare const bytes: Uint8Array<ArrayBuffer>, values: Float32Array, W0: Float32Array, kept: readonly number[];
declare const text: string, key: string, before: string, files: readonly File[];
declare const figure: HTMLElement, input: HTMLInputElement;
declare const modelInput: { files: FileList }, imagesInput: { files: FileList };
declare const layer: import('osscar-wasm/layer').Layer;
type Rule = import('osscar-wasm/model').Rule;
`;
/** The same of types that an entry has. */
const TYPED: Readonly<Record<string, string>> = {
  Batch: 'batch',
  Dataset: 'calibration, samples',
  Encode: 'encode',
  Engine: 'engine',
  Folder: 'folder',
  Kernels: 'kernels',
  LanguageModel: 'described',
  LatencyTable: 'latencyTable',
  LayerProblem: 'problem, another',
  LayerStatistics: 'statistics, fit, heldOut',
  Model: 'source',
  NodeProto: 'node',
  OpenedLanguageModel: 'language',
  OpenedModel: 'model, smaller, opened',
  Preprocessing: 'preprocessing',
  PruneOptions: 'options',
  RunStore: 'store',
  SavedReport: 'report',
  Session: 'session',
  Tradeoff: 'tradeoff',
};

/** A module with the example in a function, and imports of all that it names of the entry. */
function moduleOf({ name, entry }: (typeof ENTRIES)[number], example: string): string {
  const imports = example.match(/^import .*$/gm) ?? [];
  const code = example.replace(/^import .*$/gm, '');
  const own = Object.keys(entry).filter((it) => new RegExp(`\\b${it}\\b`).test(code));
  const given = Object.entries(TYPED).flatMap(([type, names]) =>
    names.split(', ').map((it) => `declare const ${it}: import('osscar-wasm/model').${type};`),
  );
  return [
    `import { readdir, readFile, writeFile } from 'node:fs/promises';`,
    `import { join } from 'node:path';`,
    `import { ${own.join(', ')} } from '${name}';`,
    ...imports,
    ...given,
    GIVEN,
    `export async function example() {\n${code}}`,
  ].join('\n');
}

test('examples have no errors of types', async () => {
  rmSync(FOLDER, { recursive: true, force: true });
  mkdirSync(FOLDER, { recursive: true });
  const config = {
    compilerOptions: {
      ...{ strict: true, noEmit: true, skipLibCheck: true, target: 'es2023', module: 'nodenext' },
      ...{ lib: ['es2023', 'dom', 'dom.iterable', 'esnext.disposable'], types: ['node'] },
    },
    include: ['*.ts'],
  };
  writeFileSync(join(FOLDER, 'tsconfig.json'), JSON.stringify(config));
  const seen = new Set<string>();
  for (const it of ENTRIES)
    for (const name of functionsOf(it.entry))
      for (const [i, example] of examplesOf(commentOf(it.file, name)!).entries()) {
        // Of what several entries have, examples are of the one with the pieces.
        if (seen.has(example)) continue;
        seen.add(example);
        writeFileSync(join(FOLDER, `${it.name.replace(/\W+/g, '-')}-${name}-${i}.ts`), moduleOf(it, example));
      }
  const tsc = join(ROOT, 'node_modules/typescript/bin/tsc');
  const { stdout } = await run(process.execPath, [tsc, '-p', FOLDER]);
  expect(stdout).toBe('');
});

describe.each(ENTRIES)('$name', ({ file, entry }) => {
  test.each(functionsOf(entry))('%s has an example', (name) => {
    const comment = commentOf(file, name);
    expect(comment, `where ${file} has ${name} from`).toBeDefined();
    expect(examplesOf(comment!)).not.toEqual([]);
  });
});
