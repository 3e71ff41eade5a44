// The golden layers through the plug-in module: in this engine, and in WasmEdge driven from C.

import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openKernels } from '../../src/kernel/index.ts';
import { layerProblem, packed, pruneLayer, unpacked } from '../../src/solve/index.ts';
import { type Binary, binaryModule, Host, relativeError, sameBits } from '../plugin/host.ts';
import { aptInstall } from '../support/apt.ts';
import { readSafetensors } from '../support/safetensors.ts';
import { shared } from './shared.ts';

const LAYERS = readdirSync(shared('golden'))
  .filter((file) => file.endsWith('.json'))
  .map((file) => golden(file.replace('.json', '')));
/** Inputs up to which WasmEdge's interpreter is waited for: it is some two hundred times slower than its compiler. */
const INTERPRETED_ROWS = 200;

const folder = mkdtempSync(join(tmpdir(), 'osscar-wasmedge-'));
afterAll(() => rmSync(folder, { recursive: true }));

function golden(name: string) {
  const about = JSON.parse(readFileSync(shared(`golden/${name}.json`), 'utf8'));
  const tensors = readSafetensors(readFileSync(shared(`golden/${name}.safetensors`)));
  const { data: W0, shape } = tensors.get('W')!;
  const [p, m] = shape;
  const XtX = packed(Float64Array.from(tensors.get('XtX')!.data), p);
  const statistics = { p, m, n: 1, XtX, sumX: new Float64Array(p) };
  const keeps: number[] = about.cases.map(({ keep }: { keep: number }) => keep);
  return { name, keeps, damping: about.damping as number, groupSize: about.group_size, statistics, W0 };
}

async function expected(simd: Binary, { statistics, W0, groupSize, damping }: (typeof LAYERS)[number]) {
  const kernels = await openKernels({ simd });
  const problem = layerProblem(kernels, statistics, W0, { groupSize, damping });
  return (keep: number) => pruneLayer(kernels, problem, { keep });
}

test('there are golden layers to compare with', () => {
  expect(LAYERS.length).toBeGreaterThanOrEqual(5);
});

describe.each(LAYERS.map((layer) => [layer.name, layer] as const))('%s', (_, layer) => {
  test.each<Binary>(['baseline', 'relaxed'])(
    'is pruned to the bits of the TypeScript API (%s)',
    async (simd) => {
      const theirs = await expected(simd, layer);
      const host = new Host(binaryModule(simd));
      const problem = host.problem(layer);
      for (const keep of layer.keeps) {
        const { kept, W, objective, relativeError: error } = theirs(keep);
        const ours = host.prune(problem, layer, keep);
        expect(ours.kept).toEqual(kept);
        expect(sameBits(ours.W, W)).toBe(true);
        expect(ours.objective).toBe(objective);
        expect(relativeError(ours)).toBe(error);
      }
    },
  );
});

describe('WasmEdge', () => {
  beforeAll(() => {
    install();
    execFileSync('gcc', [
      ...['-O2', '-Wall', '-Wextra', '-Werror', '-o', join(folder, 'host')],
      ...['examples/plugin/host.c', '-lwasmedge'],
    ]);
    for (const binary of ['plugin', 'plugin.relaxed']) {
      execFileSync('wasmedge', [
        ...['compile', '--enable-relaxed-simd', `build/${binary}.wasm`, join(folder, `${binary}.so`)],
      ]);
    }
  });

  test.each(LAYERS.map((layer) => [layer.name, layer] as const))(
    'driven from C it keeps what the TypeScript API keeps of %s',
    async (_, layer) => {
      for (const [simd, binary] of [
        ['baseline', 'plugin'],
        ['relaxed', 'plugin.relaxed'],
      ] as const) {
        const theirs = await expected(simd, layer);
        for (const keep of layer.keeps) {
          const { kept, objective } = theirs(keep);
          const ours = run(join(folder, `${binary}.so`), layer, keep);
          expect(ours.kept).toEqual(kept);
          // The baseline binary is the same to the last bit; how relaxed SIMD rounds is the engine's choice.
          if (simd === 'baseline') expect(ours.objective).toBe(objective);
          else expect(Math.abs(ours.objective / objective - 1)).toBeLessThan(1e-9);
        }
      }
    },
  );

  test('its interpreter agrees on the small layers', async () => {
    const small = LAYERS.filter(({ statistics }) => statistics.p <= INTERPRETED_ROWS);
    expect(small.length).toBeGreaterThanOrEqual(2);
    for (const layer of small) {
      const theirs = await expected('baseline', layer);
      const keep = layer.keeps[0];
      const { kept, objective } = theirs(keep);
      expect(run('build/plugin.wasm', layer, keep)).toEqual({ kept, objective });
    }
  });

  test('the host in C passes on the module’s own words', () => {
    const [{ groupSize, statistics }] = LAYERS;
    const groups = statistics.p / groupSize;
    expect(() => run(join(folder, 'plugin.so'), LAYERS[0], groups + 1)).toThrow(
      `osscar_prune: "keep" expected 0 to ${groups}, got ${groups + 1}`,
    );
  });
});

/** WasmEdge with its C headers, and a C compiler: Debian's, installed where they are missing and that is allowed. */
function install(): void {
  const runs = (name: string, ...args: string[]) => spawnSync(name, args).status === 0;
  const missing = () => [
    ...(runs('gcc', '--version') ? [] : ['gcc', 'libc6-dev']),
    ...(runs('wasmedge', '--version') ? [] : ['wasmedge']),
    ...(existsSync('/usr/include/wasmedge/wasmedge.h') ? [] : ['libwasmedge-dev']),
  ];
  const packages = missing();
  if (packages.length === 0) return;
  try {
    aptInstall(...packages);
  } catch (cause) {
    throw new Error(`missing: as root, apt-get install ${packages.join(' ')}`, { cause });
  }
}

function run(module: string, { groupSize, statistics, W0 }: (typeof LAYERS)[number], keep: number) {
  const { p, m, XtX } = statistics;
  const files = { XtX: Float32Array.from(unpacked(XtX, p)), W: W0 };
  const paths = Object.entries(files).map(([name, values]) => {
    const path = join(folder, `${name}.f32`);
    writeFileSync(path, values);
    return path;
  });
  const sizes = [p, m, groupSize, keep].map(String);
  const { status, stdout, stderr } = spawnSync(join(folder, 'host'), [module, ...sizes, ...paths], {
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(stderr);
  return {
    kept: stdout.trim().split('\n').map(Number),
    objective: Number(/objective (\S+),/.exec(stderr)![1]),
  };
}
