// Bundles programs for Node that are no part of the package: benches, the fuzzer.

import { build } from 'esbuild';

/**
 * @param entryPoints  files of TypeScript, each of which becomes an .mjs in `outdir`
 * @param define  what the build puts in the place of names
 */
export function bundle(entryPoints, outdir, define = {}) {
  return build({
    entryPoints,
    outdir,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'es2022',
    packages: 'external',
    loader: { '.deflate': 'binary' },
    define,
    logLevel: 'warning',
  });
}
