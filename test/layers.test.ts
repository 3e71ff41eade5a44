import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { expect, test } from 'vitest';
import packageJson from '../package.json' with { type: 'json' };
import { version } from '../src/version.ts';

/** Imports point downwards only: a folder may import from those before it. */
const LAYERS = [
  ...['', 'kernel', 'solve', 'tiles', 'pool', 'graph', 'checkpoint', 'engine', 'pipeline', 'guard', 'report'],
  ...['run', 'disk', 'cli'],
];
/** The same of the folders in the pipeline; what lies beside its door is for all of them. */
const PIPELINE = ['store', 'open', 'data', 'pass', 'models', 'measure', 'allocate', 'plan', 'queue'];
/** Solving knows nothing of models, models nothing of pruning criteria. */
const FORBIDDEN = [
  ['graph', 'kernel'],
  ['graph', 'solve'],
  ['graph', 'pool'],
  ['checkpoint', 'kernel'],
  ['checkpoint', 'solve'],
  ['checkpoint', 'pool'],
  ['engine', 'kernel'],
  ['engine', 'solve'],
  ['engine', 'pool'],
];

const SRC = join(import.meta.dirname, '../src');
const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));

function importsOf(file: string): string[] {
  const source = readFileSync(join(SRC, file), 'utf8').replace(/\/\*\*.*?\*\//gs, ''); // of examples
  return Array.from(source.matchAll(/(?:from|import)\s*\(?\s*'([^'\s]+)'/g), ([, specifier]) => specifier);
}

const layerOf = (file: string) => (file.includes('/') ? file.split('/')[0] : '');

test('imports point downwards only', () => {
  let checked = 0;
  for (const file of files) {
    const from = layerOf(file);
    expect(LAYERS).toContain(from);
    if (['index.ts', 'node.ts', 'model.ts', 'layer.ts'].includes(file)) continue; // the public faces, above them all
    for (const specifier of importsOf(file).filter((name) => name.startsWith('.'))) {
      const to = layerOf(relative(SRC, join(SRC, dirname(file), specifier)));
      checked++;
      if (specifier.endsWith('.deflate')) continue;
      expect(LAYERS.indexOf(to), `${file} imports ${specifier}`).toBeLessThanOrEqual(LAYERS.indexOf(from));
      expect(FORBIDDEN, `${file} imports ${specifier}`).not.toContainEqual([from, to]);
    }
  }
  expect(checked).toBeGreaterThan(50);
});

test('within the pipeline too', () => {
  let checked = 0;
  const folderOf = (file: string) => file.split('/').slice(0, -1)[1];
  for (const file of files.filter((it) => layerOf(it) === 'pipeline' && folderOf(it))) {
    const from = folderOf(file);
    expect(PIPELINE).toContain(from);
    for (const specifier of importsOf(file).filter((name) => name.startsWith('.'))) {
      const imported = relative(SRC, join(SRC, dirname(file), specifier));
      const to = layerOf(imported) === 'pipeline' ? folderOf(imported) : undefined;
      if (to === undefined) continue;
      checked++;
      expect(PIPELINE.indexOf(to), `${file} imports ${specifier}`).toBeLessThanOrEqual(
        PIPELINE.indexOf(from),
      );
    }
  }
  expect(checked).toBeGreaterThan(50);
});

test('no file needs, through others, itself: not even its types', () => {
  const imports = new Map(
    files.map((file) => [file, importsOf(file).map((name) => relative(SRC, join(SRC, dirname(file), name)))]),
  );
  for (const file of imports.keys()) {
    const seen = new Set<string>();
    const pending = [...imports.get(file)!];
    for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
      if (seen.has(next)) continue;
      seen.add(next);
      pending.push(...(imports.get(next) ?? []));
    }
    expect(seen, file).not.toContain(file);
  }
  expect(imports.size).toBeGreaterThan(200);
});

test.each(['pipeline', 'run'])('%s has one door', (folder) => {
  const outside = files.filter((file) => layerOf(file) !== folder);
  const doors = outside.flatMap((file) =>
    importsOf(file)
      .filter((name) => name.startsWith('.'))
      .map((name) => relative(SRC, join(SRC, dirname(file), name)))
      .filter((name) => layerOf(name) === folder),
  );
  expect(new Set(doors)).toEqual(new Set([`${folder}/index.ts`]));
});

test('only the disk and the command line import from Node, and platform.node.ts asks for what it needs', () => {
  const mentions = files.filter((file) => readFileSync(join(SRC, file), 'utf8').includes("'node:"));
  const elsewhere = mentions.filter((file) => !['disk', 'cli'].includes(layerOf(file)));
  expect(elsewhere).toEqual(['pool/platform.node.ts']);
  expect(importsOf(elsewhere[0]).filter((name) => name.startsWith('node:'))).toEqual([]);
});

test('only the platforms start workers; who has a script of its own says how, in the one form that bundlers see', () => {
  const inPages =
    /start: \(\) => new Worker\(new URL\('\.\/(\w+)\.js', import\.meta\.url\), \{ type: 'module' \}\),/;
  const source = (file: string) => readFileSync(join(SRC, file), 'utf8');
  const starting = files.filter((file) => /new (?:Worker|Thread)\(/.test(source(file).replace(inPages, '')));
  expect(starting.sort()).toEqual(['pool/platform.browser.ts', 'pool/platform.node.ts']);
  const scripts = files.flatMap((file) => inPages.exec(source(file))?.[1] ?? []);
  expect(scripts.sort()).toEqual(['guard', 'worker']);
});

/** What they import is built in: uPlot, and the compiled decoders of images. */
const BUNDLED = [
  'report/chart.ts',
  ...['avif', 'jpeg', 'webp'].map((name) => `pipeline/data/images/codecs/${name}.ts`),
];

/** What they import is loaded where it is asked for, and installed by whoever asks. */
const OPTIONAL = ['disk/bullmq.ts', 'disk/metrics.ts'];

test('every package that is imported is a dependency', () => {
  const nameOf = (path: string) =>
    path
      .split('/')
      .slice(0, path.startsWith('@') ? 2 : 1)
      .join('/');
  for (const path of BUNDLED.flatMap(importsOf).filter((it) => !it.startsWith('.')))
    expect(Object.keys(packageJson.devDependencies)).toContain(nameOf(path));
  const own = Object.keys(packageJson.dependencies);
  const peers = Object.keys(packageJson.peerDependenciesMeta);
  const optional = OPTIONAL.flatMap(importsOf).filter((it) => !it.startsWith('.') && !it.startsWith('node:'));
  for (const name of optional) expect([...own, ...peers]).toContain(name);
  for (const file of files.filter((it) => !OPTIONAL.includes(it))) {
    const source = readFileSync(join(SRC, file), 'utf8');
    for (const name of OPTIONAL)
      expect(source, file).not.toMatch(new RegExp(`^import (?!type)[^;]*/${name.split('/')[1]}'`, 'm'));
  }
  const packages = files
    .filter((file) => !BUNDLED.includes(file) && !OPTIONAL.includes(file))
    .flatMap(importsOf)
    .filter((name) => !name.startsWith('.') && !name.startsWith('node:'))
    .flatMap((name) =>
      name.startsWith('#') ? Object.values(packageJson.imports[name as '#onnxruntime']) : name,
    )
    .map(nameOf);
  expect(packages.length).toBeGreaterThan(5);
  for (const name of packages) expect(own).toContain(name);
});

test('the version is the package’s', () => {
  expect(version).toBe(packageJson.version);
});
