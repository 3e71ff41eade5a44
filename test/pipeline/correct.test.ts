import { describe, expect, test } from 'vitest';
import { readModel, toFloat32 } from '../../src/graph/index.ts';
import { analyze, openModel } from '../../src/pipeline/index.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { outputError } from '../support/output-error.ts';
import { engine, fashion, fixtureBytes, outputs, prune, session } from './fixtures.ts';

const bytes = fixtureBytes('fashion-resnet');
const calibration = await fashion('calib', 64);
const unseen = await fashion('test', 100);

/** Tensors of `a` that are not the same in `b`, of those that no pruned channel belongs to. */
async function changed(a: Uint8Array, b: Uint8Array, layer: string): Promise<boolean> {
  const [before, after] = [await readModel(a), await readModel(b)];
  const [one, other] = [before, after].map((model) =>
    toFloat32(model.tensors.get(model.node(layer)!.input[1])!),
  );
  return one.length !== other.length || one.some((value, i) => value !== other[i]);
}

describe('correction of layers that keep all their inputs', () => {
  test('brings the outputs on unseen samples nearer to the dense network’s', async () => {
    const dense = await outputs(bytes, unseen);
    const errors: number[] = [];
    for (const correct of [true, false]) {
      const { written } = await prune(bytes, calibration, {
        keep: 0.3,
        target: 'residual',
        search: 'greedy',
        producers: false,
        correct,
      });
      const tensor = (data: Float32Array) => [{ dims: [unseen.size, data.length / unseen.size], data }];
      errors.push(outputError(tensor(dense), tensor(await outputs(written.model, unseen))));
    }
    expect(errors[0]).toBeLessThan(0.9 * errors[1]);
  });

  test('touches the classifier, which keeps all its inputs, only where it is asked for', async () => {
    const classifier = '/11/Gemm';
    const few = await fashion('calib', 24);
    const run = (options: Parameters<typeof prune>[2]) =>
      prune(bytes, few, { target: 'dense', search: 'greedy', producers: false, ...options });
    expect(await changed(bytes, (await run({ correct: true })).written.model, classifier)).toBe(true);
    expect(await changed(bytes, (await run({ correct: false })).written.model, classifier)).toBe(false);
    // Magnitude pruning alone changes nothing that stays, and layers fitted to themselves have nothing to correct.
    expect(await changed(bytes, (await run({ method: 'magnitude' })).written.model, classifier)).toBe(false);
    expect(await changed(bytes, (await run({ target: 'self' })).written.model, classifier)).toBe(false);
  });
});

test('each group of a convolution is refitted to what reaches it', async () => {
  const b = new OnnxBuilder({ seed: 2 });
  const x = b.relu(b.conv(b.relu(b.conv(b.input([1, 28, 28]), 12, 3, { stride: 2 })), 20, 3, { stride: 2 }));
  const y = b.conv(x, 10, 3, { group: 10, bias: false });
  const model = b.output(b.flatten(b.globalAveragePool(b.relu(y)))).build(); // whose groups stay
  const dense = await outputs(model, unseen);
  const tensor = (data: Float32Array) => [{ dims: [unseen.size, 10], data }];
  const errorOf = async (correct: boolean) => {
    const options = { keep: 0.3, target: 'dense', producers: false, correct } as const;
    const { written, report } = await prune(model, calibration, options);
    expect(report.maxDifference).toBeLessThan(1e-4);
    expect(await changed(model, written.model, y)).toBe(correct);
    return outputError(tensor(dense), tensor(await outputs(written.model, unseen)));
  };
  expect(await errorOf(true)).toBeLessThan(0.9 * (await errorOf(false)));
});

describe('channels of residual streams', () => {
  test.each(['fashion-resnet', 'fashion-mobilenet-v2'])(
    'go with every layer that adds to the stream, and all that read it are refitted: %s',
    async (name) => {
      const bytes = fixtureBytes(name);
      const evaluation = await fashion('test', 200);
      const options = { target: 'residual', search: 'greedy', producers: false, evaluation } as const;
      const plain = await prune(bytes, calibration, options);
      const cut = await prune(bytes, calibration, { ...options, residual: true });
      const more = cut.report.layers.filter(
        ({ name }) => !plain.report.layers.some((it) => it.name === name),
      );
      const streams = cut.opened.analysis.structures.filter(({ isResidual }) => isResidual);
      expect(streams.length).toBeGreaterThan(0);
      expect(more.map(({ name }) => name).sort()).toEqual(streams.map(({ name }) => name).sort());
      expect(cut.report.macs!.after).toBeLessThan(0.7 * plain.report.macs!.after);
      expect(cut.report.maxDifference).toBeLessThan(1e-4);
      // a guess is right one time in ten
      expect(cut.report.metric!.after).toBeGreaterThan(0.5);
    },
  );
});

describe('norms over channels of which some go', () => {
  type Norm = (b: OnnxBuilder, x: string, scale: string, shift: string) => string;
  const parts: Norm = (b, x, scale, shift) => {
    const mean = (value: string) => b.node('ReduceMean', [value], { axes: [-1] });
    const centred = b.node('Sub', [x, mean(x)], {}, { channels: 32 });
    const variance = b.node('Add', [mean(b.mul(centred, centred)), b.floats([1e-5], [])]);
    const y = b.node('Div', [centred, b.node('Sqrt', [variance])], {}, { channels: 32 });
    return b.add(b.mul(y, scale), shift);
  };
  const whole: Norm = (b, x, ...affine) => b.node('LayerNormalization', [x, ...affine], {}, { channels: 32 });

  /** Half of the channels are large, and hardly matter: without them the others have another mean. */
  const network = (norm: Norm) => {
    const b = new OnnxBuilder({ seed: 4 });
    const large = Array.from({ length: 32 }, (_, c) => c % 2);
    const x = b.add(
      b.gemm(b.reshape(b.input([1, 28, 28]), [0, -1], 784), 32),
      b.floats(large.map((is) => 3 * is)),
    );
    const affine = [b.floats(large.map((is) => 1 - 0.9 * is)), b.weight([32], 0.3)] as const;
    return b.output(b.gemm(b.relu(norm(b, x, ...affine)), 10)).build();
  };

  test.each([
    ['a node that is one', whole],
    ['several nodes', parts],
  ])('give what stays as they did before: %s', async (_, norm) => {
    const model = network(norm);
    const tensor = (data: Float32Array) => [{ dims: [unseen.size, 10], data }];
    const dense = tensor(await outputs(model, unseen));
    const options = { keep: 0.5, target: 'self', search: 'greedy' } as const;
    const { written, report } = await prune(model, calibration, options);
    expect(report.maxDifference).toBeLessThan(1e-4);
    expect(outputError(dense, tensor(await outputs(written.model, unseen)))).toBeLessThan(0.11);
  });

  test('are refitted where sizes are tried, too', async () => {
    const model = await openModel(network(whole), { engine, name: 'norm' });
    const { structures } = await analyze(model, { engine, session, calibration, params: 0.5 });
    const third = structures[0].points.find(({ kept }) => kept === 10)!;
    expect(third.loss).toBeLessThan(0.06);
  });
});
