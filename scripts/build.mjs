// Builds dist/: the plug-in modules and the library's own binaries by asc, the library, its worker and the CLI by
// esbuild, the types by tsc.
// `node scripts/build.mjs wasm` stops after the binaries, which is all that the tests of src/ need.
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { deflateRawSync } from 'node:zlib';
import asc from 'assemblyscript/asc';
import { build } from 'esbuild';
import packageJson from '../package.json' with { type: 'json' };
import { licenses } from './licenses.mjs';
import { portableTypes } from './types.mjs';

const only = process.argv[2];

/** Bytes that must be alike for a step back or ahead to be worth its numbers. */
const ALIKE = 16;

/**
 * Two binaries that are much alike: their lengths and that of the steps (u32), the steps, the first binary, and what only the second
 * has. A step is three numbers (i16): so many bytes that only the second has, then how far ahead in the first, and how many of its bytes.
 */
function both(first, second) {
  const keyAt = (binary, at) => binary.toString('latin1', at, at + ALIKE);
  const places = new Map();
  for (let at = 0; at < first.length; at++)
    places.set(keyAt(first, at), [...(places.get(keyAt(first, at)) ?? []), at]);
  const steps = [];
  const own = [];
  let from = 0;
  let since = 0;
  for (let to = 0; to < second.length; ) {
    const alike = (at) => {
      let length = 0;
      while (to + length < second.length && first[at + length] === second[to + length]) length++;
      return { at, length };
    };
    const candidates = [from, ...(places.get(keyAt(second, to)) ?? [])].map(alike);
    const { at, length } = candidates.reduce((best, it) => (it.length > best.length ? it : best));
    if (length >= (at === from ? ALIKE / 4 : ALIKE)) {
      steps.push(own.length - since, at - from, length);
      since = own.length;
      from = at + length;
      to += length;
    } else {
      own.push(second[to++]);
      from++;
    }
  }
  steps.push(own.length - since, 0, 0);
  if (steps.some((it) => (it << 16) >> 16 !== it))
    throw new RangeError('build: a step between the binaries is too long');
  const head = Uint32Array.of(first.length, second.length, steps.length);
  return Buffer.concat([
    ...[head, Int16Array.from(steps)].map(({ buffer }) => new Uint8Array(buffer)),
    first,
    Buffer.from(own),
  ]);
}

/** Deflated as well as it gets. */
function deflate(binary) {
  return deflateRawSync(binary, { level: 9, memLevel: 9 });
}

/**
 * The exports as asc declares them, by a run of its own: asked for bindings, it puts more exports into the binary. In a
 * module without them an object is its address, and a boolean comes back as 0 or 1.
 */
async function declarations(entry) {
  const written = {};
  const writeFile = (name, contents) => {
    written[name] = contents;
  };
  await compile([entry, '--target', 'baseline', '--optimizeLevel', '0', '--bindings', 'esm'], { writeFile });
  const exported = written['build/osscar.d.ts'].match(/^export declare .*;$/gm).join('\n');
  return `${exported.replace(/\b__(Record\w+<\w+>|Internref\d+)/g, 'number').replace(/boolean;$/gm, 'number;')}\n`;
}

async function compile(options, host) {
  const { error, stderr } = await asc.main([...options, '--config', 'asconfig.json'], host);
  if (!error) return;
  process.stderr.write(stderr.toString());
  process.exit(1);
}

mkdirSync('build', { recursive: true });
for (const target of ['baseline', 'relaxed', 'plugin', 'plugin-relaxed']) {
  const entry = target.startsWith('plugin') ? 'assembly/plugin/index.ts' : 'assembly/index.ts';
  await compile([entry, '--target', target]);
}
// What src/kernel/abi.ts reads.
writeFileSync('build/osscar.d.ts', await declarations('assembly/index.ts'));
// What src/kernel/binary.ts and src/pipeline/data/images/codecs inline.
for (const [name, binary] of [
  ['osscar', both(readFileSync('build/osscar.wasm'), readFileSync('build/osscar.relaxed.wasm'))],
  ['mozjpeg_dec', readFileSync('node_modules/@jsquash/jpeg/codec/dec/mozjpeg_dec.wasm')],
  ['webp_dec', readFileSync('node_modules/@jsquash/webp/codec/dec/webp_dec.wasm')],
  ['avif_dec', readFileSync('node_modules/@jsquash/avif/codec/dec/avif_dec.wasm')],
]) {
  writeFileSync(`build/${name}.wasm.deflate`, deflate(binary));
}
if (only === 'wasm') process.exit(0);

/** The glue of compiled decoders looks for a binary beside itself; ours is inlined, and bundlers must not look for it. */
const inlined = {
  name: 'inlined',
  setup({ onLoad }) {
    onLoad({ filter: /@jsquash.*_dec\.js$/ }, ({ path }) => ({
      contents: readFileSync(path, 'utf8').replace(/new URL\("\w+\.wasm",import\.meta\.url\)\.href/, '""'),
    }));
  },
};

rmSync('dist', { recursive: true, force: true });
const options = {
  plugins: [inlined],
  outdir: 'dist',
  bundle: true,
  format: 'esm',
  platform: 'neutral',
  mainFields: ['module', 'main'],
  target: 'es2022',
  loader: { '.deflate': 'binary' },
  sourcemap: true,
  legalComments: 'eof',
  logLevel: 'warning',
};
// What `osscar-wasm/layer` and the worker need is bundled: they run from plain files on any server, and in workers,
// where no import map resolves a package's name.
const bundled = ['comlink', '@assemblyscript/loader'];
// A report carries its script and style, and with uPlot's code its licence.
const page = async (entry) => {
  const { outputFiles, metafile } = await build({
    ...options,
    entryPoints: [entry],
    format: 'iife',
    platform: 'browser',
    minify: true,
    sourcemap: false,
    write: false,
    metafile: true,
  });
  const notice = licenses(Object.keys(metafile.inputs));
  return `${notice && `/*! ${notice}*/\n`}${outputFiles[0].text}`;
};
const REPORT_SCRIPT = JSON.stringify(await page('src/report/page.ts'));
const REPORT_STYLE = JSON.stringify(await page('src/report/page.css'));
/** Peers that are loaded by code of their own, where they are asked for. */
const peers = ['bullmq', 'ioredis', 'prom-client'];
const packages = [...Object.keys(packageJson.dependencies), ...peers].filter(
  (name) => !bundled.includes(name),
);
/**
 * What programs import alone, and what is heavy for those that do not need it: with an entry of its own, each comes into files
 * that nothing else is in. Bundlers leave out files of which nothing is used, and of others seldom more than functions.
 */
const pieces = [
  ...['version', 'limits', 'kernel/matrix', 'kernel/index', 'solve/index', 'tiles/memory'],
  ...['graph/node', 'graph/onnx_pb', 'graph/tensor', 'graph/wire', 'graph/write', 'graph/count'],
  ...['graph/operators/elementwise', 'graph/operators/layer', 'graph/shrink', 'graph/index'],
  ...['checkpoint/zip', 'checkpoint/folder', 'checkpoint/index', 'engine/index', 'guard/index'],
  ...['pipeline/data/text/tokenizer', 'pipeline/data/images/image', 'pipeline/data/npy'],
  ...['pipeline/data/index', 'pipeline/open/inputs', 'pipeline/keep', 'pipeline/budget'],
  ...['pipeline/recipe', 'pipeline/models/shares', 'pipeline/store/opfs', 'run/options'],
  ...['pipeline/measure/timing', 'pipeline/measure/latency'],
];
const library = await build({
  ...options,
  metafile: true,
  entryPoints: {
    index: 'src/index.ts',
    node: 'src/node.ts',
    model: 'src/model.ts',
    layer: 'src/layer.ts',
    cli: 'src/cli/cli.ts',
    // What cli.js runs, for tests that start no process.
    command: 'src/cli/osscar.ts',
    ...Object.fromEntries(pieces.map((piece) => [`pieces/${piece}`, `src/${piece}.ts`])),
  },
  splitting: true,
  external: ['node:*', '#onnxruntime', ...packages],
  define: { REPORT_SCRIPT, REPORT_STYLE },
});
// The entries themselves only pass on what is in those files.
rmSync('dist/pieces', { recursive: true });
writeFileSync('dist/LICENSES.txt', licenses(Object.keys(library.metafile.inputs)));
// For hosts that show reports in pages of their own: uPlot is inside, as it is in a report's page.
const report = await build({
  ...options,
  entryPoints: { report: 'src/report/index.ts' },
  minify: true,
  sourcemap: false,
  metafile: true,
  define: { REPORT_SCRIPT, REPORT_STYLE },
});
writeFileSync('dist/report.LICENSES.txt', licenses(Object.keys(report.metafile.inputs)));
await build({ ...options, entryPoints: { report: 'src/report/report.css' }, minify: true, sourcemap: false });
// One file of its own, so that hosts can put it where they like.
await build({ ...options, entryPoints: { worker: 'src/pool/worker.ts' } });
await build({
  ...options,
  entryPoints: { guard: 'src/guard/worker.ts' },
  external: ['node:*', '#onnxruntime', ...packages],
});
// For pages without a bundler: every package inside, and onnxruntime's own binary beside it, where it looks for it.
const { metafile } = await build({
  ...options,
  entryPoints: {
    index: 'src/index.ts',
    model: 'src/model.ts',
    layer: 'src/layer.ts',
    guard: 'src/guard/worker.ts',
  },
  outdir: 'dist/browser',
  splitting: true,
  platform: 'browser',
  minify: true,
  sourcemap: false,
  metafile: true,
});
writeFileSync('dist/browser/LICENSES.txt', licenses(Object.keys(metafile.inputs)));
copyFileSync('dist/worker.js', 'dist/browser/worker.js');
const binary = 'ort-wasm-simd-threaded.wasm';
copyFileSync(`node_modules/onnxruntime-web/dist/${binary}`, `dist/browser/${binary}`);
copyFileSync('build/plugin.wasm', 'dist/osscar.wasm');
copyFileSync('build/plugin.relaxed.wasm', 'dist/osscar.relaxed.wasm');
// The package's own bin file: `npx tsc` would find the same, slower.
const tsc = createRequire(import.meta.url)
  .resolve('typescript/package.json')
  .replace(/package\.json$/, 'bin/tsc');
execFileSync(process.execPath, [tsc, '-p', 'tsconfig.types.json'], { stdio: 'inherit' });
portableTypes();
