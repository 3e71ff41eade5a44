import { expect, test } from 'vitest';
import { openModel, prune as pruneModel } from '../../src/pipeline/index.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { engine, noise, session } from './fixtures.ts';

/** The places of the highest of 64 scores that differ by some last bits. */
function detector(): Uint8Array {
  const b = new OnnxBuilder();
  const hidden = b.relu(b.gemm(b.relu(b.gemm(b.input([12]), 48)), 32));
  const scores = b.add(b.mul(b.gemm(hidden, 64), b.floats([1e-6], [])), b.floats([1], []));
  const [, indices] = b.nodes('TopK', [scores, b.integers([8])], { axis: 1 }, { outputs: 2, channels: 8 });
  return b.output(b.node('Cast', [indices], { to: 1 }), 'places').build();
}

test('a network that selects is compared and measured by what it selects from', async () => {
  const opened = await openModel(detector(), { engine });
  expect(opened.measured).toEqual([expect.stringMatching(/^add_/)]);
  const calibration = await noise(128, [12]);
  const { report, written } = await pruneModel(opened, { engine, session, calibration, keep: 0.5 });
  expect(report.maxDifference).toBeLessThan(1e-3);
  expect(report.quality?.relativeError).toBeLessThan(1e-5); // of places it would be near 1
  const small = await engine.load(written.model);
  expect(small.outputs.map(({ name }) => name)).toEqual(['places']);
  await small.release();
});
