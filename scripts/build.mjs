// Builds dist/: both wasm binaries by asc, the library and the CLI by esbuild, the types by tsc.
// `node scripts/build.mjs wasm` stops after the binaries, which is all that the tests of src/ need.
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import asc from 'assemblyscript/asc';
import { build } from 'esbuild';
import { licenses } from './licenses.mjs';

const only = process.argv[2];

mkdirSync('build', { recursive: true });
for (const target of ['baseline', 'relaxed']) {
  const { error, stderr } = await asc.main(['--config', 'asconfig.json', '--target', target]);
  if (error) {
    process.stderr.write(stderr.toString());
    process.exit(1);
  }
}
if (only === 'wasm') process.exit(0);

rmSync('dist', { recursive: true, force: true });
const common = {
  bundle: true,
  splitting: true,
  format: 'esm',
  target: 'es2022',
  loader: { '.wasm': 'binary' },
  sourcemap: true,
  logLevel: 'warning',
};
await build({
  ...common,
  entryPoints: { index: 'src/index.ts', cli: 'src/cli/main.ts' },
  outdir: 'dist',
  platform: 'neutral',
  packages: 'external',
  external: ['node:*', '#onnxruntime'],
  legalComments: 'none',
});
// For pages without a bundler: every package inside, and onnxruntime's own binary beside it, where it looks for it.
const { metafile } = await build({
  ...common,
  entryPoints: { index: 'src/index.ts' },
  outdir: 'dist/browser',
  platform: 'browser',
  minify: true,
  sourcemap: false,
  legalComments: 'none',
  metafile: true,
});
writeFileSync('dist/browser/LICENSES.txt', licenses(Object.keys(metafile.inputs)));
copyFileSync(
  'node_modules/onnxruntime-web/dist/ort-wasm-simd-threaded.wasm',
  'dist/browser/ort-wasm-simd-threaded.wasm',
);
copyFileSync('build/osscar.wasm', 'dist/osscar.wasm');
copyFileSync('build/osscar.relaxed.wasm', 'dist/osscar.relaxed.wasm');
// The package's own bin file: `npx tsc` would find the same, slower.
const tsc = createRequire(import.meta.url)
  .resolve('typescript/package.json')
  .replace(/package\.json$/, 'bin/tsc');
execFileSync(process.execPath, [tsc, '-p', 'tsconfig.types.json'], { stdio: 'inherit' });
