// The three ways a library gets into a page: as plain files, bundled by esbuild, bundled by Vite.

import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { build as esbuild } from 'esbuild';
import { build as vite } from 'vite';

const ROOT = join(import.meta.dirname, '../..');
const SOURCES = join(import.meta.dirname, 'site');
/** Under the project, so that the bundlers find its packages. */
const OUT = join(ROOT, 'build/browser');

export type Site = 'plain' | 'esbuild' | 'vite';

/** Builds a site and returns its folder. */
export async function buildSite(site: Site): Promise<string> {
  const folder = join(OUT, site);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  if (site === 'plain') plainSite(folder);
  else if (site === 'esbuild') await esbuildSite(folder);
  else await viteSite(folder);
  return folder;
}

/** The sources as they are, next to a copy of dist/browser. */
function plainSite(folder: string): void {
  cpSync(SOURCES, folder, { recursive: true });
  cpSync(join(ROOT, 'dist/browser'), join(folder, 'osscar'), { recursive: true });
  const run = join(folder, 'run.js');
  const bare = readFileSync(run, 'utf8');
  writeFileSync(
    run,
    bare
      .replace("'osscar-wasm'", "'./osscar/index.js'")
      .replace("'osscar-wasm/model'", "'./osscar/model.js'"),
  );
}

async function esbuildSite(folder: string): Promise<void> {
  const source = consumer('esbuild');
  await esbuild({
    absWorkingDir: source,
    // esbuild does not follow `new URL(…, import.meta.url)`.
    entryPoints: { page: 'page.js', 'page-worker': 'page-worker.js', guard: 'osscar-wasm/guard' },
    outdir: folder,
    bundle: true,
    splitting: true,
    format: 'esm',
    minify: true,
    logLevel: 'warning',
  });
  cpSync(join(SOURCES, 'index.html'), join(folder, 'index.html'));
  for (const file of ['osscar-wasm/dist/worker.js', 'onnxruntime-web/dist/ort-wasm-simd-threaded.wasm']) {
    const installed = file.startsWith('osscar') ? source : ROOT;
    cpSync(join(installed, 'node_modules', file), join(folder, basename(file)));
  }
}

/**
 * Vite emits the binary by itself. Its chunk of onnxruntime imports from the page's own script, however, which must
 * not run again in each thread of onnxruntime: threads need the two files by their URLs.
 */
const VITE_PATHS = `
import mjs from 'onnxruntime-web/ort-wasm-simd-threaded.mjs?url';
import wasm from 'onnxruntime-web/ort-wasm-simd-threaded.wasm?url';
export const wasmPaths = { mjs, wasm };
`;

async function viteSite(folder: string): Promise<void> {
  const source = consumer('vite');
  writeFileSync(join(source, 'paths.js'), VITE_PATHS);
  await vite({
    root: source,
    configFile: false,
    logLevel: 'warn',
    build: { outDir: folder, emptyOutDir: true },
    worker: { format: 'es' },
  });
}

/** A user's project: the sources, and the package as npm would install it. */
function consumer(name: string): string {
  const folder = join(OUT, `${name}-source`);
  rmSync(folder, { recursive: true, force: true });
  cpSync(SOURCES, folder, { recursive: true });
  const installed = join(folder, 'node_modules/osscar-wasm');
  cpSync(join(ROOT, 'package.json'), join(installed, 'package.json'));
  cpSync(join(ROOT, 'dist'), join(installed, 'dist'), { recursive: true });
  return folder;
}
