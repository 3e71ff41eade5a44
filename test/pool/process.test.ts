// What only a process of its own can show: that it ends by itself, and that nothing but the kernels is loaded.

import { build } from 'esbuild';
import { expect, test } from 'vitest';
import { run as runToEnd } from '../support/children.ts';
import { DIST } from './built.ts';

const LAYER = JSON.stringify(new URL('layer.js', DIST).href);
const PRELUDE = `import { openSession } from ${LAYER};
  const A = new Float64Array(1500 * 1500); for (let i = 0; i < 1500; i++) A[i * 1501] = 2;`;

const run = (source: string, ...flags: string[]) =>
  runToEnd(process.execPath, [...flags, '--input-type=module', '-e', PRELUDE + source]);

test.each([
  ['after close', 'await session.close();'],
  ['after close in the middle of a job', 'session.inverse(A, 1500).catch(() => {}); await session.close();'],
  ['of an idle session that nobody closed', ''],
  [
    'after an abort',
    `const controller = new AbortController();
    const running = session.inverse(A, 1500, controller).catch(() => {});
    setImmediate(() => controller.abort());
    await running; await session.close();`,
  ],
])('the process ends by itself %s', async (_, ending) => {
  const { code, output } = await run(`
    const session = await openSession({ threads: 2 });
    const inverse = await session.inverse(Float64Array.of(4), 1);
    console.log(session.threads, inverse[0]);
    ${ending}`);
  expect(output).toBe('2 0.25\n');
  expect(code).toBe(0);
});

test('the process waits for a job in an open session', async () => {
  const { code, output } = await run(`
    const session = await openSession({ threads: 2 });
    session.inverse(A, 1500).then((inverse) => console.log(inverse[0].toFixed(6)));`);
  expect(output).toBe('0.500000\n');
  expect(code).toBe(0);
});

test('the process ends by itself where the worker script was refused', async () => {
  const { code, output } = await run(`
    const session = await openSession({ threads: 2, workerUrl: 'file:///nowhere/worker.js' });
    console.log(session.threads);`);
  expect(output).toBe('1\n');
  expect(code).toBe(0);
});

test('a worker that is out of memory is named, and the session goes on', async () => {
  const workerUrl = new URL('exhausting-worker.mjs', import.meta.url).href;
  const { code, output } = await run(
    `
    const session = await openSession({ threads: 2, workerUrl: ${JSON.stringify(workerUrl)} });
    const { code, message } = await session.inverse(Float64Array.of(4), 1).catch((error) => error);
    console.log(code, message);
    console.log(session.threads, await session.multiply(Float64Array.of(2), Float64Array.of(1, 2), 1));`,
    '--max-old-space-size=64',
  );
  expect(output).toMatch(
    /^ERR_OSSCAR_WORKER_LOST inverse: given up after 2 attempts: .*: Worker terminated due to reaching memory limit/m,
  );
  expect(output).toContain('2 Float64Array(2) [ 2, 4 ]');
  expect(code).toBe(0);
});

/** What a bundler for browsers makes of a built file. */
async function bundle(entry: string) {
  const { metafile, outputFiles } = await build({
    entryPoints: [new URL(entry, DIST).pathname],
    bundle: true,
    format: 'esm',
    platform: 'browser',
    write: false,
    metafile: true,
    logLevel: 'silent',
  });
  return { inputs: Object.keys(metafile.inputs), text: outputFiles[0].text };
}

test.each(['layer.js', 'worker.js'])('%s bundles for browsers with nothing else', async (entry) => {
  const { inputs, text } = await bundle(entry);
  expect(inputs.filter((input) => !input.startsWith('dist/'))).toEqual([]);
  expect(text).not.toMatch(/\b(?:import|require)\s*\(?\s*["'](?!\.)/);
  expect(text).not.toMatch(/\beval\s*\(|new Function\s*\(/);
});

/** What esbuild bundles an entry of ours from, as scripts/build.mjs does. */
async function inputsOf(entry: string): Promise<string[]> {
  const { metafile } = await build({
    entryPoints: [entry],
    outdir: 'out',
    bundle: true,
    format: 'esm',
    platform: 'neutral',
    mainFields: ['module', 'main'],
    loader: { '.deflate': 'binary' },
    write: false,
    metafile: true,
  });
  const [{ inputs }] = Object.values(metafile.outputs);
  return Object.keys(inputs).filter((input) => inputs[input].bytesInOutput > 0);
}

test('layer.js is made of kernels, solver, tiles and pool', async () => {
  const inputs = await inputsOf('src/layer.ts');
  expect(inputs.filter((input) => input.startsWith('node_modules/')).sort()).toEqual([
    'node_modules/@assemblyscript/loader/index.js',
    'node_modules/comlink/dist/esm/comlink.mjs',
    'node_modules/comlink/dist/esm/node-adapter.mjs',
  ]);
  const folders = inputs.filter((input) => input.startsWith('src/')).map((input) => input.split('/')[1]);
  const single = 'errors expect finite inflate options printable sum system turn version'
    .split(' ')
    .map((name) => `${name}.ts`);
  expect(new Set(folders)).toEqual(new Set([...single, 'kernel', 'pool', 'solve', 'tiles']));
});

test('the worker brings no binary of its own: the compiled module is posted to it', async () => {
  const binaries = (inputs: string[]) => inputs.filter((input) => input.endsWith('.deflate'));
  expect(binaries(await inputsOf('src/layer.ts'))).toEqual(['build/osscar.wasm.deflate']);
  expect(binaries(await inputsOf('src/pool/worker.ts'))).toEqual([]);
});

test('the package exports the layer entry and the worker', () => {
  expect(import.meta.resolve('osscar-wasm/layer')).toBe(new URL('layer.js', DIST).href);
  expect(import.meta.resolve('osscar-wasm/worker')).toBe(new URL('worker.js', DIST).href);
});
