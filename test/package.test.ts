// What users are given: the files of the tarball, and what comes with it. Runs on the built dist/.

import { cpSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import { expect, test } from 'vitest';
import packageJson from '../package.json' with { type: 'json' };
import { run } from './support/children.ts';

const ROOT = join(import.meta.dirname, '..');

interface Packed {
  readonly files: readonly { readonly path: string; readonly mode: number }[];
}

async function packed(): Promise<Packed> {
  const args = ['pack', '--dry-run', '--json', '--ignore-scripts'];
  const { stdout } = await run('npm', args, { cwd: ROOT });
  const [tarball] = Object.values<Packed>(JSON.parse(stdout)); // an array, or by name since npm 12
  return tarball;
}

/** All that a tarball may hold. */
const EXPECTED = [
  /^(package\.json|LICENSE|(README|CHANGELOG|CONTRIBUTING|SECURITY)\.md)$/,
  /^dist\/([\w.-]+\.(js|js\.map|css|wasm)|(report\.)?LICENSES\.txt)$/,
  /^dist\/browser\/([\w.-]+\.(js|mjs|wasm)|LICENSES\.txt)$/,
  /^dist\/types\/[\w./-]+\.d\.ts$/,
  /^(docs|bench|test\/fixtures)\/[\w-]+\.md$/,
  /^docs\/pictures\/\w+\.png$/,
  /^examples\/[\w./-]+\.(js|mjs|ts|html|css|c|py|md|svg|json|webmanifest)$/,
  /^test\/fixtures\/(fashion-mobilenet\.onnx|calib\/[\w-]+\/\d+\.png)$/,
];

test('the tarball holds what is built and written for users, and nothing else', async () => {
  const { files } = await packed();
  const paths = files.map(({ path }) => path);
  expect(paths.filter((path) => !EXPECTED.some((pattern) => pattern.test(path)))).toEqual([]);
  expect(paths).toEqual(
    expect.arrayContaining(['LICENSE', 'SECURITY.md', 'docs/security.md', 'dist/index.js']),
  );
  // Maps say where code came from, and not on whose machine.
  for (const path of paths.filter((it) => it.endsWith('.map'))) {
    const { sources } = JSON.parse(readFileSync(join(ROOT, path), 'utf8'));
    expect(sources.filter((source: string) => !/^\.\.\/(src|build|node_modules)\//.test(source))).toEqual([]);
  }
});

test.each(['dist', 'dist/browser'])('the licences of decoders compiled into %s are beside them', (folder) => {
  const text = readFileSync(join(ROOT, folder, 'LICENSES.txt'), 'utf8');
  for (const holder of ['Independent JPEG Group', 'Google Inc', 'Joe Drago', 'Alliance for Open Media'])
    expect(text).toContain(holder);
});

test('it bundles for Node where no optional peer is installed', async () => {
  const optional = Object.keys(packageJson.peerDependencies);
  const missing: string[] = [];
  const { outputFiles } = await build({
    entryPoints: [join(ROOT, 'dist/node.js')],
    bundle: true,
    platform: 'node',
    format: 'esm',
    write: false,
    logLevel: 'silent',
    plugins: [
      {
        name: 'not installed',
        setup({ onResolve }) {
          onResolve({ filter: new RegExp(`^(${optional.join('|')})$`) }, ({ path }) => {
            missing.push(path);
            return { path, external: true };
          });
        },
      },
    ],
  });
  expect(missing).toEqual([]);
  expect(outputFiles[0].text).not.toMatch(new RegExp(`from "(${optional.join('|')})"`));
});

// Minified, with the packages that are needed.
test.each([
  ['osscar-wasm', 'InputError', 5_000],
  ['osscar-wasm', 'FORMATS', 5_000],
  ['osscar-wasm', 'parseLatencyTable', 12_000],
  ['osscar-wasm/layer', 'METHODS', 2_000],
  ['osscar-wasm/layer', 'solveLayers', 40_000],
  ['osscar-wasm/model', 'limits', 4_100],
  ['osscar-wasm/model', 'parsePreprocessing', 12_000],
  ['osscar-wasm/model', 'decodeNpy', 15_000],
  ['osscar-wasm/model', 'openEngine', 18_000],
  ['osscar-wasm/model', 'opfsStore', 8_000],
  ['osscar-wasm/model', 'unary', 4_000],
  ['osscar-wasm/model', 'imageDataset', 40_000],
  ['osscar-wasm/model', 'openTokenizer', 80_000],
  ['osscar-wasm/model', 'openCheckpoint', 30_000],
  ['osscar-wasm', 'prune', 805_000], // without what decodes images, reads archives, describes folders and writes model cards
])('a bundle with nothing but %s\u2019s %s is below %i bytes', async (entry, name, most) => {
  const { metafile } = await build({
    stdin: { contents: `export { ${name} } from '${entry}';`, resolveDir: ROOT },
    outdir: 'out',
    bundle: true,
    splitting: true,
    minify: true,
    format: 'esm',
    platform: 'browser',
    metafile: true,
    write: false,
    logLevel: 'error', // bare imports of chunks without side effects
  });
  // Codecs, onnxruntime and what few runs need are loaded when they are asked for.
  const entries = Object.keys(metafile.outputs).filter(
    (path) => metafile.outputs[path].entryPoint === '<stdin>',
  );
  const loaded = new Set(entries);
  for (const path of loaded)
    for (const { kind, path: to } of metafile.outputs[path].imports)
      if (kind === 'import-statement') loaded.add(to);
  const bytes = [...loaded].reduce((sum, path) => sum + metafile.outputs[path].bytes, 0);
  expect(bytes).toBeGreaterThan(0);
  expect(bytes).toBeLessThan(most);
});

// `npm run test:types` does so with the oldest TypeScript, which has to be installed for it.
test.each(['tsconfig.json', 'tsconfig.page.json'])(
  'the declarations are whole by themselves: %s',
  async (config) => {
    const tsc = join(ROOT, 'node_modules/typescript/bin/tsc');
    const { stdout } = await run(process.execPath, [tsc, '-p', join(ROOT, 'test/types', config)]);
    expect(stdout).toBe('');
    // Of TypeScript 5.7 and later.
    const folder = join(ROOT, 'dist/types');
    const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((it) =>
      it.endsWith('.d.ts'),
    );
    const generic = files.filter((it) =>
      /\b(\w+Array|DataView)<ArrayBuffer/.test(readFileSync(join(folder, it), 'utf8')),
    );
    expect(files.length).toBeGreaterThan(100);
    expect(generic).toEqual([]);
  },
);

test('the example that compares says that its models are not in the package', async () => {
  const folder = join(ROOT, 'build/compared');
  cpSync(join(ROOT, 'examples'), join(folder, 'examples'), { recursive: true });
  const { code, output } = await run(process.execPath, [join(folder, 'examples/compare.mjs')]);
  rmSync(folder, { recursive: true });
  expect(output).toMatch(/^compare\.mjs: its models and data are in test\/fixtures of a clone/);
  expect(code).toBe(1);
});

test('installing it runs nothing of ours, and of one other package a comparison of versions', () => {
  // https://docs.npmjs.com/cli/using-npm/scripts#life-cycle-operation-order
  const lifecycle = /^(pre|post)?(install|prepare|uninstall|publish|pack)$|^prepublishOnly$|^dependencies$/;
  expect(Object.keys(packageJson.scripts).filter((name) => lifecycle.test(name))).toEqual([]);
  const lock = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8'));
  const installed = Object.entries<{ dev?: boolean; devOptional?: boolean; hasInstallScript?: boolean }>(
    lock.packages,
  ).filter(([path, { dev, devOptional }]) => path !== '' && !dev && !devOptional);
  expect(installed.length).toBeGreaterThan(20);
  expect(installed.filter(([, it]) => it.hasInstallScript).map(([path]) => path)).toEqual([
    'node_modules/protobufjs',
  ]);
  expect(installed.filter(([, it]) => !('integrity' in it))).toEqual([]);
});

test('its own dependencies are of one version each', () => {
  const versions = Object.values(packageJson.dependencies);
  expect(versions.filter((version) => !/^\d+\.\d+\.\d+$/.test(version))).toEqual([]);
});
