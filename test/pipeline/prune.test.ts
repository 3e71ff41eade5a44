import { beforeAll, describe, expect, test } from 'vitest';
import type { Engine, EngineSession } from '../../src/engine/index.ts';
import { InputError, OutOfMemoryError } from '../../src/errors.ts';
import { readModel, toFloat32 } from '../../src/graph/index.ts';
import { fromFloat32 } from '../../src/graph/tensor.ts';
import { splitSamples } from '../../src/pipeline/data/split.ts';
import {
  type Dataset,
  evaluate,
  iterableDataset,
  type OpenedModel,
  openModel,
  type PruneOptions,
  prune as pruneModel,
  datasetOf as readDataset,
  TARGETS,
} from '../../src/pipeline/index.ts';
import { openSession } from '../../src/pool/index.ts';
import { isCorrelation, METHODS } from '../../src/solve/index.ts';
import { version } from '../../src/version.ts';
import { tiny, withFeatures } from '../cli/models.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import {
  difference,
  engine,
  fashion,
  fixtureBytes,
  noise,
  openFixture,
  outputs,
  prune,
  session,
} from './fixtures.ts';

interface Sample {
  input: Float32Array;
  label?: number;
}

async function samplesOf(data: Dataset): Promise<Sample[]> {
  const samples: Sample[] = [];
  for await (const { inputs, labels } of data.batches(1)) samples.push({ input: inputs, label: labels?.[0] });
  return samples;
}

const datasetOf = (samples: readonly Sample[], shape: readonly number[]) =>
  iterableDataset(
    samples.map(({ input, label }) => ({ data: input, label })),
    shape,
  );

/** Σ‖y − ŷ‖² / Σ‖y − ȳ‖² over rows of ten classes. */
function relativeError(dense: Float32Array, pruned: Float32Array): number {
  const rows = dense.length / 10;
  const mean = Array.from({ length: 10 }, (_, j) => {
    let sum = 0;
    for (let i = 0; i < rows; i++) sum += dense[10 * i + j];
    return sum / rows;
  });
  let [error, spread] = [0, 0];
  dense.forEach((value, i) => {
    error += (value - pruned[i]) ** 2;
    spread += (value - mean[i % 10]) ** 2;
  });
  return error / spread;
}

describe('the targets, on a residual network', () => {
  const bytes = fixtureBytes('fashion-resnet-bn');
  let opened: OpenedModel;
  let calibration: Dataset;
  let auto: Awaited<ReturnType<typeof pruneTo>>;
  const pruneTo = (
    data: Dataset,
    target: PruneOptions['target'],
    options?: Pick<PruneOptions, 'producers'>,
  ) =>
    pruneModel(opened, {
      ...{ engine, session, calibration: data, keep: 0.5, target, search: 'greedy' },
      ...options,
    });
  beforeAll(async () => {
    opened = await openFixture('fashion-resnet-bn');
    calibration = await fashion('calib', 24);
    auto = await pruneTo(calibration, 'auto');
  });

  test('residual leaves less output error than self, on images that neither has seen', async () => {
    const unseen = await fashion('test', 50);
    const dense = await outputs(bytes, unseen);
    const [self, residual] = [await pruneTo(calibration, 'self'), await pruneTo(calibration, 'residual')];
    const error = async ({ written }: typeof auto) =>
      relativeError(dense, await outputs(written.model, unseen));
    expect(await error(residual)).toBeLessThan(0.7 * (await error(self)));
    expect(await error(auto)).toBeLessThan(0.7 * (await error(self)));
  });

  test('auto takes the candidate with the least error on samples held out from its fit', async () => {
    const { chosen, candidates = [] } = auto.report.target;
    expect(candidates.length).toBeGreaterThan(2);
    expect(candidates.map(({ kind }) => kind)).toContain('dense');
    const errors = candidates.map(({ error }) => error);
    expect(errors).toEqual([...errors].sort((a, b) => a - b));
    expect(candidates[0]).toMatchObject(chosen);

    // The first and the last once more, by hand: fitted on one part, measured on the other.
    const samples = await samplesOf(calibration);
    const { isFit, isHeldOut } = splitSamples({ size: samples.length });
    const fit = await datasetOf(
      samples.filter((_, i) => isFit(i)),
      [1, 28, 28],
    );
    const heldOut = await datasetOf(
      samples.filter((_, i) => isHeldOut(i)),
      [1, 28, 28],
    );
    const dense = await outputs(bytes, heldOut);
    for (const { kind, blend, error: expected } of [candidates[0], candidates.at(-1)!]) {
      // Candidates are compared without the local search, and with producers as they were.
      const { written } = await pruneTo(fit, { kind, blend }, { producers: false });
      const error = relativeError(dense, await outputs(written.model, heldOut));
      expect(error / expected).toBeCloseTo(1, 2);
    }
  });

  test('gives the same network where no activations may be kept between layers', async () => {
    const data = await fashion('calib', 12);
    const common = { session, calibration: data, keep: 0.5, target: 'residual' } as const;
    const options = { ...common, producers: false }; // these have inputs of their own
    const run = async (activationBytes?: number) => {
      const { port, inputs } = watched(engine);
      return { ...(await pruneModel(opened, { ...options, engine: port, activationBytes })), inputs };
    };
    const [kept, recomputed] = [await run(), await run(0)];
    expect(recomputed.inputs).toEqual(new Set(['input']));
    expect(kept.inputs.size).toBeGreaterThan(5);
    expect(recomputed.report.layers.map((layer) => layer.kept)).toEqual(
      kept.report.layers.map((layer) => layer.kept),
    );
    const unseen = await fashion('test', 20);
    const [a, b] = [
      await outputs(kept.written.model, unseen),
      await outputs(recomputed.written.model, unseen),
    ];
    expect(difference(a, b)).toBeLessThan(1e-3);
  });
});

/** An engine that notes the inputs of what it runs. */
function watched(port: Engine): { port: Engine; inputs: Set<string> } {
  const inputs = new Set<string>();
  return {
    inputs,
    port: {
      name: port.name,
      load: async (model, external) => {
        const session = await port.load(model, external);
        return {
          ...session,
          run: (feeds, fetches) => {
            for (const name of Object.keys(feeds)) inputs.add(name);
            return session.run(feeds, fetches);
          },
        };
      },
    },
  };
}

describe('the proof of the written model', () => {
  type FloatTensors = Awaited<ReturnType<EngineSession['run']>>;
  type Change = (data: Float32Array, isWritten: boolean) => Float32Array;

  /** Prunes with an engine that changes what the model gives at its output. */
  const proven = async (change: Change) => {
    const opened = await openModel(tiny(), { engine });
    const [{ name }] = opened.model.outputs;
    const changed = (results: FloatTensors, isWritten: boolean) => {
      const { [name]: own, ...others } = results;
      return own ? { ...others, [name]: { ...own, data: change(own.data, isWritten) } } : results;
    };
    const port: Engine = {
      name: engine.name,
      load: async (model, external) => {
        const session = await engine.load(model, external);
        const isWritten = Buffer.from(model).includes('osscar.pruning');
        return {
          ...session,
          run: async (feeds, fetches) => changed(await session.run(feeds, fetches), isWritten),
        };
      },
    };
    const calibration = await noise(12, [1, 28, 28]);
    return pruneModel(opened, { engine: port, session, calibration, keep: 0.5, target: 'self' });
  };
  const offBy =
    (offset: number, place = -1): Change =>
    (data, isWritten) =>
      isWritten ? data.map((value, i) => (i === data.length + place ? value + offset : value)) : data;

  test.each([
    [1, -1],
    [Number.NaN, -1],
    [Number.NaN, -2], // what follows is right again
  ])('refuses a model whose outputs differ by %d', async (offset, place) => {
    await expect(proven(offBy(offset, place))).rejects.toMatchObject({
      code: 'ERR_OSSCAR_VERIFY',
      message: expect.stringContaining('the pruned model differs from the masked one by'),
    });
    await expect(proven(offBy(0))).resolves.toBeDefined();
  });

  test('takes outputs that hardly vary by the precision of float32', async () => {
    // What a sigmoid far below 0 gives: the last bit of 1 − x, or nothing.
    const lastBits = (data: Float32Array) => data.map((value) => (value > 0 ? 2 ** -24 : 0));
    const by = (offset: number) => proven((data, isWritten) => offBy(offset)(lastBits(data), isWritten));
    const { report } = await by(2 ** -23);
    expect(report.maxDifference).toBeGreaterThan(0);
    await expect(by(1e-4)).rejects.toMatchObject({ code: 'ERR_OSSCAR_VERIFY' });
  });

  test.each([2 ** 12, -(2 ** 12)])('takes the last bit of outputs that are all %d', async (all) => {
    const alike: Change = (data, isWritten) => offBy(2 ** -11)(data.fill(all), isWritten);
    const { report } = await proven(alike);
    expect(report.maxDifference).toBeGreaterThan(0);
  });

  test('tells the largest difference as a part of the range over all batches', async () => {
    const between = (data: Float32Array) => data.map((_, i) => [0, -1, 1][i % 3]);
    const { report } = await proven((data, isWritten) => offBy(2 ** -13)(between(data), isWritten));
    expect(report.maxDifference).toBe(2 ** -14);
  });

  test('is none where the first number of the pruned network is NaN', async () => {
    const first: Change = (data, isWritten) => (isWritten ? data : data.fill(Number.NaN, 0, 1));
    await expect(proven(first)).rejects.toThrow('of the pruned network holds NaN or infinite values');
  });

  test('refuses outputs with more values than there were', async () => {
    const longer: Change = (data, isWritten) => (isWritten ? Float32Array.of(...data, 0) : data);
    await expect(proven(longer)).rejects.toMatchObject({ code: 'ERR_OSSCAR_VERIFY' });
  });

  test('is none where outputs are empty', async () => {
    await expect(proven(() => new Float32Array())).rejects.toMatchObject({
      code: 'ERR_OSSCAR_VERIFY',
      message: expect.stringContaining('outputs have no numbers to compare'),
    });
  });
});

describe('the proof of the graph that is pruned', () => {
  const stagesOf = async (opened: OpenedModel, shape = [1, 28, 28]) => {
    const stages = new Set<string>();
    const onProgress = ({ stage }: { stage: string }) => stages.add(stage);
    const calibration = await noise(12, shape);
    const error = await pruneModel(opened, { engine, calibration, keep: 0.5, onProgress }).catch((it) => it);
    return { error, stages };
  };

  test('refuses one that gives other outputs than the file, before any work', async () => {
    const opened = await openModel(tiny(), { engine });
    const bias = opened.model.nodes.at(-1)!.input[2];
    const changed = (by: number) => {
      const model = opened.model.clone();
      const tensor = model.tensors.get(bias)!;
      const { dims } = tensor;
      const data = toFloat32(tensor).map((value, i) => (i === 3 ? value + by : value));
      model.tensors.set(bias, fromFloat32(data, dims, { name: bias, type: 'float32' }));
      return { ...opened, model };
    };
    const { error, stages } = await stagesOf(changed(1));
    expect(error).toMatchObject({
      code: 'ERR_OSSCAR_VERIFY',
      message: expect.stringContaining('as it is taken apart, the network differs from the file by'),
    });
    expect([...stages]).toEqual(['measuring']);
    expect((await stagesOf(changed(0))).error.report).toBeDefined();
  });

  test('names a node for random numbers, which are others in another network', async () => {
    const b = new OnnxBuilder();
    const x = b.relu(b.batchNormalization(b.conv(b.relu(b.conv(b.input([1, 8, 8]), 8, 3)), 4, 3)));
    const random = b.node('RandomNormalLike', [x], {}, { channels: 4 });
    const opened = await openModel(b.output(b.globalAveragePool(b.add(x, random))).build(), { engine });
    expect((await stagesOf(opened, [1, 8, 8])).error.message).toBe(
      `model: node "${random}" (RandomNormalLike) gives other numbers in every network; export the model without it`,
    );
  });
});

describe('calibration data', () => {
  test('from an iterator gives what the same images from files give, with the metric', async () => {
    const files = await fashion('calib', 24);
    const samples = await samplesOf(files);
    async function* stream() {
      // One buffer for all, as a loader may have it.
      const data = new Float32Array(784);
      for (const { input, label } of samples) {
        data.set(input);
        yield { data, label };
      }
    }
    const streamed = await prune(tiny(), await iterableDataset(stream(), [1, 28, 28]));
    const { report } = await prune(tiny(), files);
    expect(streamed.report.layers).toEqual(report.layers);
    expect(streamed.report.metric).toEqual(report.metric);
    expect(report.metric).toMatchObject({ name: 'accuracy', samples: 24, data: 'calibration' });
  });

  test('that is constant still prunes, by the weights alone', async () => {
    const zeros = await iterableDataset([new Float32Array(784), new Float32Array(784)], [1, 28, 28]);
    const { report } = await prune(tiny(), zeros, { target: 'self' });
    expect(report.layers.map(({ kept }) => kept.length)).toEqual([5, 6]);
    expect(report.metric).toBeUndefined();
  });
});

describe('what goes wrong', () => {
  test.each([
    [{ keep: 0 }, '`keep` must be in (0, 1], as 0.5 for half of them, got 0'],
    [{ keep: 1.5 }, '`keep` must be in (0, 1], as 0.5 for half of them, got 1.5'],
    [{ keep: Number.NaN }, '`keep` must be in (0, 1], as 0.5 for half of them, got NaN'],
    [{ method: 'random' as never }, `\`method\` must be one of ${METHODS.join(', ')}, got "random"`],
    [
      { target: 'best' as never },
      `\`target\` must be one of ${TARGETS.join(', ')}, or such as { kind: 'residual', blend: 0.5 }, got "best"`,
    ],
  ])('refuses %j', async (options, message) => {
    await expect(prune(tiny(), await noise(2, [1, 28, 28]), options)).rejects.toThrow(
      new InputError(message),
    );
  });

  test('names the layer whose inputs overflow, and the largest weight', async () => {
    const b = new OnnxBuilder();
    const x = b.relu(b.conv(b.relu(b.conv(b.input([3, 8, 8]), 4, 3, { gain: 1e30 })), 4, 3, { gain: 1e30 }));
    const bytes = b.output(b.gemm(b.flatten(b.globalAveragePool(x)), 5)).build();
    await expect(prune(bytes, await noise(12, [3, 8, 8]))).rejects.toThrow(
      /^model: layer "conv_\d+": .*calibration inputs hold NaN or infinite values; tensor "w_\d+" has -?\d\.\d+e\+\d\d at element \d+$/,
    );
  });

  test.each([
    [[1, Number.NaN, 3e38], 'NaN'],
    [[1, Number.POSITIVE_INFINITY, 3e38], 'Infinity'],
    [[1, 3e38, 1e30], '3e+38'],
  ])('names what is no weight of a layer and no number to count with: %j', async (scales, value) => {
    const b = new OnnxBuilder();
    const x = b.mul(b.relu(b.conv(b.input([3, 8, 8]), 3, 3)), b.floats(scales, [3, 1, 1]));
    const masks = b.floats([Number.NEGATIVE_INFINITY, -3.4028234663852886e38, 0], [3, 1, 1]);
    const y = b.mul(
      b.conv(b.relu(b.node('Max', [x, masks], {}, { channels: 3 })), 4, 3),
      b.floats([3e38], []),
    );
    const bytes = b.output(b.gemm(b.flatten(b.globalAveragePool(b.relu(y))), 5)).build();
    const shown = value.replace('+', '\\+');
    await expect(prune(bytes, await noise(12, [3, 8, 8]))).rejects.toThrow(
      new RegExp(`hold NaN or infinite values; tensor "w_\\d+" has ${shown} at element 1$`),
    );
  });

  test('patches of 3×3 convolutions with stride 1 are not unfolded for their sums', async () => {
    const watched = await openSession({ threads: 1 });
    const open = watched.statistics.bind(watched);
    const correlated = new Set<number>();
    watched.statistics = (p, m, hasTarget, convolution) => {
      if (convolution && isCorrelation(p, convolution)) correlated.add(p);
      return open(p, m, hasTarget, convolution);
    };
    const calibration = await noise(8, [1, 28, 28]);
    const { opened } = await prune(fixtureBytes('fashion-resnet'), calibration, { session: watched });
    const readers = opened.analysis.structures.flatMap(({ consumers }) => consumers);
    const expected = readers.filter(({ p, conv }) => conv && isCorrelation(p, conv)).map(({ p }) => p);
    expect(expected.length).toBeGreaterThan(0);
    expect(correlated).toEqual(new Set(expected));
  });

  describe('a signal', () => {
    const abort = async (when: (controller: AbortController) => Partial<PruneOptions>) => {
      const opened = await openFixture('fashion-mobilenet');
      // In memory, so that reading files gives nobody a turn.
      const calibration = await noise(24, [1, 28, 28]);
      const controller = new AbortController();
      const common = { engine, calibration, keep: 0.5, target: 'self' } as const;
      const within = (maximumBytes: number) => openSession({ threads: 1, maximumBytes });
      const refused = pruneModel(opened, { ...common, session: await within(2 ** 20) });
      const { bytes } = (await refused.catch((error) => error)) as OutOfMemoryError;
      const session = await within(bytes);
      const run = pruneModel(opened, { ...common, session, signal: controller.signal, ...when(controller) });
      await expect(run).rejects.toThrow('enough');
      // What the run had allocated is free again: another fits the memory that one takes.
      await pruneModel(opened, { ...common, session });
    };
    const reason = new Error('enough');

    test('that was given before stops the run before the first layer', async () => {
      let layers = 0;
      await abort((controller) => {
        controller.abort(reason);
        return { onProgress: ({ done }) => (layers += done > 0 ? 1 : 0) };
      });
      expect(layers).toBe(0);
    });

    test('stops it while samples are read', async () => {
      const controller = new AbortController();
      let read = 0;
      const load = () => {
        if (++read === 65) controller.abort(reason);
        return { data: new Float32Array(784).fill(read) };
      };
      const samples = Array.from({ length: 256 }, (_, i) => ({ name: `${i}` }));
      const calibration = readDataset(samples, [1, 28, 28], load, { name: 'slow' });
      const model = await openFixture('fashion-mobilenet');
      const run = pruneModel(model, { engine, calibration, keep: 0.5, signal: controller.signal });
      await expect(run).rejects.toThrow('enough');
      expect(read).toBeLessThanOrEqual(128);
    });

    test.each(['prune', 'evaluate'])('stops what waits for a sample that never comes: %s', async (call) => {
      const controller = new AbortController();
      const { signal } = controller;
      const never: Dataset = {
        ...(await noise(24, [1, 28, 28])),
        async *batches() {
          yield { inputs: new Float32Array(784), count: 1, names: ['first'], labels: Int32Array.of(1) };
          controller.abort(reason);
          await new Promise(() => {});
        },
      };
      const model = await openFixture('fashion-mobilenet');
      const run = (data: Dataset) =>
        call === 'prune'
          ? pruneModel(model, { engine, calibration: data, evaluation: data, keep: 0.5, signal })
          : evaluate(model, data, { engine, signal });
      await expect(run(never)).rejects.toThrow('enough');
    });

    test('stops it between two layers and frees the memory', async () => {
      const labels: string[] = [];
      await abort((controller) => ({
        target: 'residual',
        onProgress: ({ label, done }) => {
          if (done > 0) labels.push(label);
          if (done === 2) controller.abort(reason);
        },
      }));
      expect(labels).toEqual(['pruning', 'pruning']);
    });

    test('reaches it from a timer, as the run lets timers have their turn', async () => {
      let layers = 0;
      await abort((controller) => {
        setTimeout(() => controller.abort(reason), 1);
        return { onProgress: ({ done }) => (layers += done > 0 ? 1 : 0) };
      });
      expect(layers).toBeLessThan(6);
    });
  });

  test.each([
    [
      'throws',
      () => {
        throw new Error('full');
      },
      1,
    ],
    ['is rejected with', () => Promise.reject(new Error('full')), 2],
  ])('what a function that is told %s ends it, and is nobody else\u2019s', async (_, tell, steps) => {
    const unhandled: unknown[] = [];
    const take = (reason: unknown) => unhandled.push(reason);
    process.on('unhandledRejection', take);
    const model = await openFixture('fashion-mobilenet');
    const calibration = await noise(8, [1, 28, 28]);
    for (const name of ['onProgress', 'onWarning']) {
      let told = 0;
      const on = () => {
        if (++told <= steps) return tell();
      };
      const options = { engine, calibration, keep: 0.5, target: 'self', [name]: on } as const;
      await expect(pruneModel(model, options), name).rejects.toThrow('full');
      expect(told, name).toBe(1);
    }
    await new Promise((resolve) => setImmediate(resolve));
    process.off('unhandledRejection', take);
    expect(unhandled).toEqual([]);
  });

  describe('a limit of memory', () => {
    /** One structure of 9 · 160 rows, whose statistics dwarf the packing buffers. */
    function wide(): Uint8Array {
      const b = new OnnxBuilder();
      const x = b.relu(b.conv(b.relu(b.conv(b.input([3, 6, 6]), 160, 1)), 4, 3));
      return b.output(b.gemm(b.flatten(b.globalAveragePool(x)), 3)).build();
    }

    test('that is too low is refused before any work', async () => {
      const session = await openSession({ threads: 1, maximumBytes: 2 ** 20 });
      const opened = await openModel(tiny(), { engine });
      const data = await noise(2, [1, 28, 28]);
      const calibration: Dataset = {
        ...data,
        batches: () => {
          throw new Error('read the data');
        },
      };
      const idle: Engine = { name: 'idle', load: () => Promise.reject(new Error('loaded a model')) };
      const run = pruneModel(opened, { engine: idle, session, calibration, keep: 0.5 });
      const error = await run.catch((error: unknown) => error);
      expect(error).toBeInstanceOf(OutOfMemoryError);
      const { bytes, message } = error as OutOfMemoryError;
      expect(bytes).toBeGreaterThan(2 ** 20);
      expect(message).toMatch(
        /^structure "conv_\d+" needs \d+ bytes .* more than the 1048576 there are; leave it whole/,
      );
    });

    test('that the check lets pass is enough for the work', async () => {
      const bytes = wide();
      const opened = await openModel(bytes, { engine });
      const calibration = await noise(12, [3, 6, 6]);
      const run = async (maximumBytes: number) =>
        pruneModel(opened, {
          ...{ engine, calibration, keep: 0.9, target: 'self' as const },
          session: await openSession({ threads: 1, maximumBytes }),
        });
      const needed = ((await run(2 ** 20).catch((error) => error)) as OutOfMemoryError).bytes;
      expect(needed).toBeGreaterThan(8 * (9 * 160) ** 2);
      await expect(run(needed - 1)).rejects.toThrow(`needs ${needed} bytes`);
      const { report } = await run(needed);
      expect(report.memory.wasmBytes).toBe(needed);
    });
  });
});

test('metadata goes into the written model, with how it was pruned', async () => {
  const { written, report } = await prune(tiny(), await noise(12, [1, 28, 28]), {
    keep: 0.25,
    target: 'dense',
    metadata: { 'my.key': 'ü' },
  });
  const model = await readModel(written.model);
  expect(model.metadata('my.key')).toBe('ü');
  expect(JSON.parse(model.metadata('osscar.pruning')!)).toEqual({
    ...{ method: 'osscar', keep: 0.25, samples: 12, version },
    target: { kind: 'dense', blend: 1 },
    parameters: expect.closeTo(report.parameters.after / report.parameters.before, 5),
    calibration: report.calibrationHash,
  });
});

test('what leads to outputs that were not named is gone, and the channels that they gave are pruned', async () => {
  const calibration = await noise(32, [1, 28, 28]);
  const opened = await openModel(withFeatures(), { engine, outputNames: ['classes'] });
  const { written } = await pruneModel(opened, { engine, session, calibration, keep: 0.5 });
  const small = await readModel(written.model);
  expect(small.outputs.map(({ name }) => name)).toEqual(['classes']);
  const [filters] = Array.from(small.tensors.values()).filter(({ dims }) => dims.length === 4);
  expect(filters.dims[0]).toBe(4);
  const [dense, pruned] = await Promise.all(
    [withFeatures(), written.model].map((it) => outputs(it, calibration)),
  );
  expect(relativeError(dense, pruned)).toBeLessThan(0.5);
});
