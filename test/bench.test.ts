// That every bench runs, checks its results and prints what it should. No time is asserted.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { Report } from '../bench/support/bench.ts';
import { fill } from '../bench/support/readme.ts';
import type { Row } from '../bench/support/table.ts';
import { run } from './support/children.ts';

const root = join(import.meta.dirname, '..');
const readme = readFileSync(join(root, 'bench/README.md'), 'utf8');

const bench = (...args: readonly string[]) =>
  run(process.execPath, ['bench/run.mjs', ...args], { cwd: root });

async function quick(name: string): Promise<Report> {
  const { code, signal, stdout, output } = await bench(name, '--quick', '--json');
  expect([code, signal], output).toEqual([0, null]);
  return JSON.parse(stdout);
}

const of = (key: string, rows: readonly Row[]) => [...new Set(rows.map((row) => row[key]))];

/** By bench and table: the values that a column must have, all of them and no other. */
const EXPECTED: Record<string, Record<string, Record<string, (string | number)[]>>> = {
  gemm: {
    sizes: { simd: ['relaxed', 'baseline'], type: ['f32', 'f64'] },
    peers: {
      by: ['relaxed', 'baseline', 'onnxruntime-web', 'tfjs-backend-wasm', 'naive loop', 'ml-matrix'],
      type: ['f32', 'f64'],
    },
  },
  lapack: {
    factorisations: {
      operation: ['gemm', 'potrf', 'SPD inverse', 'trsm', 'trsm right'],
      simd: ['relaxed', 'baseline'],
      type: ['f32', 'f64'],
    },
    updates: { operation: ['syrk', 'symmetrize'], k: [1, 4, 8, 32, 128, 0] },
    peers: { by: ['relaxed', 'baseline', 'ml-matrix', 'naive loop'], operation: ['potrf', 'SPD inverse'] },
  },
  gram: {
    rows: {
      operation: ['gemm f32', 'syrk f32', 'gram f32 to f64', 'cross f32 to f64', 'gemm f64', 'syrk f64'],
      simd: ['relaxed', 'baseline'],
    },
    peers: {
      by: [
        'relaxed, gram f32 to f64',
        'baseline, gram f32 to f64',
        'onnxruntime-web',
        'tfjs-backend-wasm',
        'naive loop',
        'relaxed, syrk f64',
        'baseline, syrk f64',
      ],
    },
    convolutions: { c: [64], simd: ['relaxed', 'baseline'] },
  },
  eliminate: {
    times: {
      what: [
        'SPD inverse',
        'f64, 1 per step, self target',
        'f64, 10 per step, self target',
        'f32 with the f64 refit, self target',
        'the default search, self target',
        'f64, 1 per step, outside target',
        'f64, 10 per step, outside target',
        'f32 with the f64 refit, outside target',
        'the default search, outside target',
        'naive loops, 1 per step',
      ],
      b: [1, 9],
    },
    memory: { what: ['elimination', 'with swaps'], b: [1, 9] },
  },
  shared: { shared: { what: ['small'], layers: [3] } },
  swap: {
    steps: {
      what: [
        'one step',
        'best of all swaps',
        'the swap',
        're-inverting the support',
        'the tableau anew, as far as the scan reads it',
        'the rest of it',
      ],
      b: [1, 9],
    },
    scan: { by: ['bestSwap', 'naive loops'] },
  },
  pool: {
    threads: {
      what: ['Gram', 'SPD inverse', 'a large layer', '8 layers'],
      simd: ['baseline', 'relaxed'],
      runtime: ['Node'],
      threads: [2],
    },
  },
  published: {
    times: {
      what: ['default search', 'greedy, 1 per step', 'greedy, 10 per step', 'one exchange after it'],
    },
  },
  stored: {
    types: { by: ['onnxruntime-web'], type: ['float16', 'int8', 'int4', 'q8', 'q4'] },
  },
  layer: {
    layers: {
      method: [
        'magnitude',
        'magnitude-refit',
        'ziplm',
        'greedy, 10 per step',
        'published search, 10 per step',
        'greedy',
        'halving',
        'default',
        'thorough',
      ],
    },
  },
};

test.each(Object.keys(EXPECTED))('%s reports every row, and fits into the README', async (name) => {
  const report = await quick(name);
  expect(report.bench).toBe(name);
  expect(report.machine.gigahertz).toBeGreaterThan(0.1);
  for (const rate of [report.machine.fused, report.machine.unfused]) expect(rate).toBeGreaterThan(0.1);
  expect(report.tables.map(({ name }) => name)).toEqual(Object.keys(EXPECTED[name]));
  for (const { name: table, rows, grid } of report.tables) {
    for (const [column, values] of Object.entries(EXPECTED[name][table])) {
      expect(of(column, rows), `${table}, ${column}`).toEqual(values);
    }
    for (const row of rows) {
      expect(Object.values(row), table).not.toContain(null); // what JSON makes of NaN and infinity
      if (row.minMs === undefined) continue;
      expect(row.minMs).toBeGreaterThan(0);
      expect(row.medianMs).toBeGreaterThanOrEqual(row.minMs as number);
    }
    for (const line of grid) expect(line).toHaveLength(grid[0].length);
  }
  const filled = fill(readme, report);
  for (const { title, grid } of report.tables) {
    expect(filled).toContain(`${title}:`);
    for (const line of grid) expect(filled).toContain(`| ${line.join(' | ')} |`);
  }
  expect(fill(filled, report)).toBe(filled);
});

test('the layer bench leaves least by the thorough search and most by magnitude', async () => {
  const [{ rows }] = (await quick('layer')).tables;
  const error = Object.fromEntries(rows.map((row) => [row.method, row.relativeError as number]));
  expect(error.thorough).toBeGreaterThan(0);
  expect(error.thorough).toBeLessThanOrEqual(error.default + 1e-12);
  expect(error.default).toBeLessThanOrEqual(error.greedy + 1e-12);
  expect(error.default).toBeLessThanOrEqual(error['magnitude-refit'] + 1e-12);
  expect(error.magnitude).toBeGreaterThan(error['magnitude-refit']);
});

test('a README without a place for the tables is an error that names the marker', () => {
  expect(() => fill('# Benches', { bench: 'gemm', machine: {} as Report['machine'], tables: [] })).toThrow(
    '<!-- gemm --> and behind it <!-- /gemm -->',
  );
});

test('a bench that does not exist prints those that do', async () => {
  const { code, stderr } = await bench('nothing');
  expect(code).toBe(2);
  for (const name of Object.keys(EXPECTED)) expect(stderr).toContain(name);
});
