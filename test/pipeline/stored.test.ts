import { describe, expect, test } from 'vitest';
import type { Engine } from '../../src/engine/index.ts';
import { onSteps, readModel, steppedMaps, storeWeights, writeModel } from '../../src/graph/index.ts';
import {
  compareMethods,
  evaluate,
  memoryStore,
  openModel,
  type PruneOptions,
  plan,
  prune as pruneModel,
} from '../../src/pipeline/index.ts';
import { once } from '../support/once.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { engine, fashion, fixtureBytes, noise, openFixture, outputs, prune, session } from './fixtures.ts';

const NETWORK = 'fashion-mobilenet';
const bytes = fixtureBytes(NETWORK);
const calibration = await fashion('calib', 128);
const evaluation = await fashion('test', 256);
const few = await fashion('calib', 32);
const how = { evaluation, target: 'self', search: 'greedy' } as const;
const pruned = (options: Partial<PruneOptions>) => prune(bytes, calibration, { ...how, ...options });
const float = once(() => pruned({}));
const as = {
  float16: once(() => pruned({ weights: 'float16' })),
  int8: once(() => pruned({ weights: 'int8' })),
  int4: once(() => pruned({ weights: 'int4' })),
};
const kept = ({ layers }: { layers: readonly { kept: readonly number[] }[] }) => layers.map((it) => it.kept);

describe('a file with weights as', () => {
  test.each([
    ['float16', 0.65, 0],
    ['int8', 0.5, 0.02],
    ['int4', 0.45, 0.03],
  ] as const)('%s is the same network with fewer bytes', async (weights, share, loss) => {
    const whole = await float();
    const { report, written } = await as[weights]();
    expect(kept(report)).toEqual(kept(whole.report));
    expect(report.parameters).toEqual(whole.report.parameters);
    expect(report.bytes).toEqual({ before: bytes.length, after: written.model.length });
    expect(written.model.length / whole.written.model.length).toBeLessThan(share);
    expect(report.metric!.after).toBeGreaterThanOrEqual(whole.report.metric!.after - loss);
    expect(report.maxDifference).toBeGreaterThan(whole.report.maxDifference);
  });

  test.each(['float16', 'int8', 'int4'] as const)(
    '%s is measured, and pruned again, as any other',
    async (weights) => {
      const { report, written } = await as[weights]();
      const again = await openModel(written.model, { engine });
      expect([again.quantized, again.stored]).toEqual([[], weights]);
      expect(again.parameters).toBe(report.parameters.after);
      expect(JSON.parse(again.source.metadata('osscar.pruning')!)).toMatchObject({ weights });
      expect(await evaluate(again, evaluation, { engine })).toMatchObject({ value: report.metric!.after });
      const twice = await prune(written.model, calibration, how);
      expect(kept(twice.report)).toHaveLength(report.layers.length);
      expect(twice.report.parameters.after).toBeLessThan(0.6 * report.parameters.after);
      // Stored as they were, as nothing else was asked for.
      expect([report.weights, twice.report.weights]).toEqual([weights, weights]);
      expect((await openModel(twice.written.model, { engine })).stored).toBe(weights);
    },
  );

  test('int8 has float32 again where that is asked for', async () => {
    const { written } = await as.int8();
    const { report, written: floats } = await prune(written.model, calibration, {
      ...how,
      weights: 'float32',
    });
    expect(report.weights).toBeUndefined();
    const opened = await openModel(floats.model, { engine });
    expect(opened.stored).toBeUndefined();
    expect([...opened.source.tensors.values()].map(({ type }) => type)).not.toContain('int8');
  });

  test('int8 is what budgets of bytes and plans go by without being asked', async () => {
    const { written } = await as.int8();
    const opened = await openModel(written.model, { engine });
    const options = {
      engine,
      session,
      calibration,
      ...how,
      keep: undefined,
      bytes: 0.6,
      effort: 'low',
    } as const;
    const { report, written: small } = await pruneModel(opened, options);
    const limit = 0.6 * written.model.length;
    expect(small.model.length).toBeLessThanOrEqual(limit);
    expect(small.model.length).toBeGreaterThan(0.7 * limit);
    const planned = (weights?: 'int8' | 'float32') =>
      plan(opened, { bytes: 0.6, samples: 128, weights }).parameters.after;
    expect(planned()).toBe(planned('int8'));
    expect(planned('float32')).toBeLessThan(planned());
    expect(report.weights).toBe('int8');
  });

  test('int4 is fitted to what the network gives, and much nearer to it than the nearest steps', async () => {
    const whole = await float();
    const { written, report } = await as.int4();
    const { model, info } = await openModel(whole.written.model, { engine });
    const nearest = writeModel(storeWeights(model, 'int4', onSteps(model, steppedMaps(model, info.shapes))));
    const expected = await outputs(whole.written.model, evaluation);
    const [own, other] = await Promise.all(
      [written, nearest].map(async (it) => distance(expected, await outputs(it.model, evaluation))),
    );
    expect(own).toBeLessThan(0.5 * other);
    expect(report.stages.map(({ stage }) => stage)).toContain('rounding');
  });

  const budget = { keep: undefined, bytes: 0.16, effort: 'low', store: memoryStore() } as const;
  const withinBytes = once(() => pruned(budget));
  test.each([
    ['int8', 2],
    ['int4', 2.4],
  ] as const)('%s keeps more within a budget of bytes, which comes true', async (weights, times) => {
    const limit = 0.16 * bytes.length;
    const plain = await withinBytes();
    const small = await pruned({ ...budget, weights });
    for (const { written } of [plain, small]) expect(written.model.length).toBeLessThanOrEqual(limit);
    expect(small.written.model.length).toBeGreaterThan(0.8 * limit);
    expect(small.report.parameters.after).toBeGreaterThan(times * plain.report.parameters.after);
    expect(small.report.metric!.after).toBeGreaterThan(plain.report.metric!.after);
    const opened = await openFixture(NETWORK);
    const planned = plan(opened, { bytes: 0.16, weights, samples: 128 });
    const plannedPlain = plan(opened, { bytes: 0.16, samples: 128 });
    expect(planned.parameters.after).toBeGreaterThan(times * plannedPlain.parameters.after);
    expect(() => plan(opened, { bytes: 0.5, weights, samples: 128 })).toThrow(
      /^`bytes`: at most \d+ keeps all of the dense model, which is written with \d+$/,
    );
  });

  test('int4 takes another pass, and memory for layers that pruning leaves as they are', async () => {
    const opened = await openFixture(NETWORK);
    const wasmOf = (weights?: 'int8' | 'int4') => plan(opened, { keep: 1, weights, samples: 128 }).bytes.wasm;
    expect(wasmOf()).toBe(0);
    expect(wasmOf('int8')).toBe(0);
    expect(wasmOf('int4')).toBeGreaterThan(0);
    const engineOf = (weights: 'int8' | 'int4') =>
      plan(opened, { keep: 0.5, target: 'self', weights, samples: 128 }).flops.engine;
    expect(engineOf('int4')).toBeGreaterThan(1.05 * engineOf('int8'));
  });

  test('int8 is what other methods are compared in', async () => {
    const opened = await openFixture(NETWORK);
    const unlabeled = { calibration: await noise(32, [1, 28, 28]), evaluation: undefined }; // an accuracy may be the same
    const options = { engine, session, keep: 0.5, weights: 'int8', ...how, ...unlabeled } as const;
    const { report } = await pruneModel(opened, options);
    const [same] = await compareMethods(opened, report, ['osscar'], options);
    expect(report.quality!.relativeError).toBeGreaterThan(0);
    expect(same.quality).toEqual(report.quality);
  });

  test('int8 is for those that take more bytes', async () => {
    const b = new OnnxBuilder();
    const x = b.gemm(b.relu(b.gemm(b.flatten(b.globalAveragePool(b.input([1, 28, 28]))), 4)), 3);
    await expect(prune(b.output(x).build(), calibration, { ...how, weights: 'int8' })).rejects.toThrow(
      'model: it has no weights that are fewer bytes as int8; leave out `weights`',
    );
  });

  test.each(['int8', 'int4'] as const)('%s beside values of float16 has no float32', async (weights) => {
    const options = { ...how, evaluation: undefined };
    const whole = await prune(halfNetwork(), few, options);
    const { written, report } = await prune(halfNetwork(), few, { ...options, weights });
    expect(kept(report)).toEqual(kept(whole.report));
    const { tensors } = await readModel(written.model);
    const types = Array.from(tensors.values(), ({ type }) => type);
    expect(types).toContain(weights === 'int8' ? 'int8' : 'uint8');
    expect(types).not.toContain('float32');
    expect(written.model.length / whole.written.model.length).toBeLessThan(weights === 'int8' ? 0.8 : 0.7);
    const again = await openModel(written.model, { engine });
    expect([again.quantized, again.stored]).toEqual([[], weights]);
    expect(report.maxDifference).toBeLessThan(0.25);
    const twice = await prune(written.model, few, options);
    expect(twice.report.bytes.after).toBeLessThan(report.bytes.after);
  });
});

/** ‖a − b‖. */
const distance = (a: Float32Array, b: Float32Array) =>
  Math.sqrt(a.reduce((sum, value, i) => sum + (value - b[i]) ** 2, 0));

/** Computes in float16 between its input and its output. */
function halfNetwork(): Uint8Array {
  const b = new OnnxBuilder({ type: 'float16' });
  const x = b.relu(b.conv(b.input([1, 28, 28]), 32, 3));
  return b.output(b.gemm(b.flatten(b.globalAveragePool(b.conv(x, 32, 3))), 10)).build();
}

describe('the proof', () => {
  /** What the written files give is off by so much: that with weights of int8, and the one before. */
  const proven = async (rounded: number, exact: number) => {
    const off: Engine = {
      name: engine.name,
      async load(model, external) {
        const loaded = await engine.load(model, external);
        const text = Buffer.from(model);
        const by = text.includes('.int8') ? rounded : text.includes('osscar.pruning') ? exact : 0;
        const run: typeof loaded.run = async (feeds, names) => {
          const results = await loaded.run(feeds, names);
          for (const { data } of Object.values(results)) if (data instanceof Float32Array) data[0] += by;
          return results;
        };
        return { ...loaded, run };
      },
    };
    const opened = await openFixture(NETWORK);
    const options = { ...how, evaluation: undefined, calibration: few, weights: 'int8' } as const;
    return pruneModel(opened, { engine: off, session, keep: 0.5, ...options });
  };

  test('has the graph compared before its weights are rounded', async () => {
    await proven(0.1, 0);
    await expect(proven(0, 0.1)).rejects.toThrow('the pruned model differs from the masked one by');
  });

  test('refuses weights that are rounded too far', async () => {
    await expect(proven(100, 0)).rejects.toThrow(
      /the pruned model with weights as int8 differs from the masked one by .* more than 0.25; let them be stored as they are \(`weights: 'float32'`\)$/,
    );
  });
});
