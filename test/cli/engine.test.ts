// Which build of onnxruntime the command runs models with.

import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';
import { fixture, MOBILENET, osscarUnder, PREPROCESSING, refused, temporaryFolder } from './osscar.ts';

const folder = temporaryFolder();
const DATA = ['--calibrate', fixture('calib'), ...PREPROCESSING, '--samples', '12', '--method', 'magnitude'];

/** Has `onnxruntime-node` resolve to this code, as if it were installed. */
function installed(code: string): string[] {
  const file = join(folder, `native-${code.length}.mjs`);
  writeFileSync(file, code);
  const hooks = `export const resolve = (name, context, next) => name === 'onnxruntime-node'
    ? { url: ${JSON.stringify(pathToFileURL(file).href)}, shortCircuit: true } : next(name, context);`;
  const register = `import { register } from 'node:module'; register(${JSON.stringify(dataUrl(hooks))});`;
  return ['--import', dataUrl(register)];
}
const dataUrl = (code: string) => `data:text/javascript,${encodeURIComponent(code)}`;

/** The WebAssembly build under the other's name: whether it is taken is the question here, not how fast it is. */
const web = pathToFileURL(createRequire(import.meta.url).resolve('onnxruntime-web')).href;
const NATIVE = `import ort from ${JSON.stringify(web)};
  export const { InferenceSession, Tensor } = ort;
  export const env = { wasm: ort.env.wasm, versions: { node: '9.9.9' } };`;

async function engineOf(nodeFlags: readonly string[], ...flags: readonly string[]): Promise<string> {
  const output = ['--keep', '0.5', '-o', join(folder, `${flags.length}-${nodeFlags.length}.onnx`)];
  const args = ['prune', MOBILENET, ...DATA, ...output, '--json', '--threads', '1', ...flags];
  const { code, stdout, stderr } = await osscarUnder(nodeFlags, ...args);
  expect(code, stderr).toBe(0);
  return JSON.parse(stdout).engine;
}

test('is the native one where it is installed and not the other one is asked for', async () => {
  const native = installed(NATIVE);
  expect(await engineOf(native)).toBe('onnxruntime-node 9.9.9');
  expect(await engineOf(native, '--engine', 'web')).toMatch(/^onnxruntime-web \d/);
});

test('leaves nothing behind that keeps the command from its end', async () => {
  const failing = installed(`import { Worker } from 'node:worker_threads';
    export { Tensor } from ${JSON.stringify(web)};
    export const InferenceSession = { create: async () => {
      new Worker('setInterval(() => {}, 1000)', { eval: true });
      throw new Error('WebAssembly.Memory(): could not allocate memory');
    } };
    export const env = { wasm: {}, versions: { node: '9.9.9' } };`);
  const { code, stderr } = await osscarUnder(
    failing,
    'eval',
    MOBILENET,
    '--data',
    fixture('calib'),
    ...PREPROCESSING,
  );
  expect(stderr).toMatch(
    /^osscar: .*there is no address space for a WebAssembly memory \(see ulimit -v\)\n$/m,
  );
  expect(code).toBe(2);
});

test('is the one that comes with the package elsewhere', async () => {
  expect(await engineOf([])).toMatch(/^onnxruntime-web \d/);
  await refused(
    ['inspect', MOBILENET, '--engine', 'node'],
    'osscar: --engine node: onnxruntime-node is not installed (npm i onnxruntime-node); --engine web needs nothing',
  );
});

test('is refused where it is installed and broken', async () => {
  const broken = installed('throw new Error("no binary for this platform");');
  const { code, stderr } = await osscarUnder(broken, 'inspect', MOBILENET, '--threads', '1');
  expect(code).toBe(2);
  expect(stderr).toBe(
    'osscar: --engine node: onnxruntime-node cannot be loaded: no binary for this platform; --engine web needs nothing\n',
  );
});
