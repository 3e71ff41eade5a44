import { expect, test } from 'vitest';
import { pinnedOf } from '../../src/pipeline/models/pinned.ts';
import { sharesOf } from '../../src/pipeline/models/shares.ts';
import { openModel } from '../../src/pipeline/open/open.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { engine } from './fixtures.ts';

function network(): Uint8Array {
  const b = new OnnxBuilder({ seed: 2 });
  const x = b.conv(b.input([3, 8, 8]), 8, 3);
  const y = b.relu(b.add(b.conv(b.relu(b.conv(x, 6, 3)), 8, 3), x));
  const normal = [0, 1].map((i) => b.node('CumSum', [b.conv(y, 4 + i, 1), b.index(1)]));
  const wide = b.node('Concat', normal, { axis: 1 }, { channels: 9 });
  return b.output(b.gemm(b.flatten(b.globalAveragePool(wide)), 5)).build();
}

test('what stays is told by kind, with what hangs on that alone and what would help', async () => {
  const opened = await openModel(network(), { engine });
  const [residual, ...others] = pinnedOf(opened);
  // The stem, and all of the layers before CumSum, whose inputs are the stream: the block's layers have channels that can go.
  expect(residual).toMatchObject({
    reason: 'residual stream',
    structures: 1,
    share: { macs: 64 * (8 * 27 + 9 * 8), parameters: 8 * 27 + 8 + 8 + 9 * 8 },
  });
  expect(residual.help).toContain('--residual');
  expect(others.map(({ reason, structures, share }) => [reason, structures, share.macs])).toEqual([
    ['CumSum sums over it', 2, 64 * 9 * 8],
    ['it is the graph output …', 1, 9 * 5],
  ]);
});

test('a stream that other reasons hold too is told by these', async () => {
  const b = new OnnxBuilder();
  const x = b.conv(b.input([3, 8, 8]), 8, 3);
  const sum = b.add(b.conv(x, 8, 3), x);
  const opened = await openModel(b.output(sum).build(), { engine });
  expect(pinnedOf(opened).map(({ reason }) => reason)).toEqual(['it is the graph output …']);
});

test('what hangs on channels is what the model has: no biases that layers may be given', async () => {
  const b = new OnnxBuilder();
  const y = b.conv(b.relu(b.conv(b.input([3, 8, 8]), 8, 3, { bias: false })), 4, 3, { bias: false });
  const opened = await openModel(b.output(y).build(), { engine });
  const { all, kinds } = sharesOf(opened);
  expect(all.parameters).toBe(9 * (3 * 8 + 8 * 4));
  expect(kinds.get('channel')!.parameters).toBe(all.parameters);
  expect(pinnedOf(opened).map(({ share }) => share.parameters)).toEqual([0]);
});
