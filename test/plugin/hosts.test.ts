// The host of forty lines, run as a program, on a layer given by its calibration inputs.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { openKernels } from '../../src/kernel/index.ts';
import { layerProblem, pruneLayer, StatisticsAccumulator } from '../../src/solve/index.ts';
import { run } from '../support/children.ts';
import { activations, normals } from '../support/problems.ts';

const folder = mkdtempSync(join(tmpdir(), 'osscar-plugin-'));
afterAll(() => rmSync(folder, { recursive: true }));

const [n, p, m, groupSize, keep] = [300, 48, 10, 4, 5];
const X = activations(n, p, 1);
const W = normals(p * m, 2);

test('dist/ ships the modules that are tested', () => {
  expect(readFileSync('dist/osscar.wasm')).toEqual(readFileSync('build/plugin.wasm'));
  expect(readFileSync('dist/osscar.relaxed.wasm')).toEqual(readFileSync('build/plugin.relaxed.wasm'));
});

test('a host without a library prunes a safetensors file as the TypeScript API does', async () => {
  const kernels = await openKernels({ simd: 'baseline' });
  const accumulator = new StatisticsAccumulator(kernels, p, m, false);
  accumulator.addRows(X);
  const problem = layerProblem(kernels, accumulator.finish(), W, { groupSize });
  const { kept, objective } = pruneLayer(kernels, problem, { keep });

  const { code, stdout, stderr } = await host(write({ X: [n, p], W: [p, m] }, [X, W]), keep);
  expect(stderr).toBe('');
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ kept, objective });
});

test('the module’s own words reach the user of the host', async () => {
  const { code, stderr } = await host(write({ X: [n, p], W: [p, m] }, [X, W]), 13);
  expect(code).toBe(1);
  expect(stderr).toContain('osscar_prune: "keep" expected 0 to 12, got 13');
});

function host(file: string, groups: number) {
  const args = ['build/plugin.wasm', file, String(groupSize), String(groups)];
  return run(process.execPath, ['examples/plugin/host.mjs', ...args]);
}

function write(shapes: Record<string, number[]>, tensors: Float32Array[]): string {
  let at = 0;
  const header = Object.entries(shapes).map(([name, shape], i) => {
    const data_offsets = [at, at + tensors[i].byteLength];
    at = data_offsets[1];
    return [name, { dtype: 'F32', shape, data_offsets }];
  });
  const text = Buffer.from(JSON.stringify(Object.fromEntries(header)));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(text.length));
  const file = join(folder, 'layer.safetensors');
  writeFileSync(
    file,
    Buffer.concat([size, text, ...tensors.map((tensor) => Buffer.from(tensor.buffer as ArrayBuffer))]),
  );
  return file;
}
