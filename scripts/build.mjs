// Builds dist/: the plug-in modules and the library's own binaries by asc, the library and the CLI by esbuild, the
// types by tsc.
// `node scripts/build.mjs wasm` stops after the binaries, which is all that the tests of src/ need.
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import asc from 'assemblyscript/asc';
import { build } from 'esbuild';

const only = process.argv[2];

mkdirSync('build', { recursive: true });
for (const target of ['baseline', 'relaxed', 'plugin', 'plugin-relaxed']) {
  const entry = target.startsWith('plugin') ? 'assembly/plugin/index.ts' : 'assembly/index.ts';
  const { error, stderr } = await asc.main([entry, '--config', 'asconfig.json', '--target', target]);
  if (error) {
    process.stderr.write(stderr.toString());
    process.exit(1);
  }
}
if (only === 'wasm') process.exit(0);

rmSync('dist', { recursive: true, force: true });
await build({
  entryPoints: { index: 'src/index.ts', cli: 'src/cli/main.ts' },
  outdir: 'dist',
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'neutral',
  target: 'es2022',
  packages: 'external',
  external: ['node:*'],
  loader: { '.wasm': 'binary' },
  sourcemap: true,
  legalComments: 'none',
  logLevel: 'warning',
});
copyFileSync('build/plugin.wasm', 'dist/osscar.wasm');
copyFileSync('build/plugin.relaxed.wasm', 'dist/osscar.relaxed.wasm');
// The package's own bin file: `npx tsc` would find the same, slower.
const tsc = createRequire(import.meta.url)
  .resolve('typescript/package.json')
  .replace(/package\.json$/, 'bin/tsc');
execFileSync(process.execPath, [tsc, '-p', 'tsconfig.types.json'], { stdio: 'inherit' });
