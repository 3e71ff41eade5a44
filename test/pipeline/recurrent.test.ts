import { expect, test } from 'vitest';
import { fromFloat32, readModel, toFloat32, writeModel } from '../../src/graph/index.ts';
import { gather } from '../../src/graph/tensor.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { outputError } from '../support/output-error.ts';
import { noise, outputs, prune } from './fixtures.ts';

const UNITS = 16;

/** Both directions of a layer that remembers, of which the last state of each is read. */
function network(seed = 4): Uint8Array {
  const b = new OnnxBuilder({ seed });
  const x = b.node('Transpose', [b.input([12, 6])], { perm: [1, 0, 2] }, { channels: 6 });
  const weights = [[6], [UNITS], []].map((dims, i) => b.weight([2, (i < 2 ? 4 : 8) * UNITS, ...dims], 0.5));
  const attributes = { hidden_size: UNITS, direction: 'bidirectional' };
  const [, last] = b.nodes('LSTM', [x, ...weights], attributes, { outputs: 2, channels: UNITS });
  const both = b.node('Transpose', [last], { perm: [1, 0, 2] }, { channels: UNITS });
  return b.output(b.gemm(b.reshape(both, [0, 2 * UNITS], 2 * UNITS), 4)).build();
}

test('recurrent weights of the units that stay make up for those that go', async () => {
  const [calibration, unseen] = [await noise(96, [12, 6]), await noise(64, [12, 6], 9)];
  const bytes = network();
  const { written, report } = await prune(bytes, calibration, { target: 'dense' });
  expect(report.maxDifference).toBeLessThan(1e-5);
  const [{ kept }] = report.layers;
  expect(kept.length).toBe(UNITS / 2);

  const [dense, refitted] = [await readModel(bytes), await readModel(written.model)];
  const [from, to] = [dense, refitted].map((model) => model.nodes.find(({ opType }) => opType === 'LSTM')!);
  const rows = [0, 1, 2, 3].flatMap((gate) => kept.map((unit) => gate * UNITS + unit));
  const R = gather(gather(dense.tensors.get(from.input[2])!, 1, rows), 2, kept);
  const B = gather(dense.tensors.get(from.input[3])!, 1, [...rows, ...rows.map((row) => 4 * UNITS + row)]);
  const asBefore = refitted.clone();
  for (const [i, tensor] of [R, B].entries()) {
    const name = to.input[2 + i];
    asBefore.tensors.set(name, fromFloat32(toFloat32(tensor), tensor.dims, refitted.tensors.get(name)!));
  }
  const wanted = await outputs(bytes, unseen);
  const tensor = (data: Float32Array) => [{ dims: [unseen.size, 4], data }];
  const errorOf = async (model: Uint8Array) =>
    outputError(tensor(wanted), tensor(await outputs(model, unseen)));
  expect(await errorOf(written.model)).toBeLessThan(0.8 * (await errorOf(writeModel(asBefore).model)));
});

test('recurrent weights are fitted once more to what the layer gives with those that were fitted', async () => {
  const [calibration, unseen] = [await noise(96, [12, 6]), await noise(64, [12, 6], 9)];
  const tensor = (data: Float32Array) => [{ dims: [unseen.size, 4], data }];
  let total = 0;
  for (const seed of [4, 5, 6]) {
    const bytes = network(seed);
    const { written } = await prune(bytes, calibration, { target: 'dense' });
    const given = [await outputs(bytes, unseen), await outputs(written.model, unseen)] as const;
    total += outputError(tensor(given[0]), tensor(given[1]));
  }
  expect(total).toBeLessThan(0.9); // 0.878; fitted once 0.920
});
