import { describe, expect, it } from 'vitest';
import { openKernels } from '../../src/kernel/index.ts';
import { layerProblem, METHODS, solveLayers, unpacked } from '../../src/solve/index.ts';
import { activations, naiveObjective, naiveStatistics, normals } from '../support/problems.ts';

const kernels = await openKernels();
const [p, m] = [12, 3];

/** A layer with a concatenation of 12 inputs, seen on samples of its own. */
function layer(seed: number, bias = false, n = 80) {
  const X = activations(n, p, seed);
  const W = normals(p * m, seed + 5);
  const Y = normals(n * m, seed + 9);
  return {
    W,
    fit: naiveStatistics(X, Y, p, m),
    groupSize: 2,
    ...(bias && { bias: Float32Array.from([1, 2, 3]) }),
  };
}

/** Groups of rows 4 and 9, 5 and 8, 1 and 0; row 7 has gone, the others stay. */
const free = Int32Array.of(4, 9, 5, 8, 1, 0);
const gone = Int32Array.of(7);
const stay = [2, 3, 6, 10, 11];
const rowsOf = (kept: readonly number[]) =>
  [...stay, ...kept.flatMap((g) => [...free.subarray(2 * g, 2 * g + 2)])].sort((a, b) => a - b);

const pairs = [
  [0, 1],
  [0, 2],
  [1, 2],
];

describe('a layer of which some rows are free', () => {
  for (const blend of [0, 1]) {
    it(`keeps the best groups beside the rows that stay, and refits them all, with a target of ${blend}`, () => {
      const own = layer(3);
      const problem = layerProblem(kernels, own.fit, own.W, { groupSize: 1, blend, damping: 1e-2 });
      const objectives = pairs.map((kept) => naiveObjective(problem, rowsOf(kept)));
      const best = pairs[objectives.indexOf(Math.min(...objectives))];
      const recipe = { blend, damping: 1e-2, search: 'thorough' } as const;
      const { kept, layers, relativeError, curve } = solveLayers(
        kernels,
        [{ ...own, free, gone }],
        recipe,
        2,
      );
      expect(kept).toEqual(best);
      expect(objectiveOf(problem, layers[0].W)).toBeCloseTo(Math.min(...objectives), 8);
      const rows = new Set(rowsOf(best));
      for (let i = 0; i < p; i++) {
        const row = [...layers[0].W.subarray(i * m, (i + 1) * m)];
        expect(row.some((w) => w !== 0)).toBe(rows.has(i));
      }
      const dense = naiveObjective(problem, rowsOf([0, 1, 2]));
      const lost = (Math.min(...objectives) - dense) / -dense;
      expect(relativeError).toBeCloseTo(lost, 6);
      expect(curve![3]).toBe(0);
      expect(curve![2]).toBeGreaterThanOrEqual(lost - 1e-6);
    });
  }

  it('chooses for all layers that read the groups, each relative to the whole of its signal', () => {
    const [a, b] = [layer(3), layer(20)];
    const problems = [a, b].map((own) =>
      layerProblem(kernels, own.fit, own.W, { groupSize: 1, blend: 0, damping: 1e-2 }),
    );
    const all = [...Array(p).keys()];
    const rowsOfB = (kept: readonly number[]) => kept.flatMap((g) => [0, 1, 2, 3].map((i) => 4 * g + i));
    const costs = pairs.map((kept) => {
      const [first, second] = [
        naiveObjective(problems[0], rowsOf(kept)),
        naiveObjective(problems[1], rowsOfB(kept)),
      ];
      return first / -naiveObjective(problems[0], all) + second / -naiveObjective(problems[1], all);
    });
    const recipe = { blend: 0, damping: 1e-2, search: 'thorough' } as const;
    const { kept, layers } = solveLayers(
      kernels,
      [
        { ...a, free, gone },
        { ...b, groupSize: 4 },
      ],
      recipe,
      2,
    );
    expect(kept).toEqual(pairs[costs.indexOf(Math.min(...costs))]);
    expect(objectiveOf(problems[0], layers[0].W)).toBeCloseTo(naiveObjective(problems[0], rowsOf(kept)), 8);
  });

  it('refits what is left where nothing more goes', () => {
    const own = layer(5, true);
    const { layers } = solveLayers(kernels, [{ ...own, groupSize: 1, gone }], { blend: 1, damping: 1e-2 });
    const problem = layerProblem(kernels, own.fit, own.W, {
      groupSize: 1,
      blend: 1,
      damping: 1e-2,
      bias: own.bias,
    });
    const rows = [...Array(p).keys()].filter((row) => row !== 7);
    expect(objectiveOf(problem, layers[0].W)).toBeCloseTo(naiveObjective(problem, rows), 8);
    expect([...layers[0].W.subarray(21, 24)]).toEqual([0, 0, 0]);
    expect(layers[0].bias).toHaveLength(3);
  });

  it('chooses its damping on held-out samples of the same rows', () => {
    const own = { ...layer(3, false, 14), heldOut: layer(40).fit, free, gone };
    const { layers } = solveLayers(kernels, [own], { blend: 1 }, 1);
    expect(layers[0].damping).toBeGreaterThan(1e-2); // few rows, whose targets are noise
    const known = solveLayers(kernels, [{ ...own, damping: 0.2 }], { blend: 1, damping: 0.1 }, 1);
    expect(known).toEqual(solveLayers(kernels, [own], { blend: 1, damping: 0.2 }, 1));
    expect([...layers[0].W.subarray(21, 24)]).toEqual([0, 0, 0]);
  });

  it('is refitted as a whole where none of them goes', () => {
    const own = { ...layer(5, true), heldOut: layer(40, true).fit };
    const [some, all] = [
      { ...own, free, gone },
      { ...own, groupSize: 1, gone },
    ].map((it) => solveLayers(kernels, [it], { blend: 1 }));
    expect(some.layers).toEqual(all.layers);
    const odd = { ...own, free: free.subarray(1) };
    expect(() => solveLayers(kernels, [odd], { damping: 1e-2 })).toThrow(
      '5 rows are not a multiple of the group size 2',
    );
  });

  it('has any number of rows beside them', () => {
    const own = layer(3);
    const most = Int32Array.of(0, 9, 2, 5, 8, 3, 1, 11, 4, 7);
    const { kept, layers } = solveLayers(
      kernels,
      [{ ...own, groupSize: 5, free: most }],
      { damping: 1e-2, blend: 0 },
      1,
    );
    const problem = layerProblem(kernels, own.fit, own.W, { groupSize: 1, blend: 0 });
    const objectives = [0, 1].map((g) =>
      naiveObjective(
        problem,
        [...most.subarray(5 * g, 5 * g + 5), 6, 10].sort((a, b) => a - b),
      ),
    );
    expect(kept).toEqual([objectives.indexOf(Math.min(...objectives))]);
    expect(objectiveOf(problem, layers[0].W)).toBeCloseTo(Math.min(...objectives), 8);
  });

  it('is its own target where there is no other, whatever the blend', () => {
    const { fit, ...own } = layer(3);
    const { target: _, ...sums } = fit;
    const [one, none] = [1, 0].map((blend) =>
      solveLayers(kernels, [{ ...own, free, gone, fit: sums }], { blend, damping: 1e-2 }, 2),
    );
    expect(one).toEqual(none);
  });

  it.each(METHODS)('keeps the rows that stay, by %s', (method) => {
    const own = { ...layer(3, true, 14), heldOut: layer(40).fit };
    const { kept, layers } = solveLayers(kernels, [{ ...own, free, gone }], { method, blend: 1 }, 1);
    const refits = method === 'osscar' || method === 'magnitude-refit';
    expect([layers[0].bias !== undefined, layers[0].damping > 1e-2]).toEqual([refits, refits]);
    const left = rowsOf(kept);
    const live = [...Array(p).keys()].filter((i) =>
      layers[0].W.subarray(i * m, (i + 1) * m).some((w) => w !== 0),
    );
    expect(live).toEqual(left);
    if (method !== 'magnitude') return;
    for (const i of left) for (let j = 0; j < m; j++) expect(layers[0].W[i * m + j]).toBe(own.W[i * m + j]);
  });
});

/** ½tr(WᵀHW) − tr(WᵀG). */
function objectiveOf(layer: { H: Float64Array; G: Float64Array }, W: Float64Array): number {
  const [H, G] = [unpacked(layer.H, p), layer.G];
  let f = 0;
  for (let i = 0; i < p; i++) {
    for (let j = 0; j < m; j++) {
      let product = 0;
      for (let k = 0; k < p; k++) product += H[i * p + k] * W[k * m + j];
      f += W[i * m + j] * (0.5 * product - G[i * m + j]);
    }
  }
  return f;
}
