import { expect, test } from 'vitest';
import { openKernels } from '../../src/kernel/index.ts';
import {
  type LayerProblem,
  layerProblem,
  layerWasmBytes,
  pruneLayer,
  SEARCHES,
  solveLayers,
  triangle,
} from '../../src/solve/index.ts';
import { randomArray } from '../support/random.ts';

/** A well-conditioned problem of any size without a Gram matrix to compute. */
function problem(groups: number, groupSize: number, m: number): LayerProblem {
  const p = groups * groupSize;
  const H = new Float64Array(triangle(p));
  for (let i = 0; i < p; i++) {
    for (let j = 0; j <= i; j++) H[triangle(i) + j] = 0.9 ** Math.abs(i - j) + (i === j ? 0.1 : 0);
  }
  const G = Float64Array.from(randomArray(p * m, 1));
  return { p, m, groupSize, groups, H, G, W0: Float64Array.from(randomArray(p * m, 2)) };
}

test.each([
  [40, 1, 3],
  [300, 1, 8],
  [300, 1, 200],
  [700, 1, 350],
  [200, 1, 1500],
  [60, 9, 64],
  [6, 64, 128],
])('%i groups of %i rows with %i outputs fit the memory that is stated', async (groups, groupSize, m) => {
  const layer = problem(groups, groupSize, m);
  const { p } = layer;
  for (const search of SEARCHES) {
    const kernels = await openKernels();
    const XtX = layer.H;
    layerProblem(kernels, { p, m, n: 1, XtX, sumX: new Float64Array(p) }, layer.W0, { groupSize });
    pruneLayer(kernels, layer, { keep: groups >> 1, search });
    expect(kernels.bytes).toBeLessThanOrEqual(layerWasmBytes(p, m, groupSize, search));
  }
  const kernels = await openKernels();
  pruneLayer(kernels, layer, { keep: groups >> 1, method: 'ziplm' });
  expect(kernels.bytes).toBeLessThanOrEqual(layerWasmBytes(p, m, groupSize));
  const fit = { p, m, n: p, XtX: layer.H, sumX: new Float64Array(p) };
  const whole = await openKernels();
  solveLayers(whole, [{ W: layer.W0, fit, groupSize }], { damping: 1e-2, steps: 7 });
  expect(whole.bytes).toBeLessThanOrEqual(layerWasmBytes(p, m, groupSize, 'greedy'));
});

test('states little more than two matrices and a triangle of order p for a large layer', () => {
  const [p, m] = [3072, 768]; // OPT-125m fc2
  for (const search of SEARCHES) {
    expect(layerWasmBytes(p, m, 1, search)).toBeLessThan(2.6 * 8 * p * p + 4 * 8 * p * m);
  }
});
