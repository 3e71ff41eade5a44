// A model with an operator of the user's, which his engine runs and he describes.

import { expect, test } from 'vitest';
import type { Engine } from '../../src/engine/index.ts';
import { type Operator, readModel, unary, writeModel } from '../../src/graph/index.ts';
import { openModel, prune } from '../../src/pipeline/index.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { noise, engine as plain, session } from './fixtures.ts';

const domain = 'my.domain';
const wave: Operator = { domain, name: 'Wave', kind: 'pass', rule: unary, macs: () => 1000 };

/** Runs Wave as a sine. */
const engine: Engine = {
  name: 'with waves',
  async load(bytes, external) {
    const model = await readModel(bytes);
    for (const node of model.nodes.filter((node) => node.domain === domain)) {
      node.opType = 'Sin';
      node.domain = '';
    }
    return plain.load(writeModel(model).model, external);
  },
};

const bytes = () => {
  const b = new OnnxBuilder();
  const x = b.node('Wave', [b.conv(b.input([3, 8, 8]), 6, 3)], {}, { domain });
  return b.output(b.gemm(b.flatten(b.globalAveragePool(x)), 5)).build();
};

test('is pruned where the operator is described, and is not where it is not', async () => {
  const unknown = await openModel(bytes(), { engine });
  expect(unknown.analysis.structures[0].reason).toMatch(/^Wave ".*" cannot be seen through$/);

  const opened = await openModel(bytes(), { engine, operators: [wave] });
  expect(opened.macs - unknown.macs).toBe(1000);
  const calibration = await noise(20, [3, 8, 8]);
  const { written, report } = await prune(opened, { engine, session, calibration, keep: 0.5 });
  expect(report.layers.map(({ groups, kept }) => [groups, kept.length])).toEqual([[6, 3]]);
  const { nodes } = await readModel(written.model);
  expect(nodes.map(({ domain, opType }) => [domain, opType])[1]).toEqual([domain, 'Wave']);
});
