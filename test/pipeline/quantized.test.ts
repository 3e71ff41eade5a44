import { expect, test } from 'vitest';
import { dequantizedText, GraphBuilder, writeModel } from '../../src/graph/index.ts';
import {
  type OpenedModel,
  openModel,
  type PruneReport,
  prune as pruneModel,
} from '../../src/pipeline/index.ts';
import { randomValue } from '../graph/running.ts';
import { engine, noise, session } from './fixtures.ts';

/** Two convolutions and a classifier. @param step  of values that are rounded to 8 bits, as the weights are; none: all are floats */
async function network(step?: number): Promise<OpenedModel> {
  const g = new GraphBuilder();
  const zero = () => g.tensor({ name: 'zero', type: 'uint8', dims: [], bytes: Uint8Array.of(128) });
  const rounded = (value: string) => {
    if (step === undefined) return value;
    const places = [g.scalar(step), zero()];
    return g.node('DequantizeLinear', [g.node('QuantizeLinear', [value, ...places]), ...places]);
  };
  const weight = (name: string, dims: readonly number[]) => {
    const steps = randomValue(dims, dims[0]).data.map((x) => Math.round(127 * x));
    if (step === undefined)
      return g.floats(
        name,
        steps.map((x) => x / 500),
        dims,
      );
    const bytes = new Uint8Array(Int8Array.from(steps).buffer);
    return g.node('DequantizeLinear', [g.tensor({ name, type: 'int8', dims, bytes }), g.scalar(1 / 500)]);
  };
  let x = rounded(g.input('x', 'float32', ['n', 3, 8, 8]));
  x = rounded(g.node('Relu', [rounded(g.node('Conv', [x, weight('W1', [12, 3, 3, 3])], {}, 'first'))]));
  x = rounded(g.node('Relu', [rounded(g.node('Conv', [x, weight('W2', [16, 12, 3, 3])], {}, 'second'))]));
  x = g.node('Flatten', [g.node('GlobalAveragePool', [x])]);
  g.output(g.node('MatMul', [x, weight('W3', [16, 10])], {}, 'head'), 'y', 'float32', ['n', 10]);
  return openModel(writeModel(g.build('network')).model, { engine });
}

const pruned = async (opened: OpenedModel) =>
  pruneModel(opened, { engine, session, calibration: await noise(32, [3, 8, 8]), keep: 0.5, target: 'self' });

test('a quantized file is pruned as the network of floats that it stands for, and says so', async () => {
  const [floats, whole] = [await network(), await network(0.03)];
  expect([floats.dequantized, whole.dequantized]).toEqual([false, true]);
  expect(whole.quantized).toEqual([]);
  const structures = ({ analysis }: OpenedModel) =>
    analysis.structures.map(({ layer, groups, prunable }) => ({ layer, groups, prunable }));
  expect(structures(whole)).toEqual(structures(floats));
  expect([whole.parameters, whole.macs]).toEqual([floats.parameters, floats.macs]);
  const [one, other] = [await pruned(floats), await pruned(whole)];
  const isToldIn = ({ warnings }: PruneReport) => warnings.includes(dequantizedText('int8'));
  expect([one, other].map(({ report }) => isToldIn(report))).toEqual([false, true]);
  expect([one, other].map(({ report }) => report.weights)).toEqual([undefined, 'int8']);
  expect(other.report.parameters.after).toBe(one.report.parameters.after);
  expect(other.report.bytes.before).toBeLessThan(one.report.bytes.before / 2);
});

test('one that gives other outputs than that is refused, with what to do', async () => {
  const cut = await network(0.001); // numbers above 0.13 are 0.13
  await expect(pruned(cut)).rejects.toMatchObject({
    code: 'ERR_OSSCAR_INPUT',
    message: expect.stringMatching(
      /it is quantized, and differs from the network of floats that it stands for by \S+ of its output range, more than 0.5: prune the float model/,
    ),
  });
});
