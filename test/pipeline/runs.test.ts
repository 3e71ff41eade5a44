import { createHash } from 'node:crypto';
import { describe, expect, test, vi } from 'vitest';
import { memoryOutput } from '../../src/checkpoint/index.ts';
import type { Engine } from '../../src/engine/index.ts';
import { readModel } from '../../src/graph/index.ts';
import {
  type Dataset,
  memoryStore,
  openLanguageModel,
  openModel,
  type PruneOptions,
  plan,
  prune,
  type RunStore,
  tokenWindows,
} from '../../src/pipeline/index.ts';
import { type DenseBatches, Findings } from '../../src/pipeline/store/findings.ts';
import { openSession } from '../../src/pool/index.ts';
import { OPT, tinyWeights, uniformSizes } from '../architectures/tiny.ts';
import { once } from '../support/once.ts';
import { engine, fashion, fixtureBytes, folderOf } from './fixtures.ts';

type Options = Partial<PruneOptions> & Pick<PruneOptions, 'keep'>;

/** Prunes, and tells what was computed on the way: solved steps by their inputs, and graphs loaded into the engine. */
type Run = (
  store: RunStore | undefined,
  options: Options,
) => Promise<{ bytes: string; solved: number[]; loads: number; planned: number }>;

/** Vitest takes as long to compare them value by value as a layer takes. */
const hashed = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

async function counting() {
  const session = await openSession({ threads: 1 });
  const solved: number[] = [];
  const solve = session.solveLayers.bind(session);
  session.solveLayers = (...args) => {
    solved.push(args[0][0].fit.p);
    return solve(...args);
  };
  const counted = { loads: 0 };
  const port: Engine = {
    name: engine.name,
    load: async (model, external) => {
      counted.loads++;
      return engine.load(model, external);
    },
  };
  return { session, solved, counted, engine: port };
}

const model = await openModel(fixtureBytes('fashion-mobilenet'), { engine, name: 'fashion-mobilenet' });
const images = await fashion('calib', 24);
const file: Run = async (store, options) => {
  const { counted, solved, ...watched } = await counting();
  const { written, report } = await prune(model, {
    calibration: images,
    search: 'greedy',
    ...watched,
    store,
    ...options,
  });
  const planned = report.memory.plannedBytes;
  return { bytes: hashed(written.model), solved, loads: counted.loads, planned };
};

const sizes = uniformSizes(OPT);
const language = await folderOf(
  { ...OPT, num_hidden_layers: 2 * sizes.length },
  tinyWeights(OPT, [...sizes, ...sizes]),
);
const windows = tokenWindows(
  Int32Array.from({ length: 192 }, (_, i) => (i * i) % 40),
  { samples: 12, seqlen: 16 },
);
const folder: Run = async (store, options) => {
  const { counted, solved, ...watched } = await counting();
  const output = memoryOutput();
  const all = { calibration: windows, search: 'greedy', ...watched, store, ...options, output } as const;
  const { report } = await prune(language, all);
  const bytes = new Uint8Array(await output.files().get('model.safetensors')!.arrayBuffer());
  return { bytes: hashed(bytes), solved, loads: counted.loads, planned: report.memory.plannedBytes };
};

const stopped = new Error('stopped');
/** Ends a run at the `nth` step under a label; stages that begin are none. */
function stoppingAt(label: string, nth: number): Options & { keep: number } {
  const abort = new AbortController();
  let seen = 0;
  return {
    keep: 0.5,
    signal: abort.signal,
    onProgress: (step) => {
      if (step.done > 0 && step.label.startsWith(label) && ++seen === nth) abort.abort(stopped);
    },
  };
}

describe.each([
  ['a file', file, model, images],
  ['a folder', folder, language, windows],
] as const)('a run store of %s', (_, run, opened, { size: samples, shape: sample }) => {
  const RESIDUAL = { keep: 0.5, target: 'residual' } as const;
  const AUTO = { keep: 0.5, target: 'auto' } as const;
  // Without a store.
  const residual = once(() => run(undefined, RESIDUAL));
  const auto = once(() => run(undefined, AUTO));

  test('continues a run where it was stopped, to the same bytes, solving nothing twice', async () => {
    const whole = await residual();
    const store = memoryStore();
    await expect(run(store, { ...RESIDUAL, ...stoppingAt('pruning', 2) })).rejects.toThrow(stopped);
    const done = (await store.list('solved/')).length;
    expect(done).toBeGreaterThan(1);
    const rest = await run(store, RESIDUAL);
    expect(rest.bytes).toEqual(whole.bytes);
    expect(rest.solved).toEqual(whole.solved.slice(-rest.solved.length));
    expect((await store.list('solved/')).length - done).toBeGreaterThan(0);
    expect(rest.solved.length).toBeLessThan(whole.solved.length);

    const again = await run(store, RESIDUAL);
    expect(again.bytes).toEqual(whole.bytes);
    expect(again.solved).toEqual([]);
    expect(again.loads).toBeLessThan(whole.loads);
  });

  test('continues the search for a target', async () => {
    const whole = await auto();
    const store = memoryStore();
    await expect(run(store, { ...AUTO, ...stoppingAt('target residual 0.5', 2) })).rejects.toThrow(stopped);
    expect(await store.list('target/')).toHaveLength(1);
    const rest = await run(store, AUTO);
    expect(rest.bytes).toEqual(whole.bytes);
    expect(rest.solved.length).toBeLessThan(whole.solved.length);
  });

  test('gives other sizes what does not depend on them, and the bytes of a run without it', async () => {
    const store = memoryStore();
    const first = await run(store, RESIDUAL);
    const kinds = ['statistics/', 'metric/', 'dense/'];
    const independent = () => Promise.all(kinds.map((kind) => store.list(kind)));
    const found = await independent();
    const fresh = await run(undefined, { keep: 0.75, target: 'residual' });
    const second = await run(store, { keep: 0.75, target: 'residual' });
    expect(second.bytes).toEqual(fresh.bytes);
    expect(second.bytes).not.toEqual(first.bytes);
    expect(await independent()).toEqual(found);
    const [statistics, metrics, dense] = found;
    // The dense network does not run again.
    expect(second.loads).toBeLessThanOrEqual(fresh.loads - dense.length);
    expect([statistics.length, metrics.length]).toEqual([1, 1]);
    expect(dense.length).toBeGreaterThan(3);
  });

  test('is not needed for what memory has room for, and the bytes are those of a run without room', async () => {
    // Several runs of a step, and several targets.
    for (const [roomy, options] of [
      [await residual(), RESIDUAL],
      [await auto(), AUTO],
    ] as const) {
      const { dense } = plan(opened, { search: 'greedy', ...options, samples, sample }).bytes;
      const memory = roomy.planned - dense;
      const tight = await run(undefined, { ...options, memory });
      expect(tight.planned).toBe(memory);
      expect(tight.bytes).toEqual(roomy.bytes);
      expect(tight.solved).toEqual(roomy.solved);
      expect(roomy.loads).toBeLessThan(tight.loads);
    }
  });

  test('computes again what is damaged', async () => {
    const store = memoryStore();
    const options = { keep: 0.5, target: 'self' } as const;
    const whole = await run(store, options);
    for (const key of await store.list('solved/')) {
      const bytes = (await store.read(key))!;
      bytes[bytes.length - 1] ^= 1;
      await store.write(key, bytes);
    }
    const again = await run(store, options);
    expect(again.solved).toEqual(whole.solved);
    expect(again.bytes).toEqual(whole.bytes);
  });

  test('is refused where it is of other data', async () => {
    const store = memoryStore();
    const options = { keep: 0.5, target: 'self', method: 'magnitude' } as const;
    await run(store, options);
    const other: Dataset = { ...(run === file ? images : windows), size: 8 };
    const fewer = { ...other, batches: (size: number) => take(other.batches(size), 8) };
    await expect(run(store, { ...options, calibration: fewer as Dataset })).rejects.toThrow(
      'holds a run of calibration data',
    );
  });
});

async function* take(batches: ReturnType<Dataset['batches']>, count: number) {
  let left = count;
  for await (const { inputs, names } of batches) {
    if (left <= 0) return;
    const own = Math.min(left, names.length);
    yield {
      inputs: inputs.slice(0, (inputs.length / names.length) * own),
      count: own,
      names: names.slice(0, own),
    };
    left -= own;
  }
}

/** The engine, and how often each layer has been run over all data. */
function countingLayers() {
  const runs = new Map<string, number>();
  const counting: Engine = {
    name: engine.name,
    load: async (bytes, external) => {
      const session = await engine.load(bytes, external);
      const { nodes } = await readModel(bytes);
      const layers = nodes.filter(({ opType }) => /Conv|MatMul|Gemm/.test(opType));
      let isFirst = true;
      const run: typeof session.run = (...args) => {
        if (isFirst) for (const { name } of layers) runs.set(name, (runs.get(name) ?? 0) + 1);
        isFirst = false;
        return session.run(...args);
      };
      return { ...session, run };
    },
  };
  return { engine: counting, runs };
}

test('no layer of a block is run twice: in both networks, or where the dense one is known in the pruned one', async () => {
  const store = memoryStore();
  const { engine, runs } = countingLayers();
  const runsInPass = async (keep: number) => {
    let inPass: readonly number[] = [];
    const onProgress: PruneOptions['onProgress'] = ({ stage, done }) => {
      if (stage === 'pruning' && done === 0) runs.clear();
      if (stage === 'proving' && inPass.length === 0) inPass = [...runs.values()];
    };
    const options = { engine, store, keep, target: 'residual', producers: false, onProgress } as const;
    await prune(language, { ...options, calibration: windows, output: memoryOutput() });
    return new Set(inPass);
  };
  // Linear layers are named by their block, products of attention are not.
  const { blocks } = language.language;
  expect(await runsInPass(0.5)).toEqual(new Set([2, 2 * blocks]));
  expect(await runsInPass(0.75)).toEqual(new Set([1, blocks]));
});

/** How much of what was asked of the dense network is there. */
function denseHeld() {
  const dense = Findings.prototype.dense;
  const asked: (() => ReturnType<Findings['dense']>)[] = [];
  const spy = vi.spyOn(Findings.prototype, 'dense').mockImplementation(function (
    this: Findings,
    about,
    bytes,
  ) {
    // Of what has no room it is only told whether it is there.
    asked.push(() => dense.call(this, about, Number.POSITIVE_INFINITY));
    return dense.call(this, about, bytes);
  });
  const count = async () => {
    const all = await Promise.all(asked.map((ask) => ask()));
    return all.filter(({ isKnown }) => isKnown).length;
  };
  return { count, end: () => spy.mockRestore() };
}

test('what the dense network gave is held in memory for a step of the pass that counts, and not for the next', async () => {
  const dense = denseHeld();
  const held: Promise<{ inStep: boolean; count: number }>[] = [];
  const look = async (inStep: boolean) => ({ inStep, count: await dense.count() });
  const { session } = await counting();
  const solve = session.solveLayers;
  session.solveLayers = (...args) => {
    held.push(look(true));
    return solve(...args);
  };
  const onProgress: PruneOptions['onProgress'] = ({ stage, done }) => {
    if (stage === 'pruning' && done > 0) held.push(look(false));
  };
  try {
    const options = { engine, session, calibration: images, keep: 0.5, target: 'residual' } as const;
    await prune(model, { ...options, search: 'greedy', onProgress });
  } finally {
    dense.end();
  }
  const found = await Promise.all(held);
  expect(new Set(found.filter(({ inStep }) => !inStep).map(({ count }) => count))).toEqual(new Set([0]));
  expect(found.some(({ inStep, count }) => inStep && count > 0)).toBe(true);
});

test('what the dense network gave is held in memory for a stage of the search for sizes, and not for the next', async () => {
  const dense = denseHeld();
  const held: Promise<{ stage?: string; count: number }>[] = [];
  const onProgress: PruneOptions['onProgress'] = ({ stage }) => {
    const look = async () => ({ stage, count: await dense.count() });
    held.push(look());
  };
  try {
    const options = { engine, calibration: images, macs: 0.5, effort: 'low' } as const;
    await prune(model, { ...options, search: 'greedy', onProgress });
  } finally {
    dense.end();
  }
  const found = await Promise.all(held);
  for (const name of ['analysis', 'target', 'allocation']) {
    const [first, ...later] = found.flatMap(({ stage, count }) => (stage === name ? [count] : []));
    expect(first, name).toBe(0);
    expect(Math.max(...later), name).toBeGreaterThan(0);
  }
});

test('trials of sizes are compared with outputs of the dense network that the first of them has computed', async () => {
  const dense = Findings.prototype.dense;
  const known: boolean[] = [];
  const spy = vi.spyOn(Findings.prototype, 'dense').mockImplementation(async function <T extends object>(
    this: Findings,
    about: unknown,
    bytes: number,
  ) {
    const batches: DenseBatches<T> = await dense.bind(this)(about, bytes);
    if (Object.hasOwn(about as object, 'compared')) known.push(batches.isKnown);
    return batches;
  });
  try {
    const options = { engine, calibration: images, macs: 0.5, effort: 'low', target: 'self' } as const;
    await prune(model, { ...options, search: 'greedy' });
  } finally {
    spy.mockRestore();
  }
  const [first, ...later] = known;
  expect(first).toBe(false);
  expect(new Set(later)).toEqual(new Set([true]));
});

test('only what a change of one structure changes is solved again', async () => {
  const store = memoryStore();
  const options = { target: 'self' } as const;
  const whole = await file(store, { ...options, keep: 0.5 });
  const { structures } = model.analysis;
  const last = structures.filter(({ prunable }) => prunable).at(-1)!;
  const other = await file(store, { ...options, keep: { all: 0.5, layers: { [last.layer]: 0.25 } } });
  expect(whole.solved.length).toBeGreaterThan(3);
  expect(other.solved).toEqual(whole.solved.slice(-1));
});

test('a store of the same model with narrow heads is refused, and says why', async () => {
  const store = memoryStore();
  const options = { keep: 0.5, target: 'self', search: 'greedy' } as const;
  await folder(store, options);
  const narrow = await openLanguageModel(language.folder, { heads: 'narrow' });
  const how = { engine, calibration: windows, store, output: memoryOutput() };
  await expect(prune(narrow, { ...how, ...options })).rejects.toThrow(
    'holds a run of model "model", not of "model, narrow heads"',
  );
});

test('a store of another model is refused by its name', async () => {
  const store = memoryStore();
  const options = { keep: 0.5, target: 'self', method: 'magnitude' } as const;
  await file(store, options);
  const other = await openModel(fixtureBytes('fashion-resnet'), { engine, name: 'fashion-resnet' });
  await expect(prune(other, { engine, calibration: images, store, ...options })).rejects.toThrow(
    'holds a run of model "fashion-mobilenet", not of "fashion-resnet"',
  );
});
