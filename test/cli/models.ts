// Small models for the command line's tests, in the shapes that each test needs.

import { OnnxBuilder } from '../support/onnx-builder.ts';

/** Input 1 × 28 × 28, as the fixture images. Two convolutions, then the classes behind an operator that mixes channels. */
export function opaque(): Uint8Array {
  const b = new OnnxBuilder();
  const x = b.relu(b.conv(b.relu(b.conv(b.input([1, 28, 28]), 8, 3)), 6, 3));
  const mixed = b.node('CumSum', [x, b.index(1)]);
  return b.output(b.gemm(b.flatten(b.globalAveragePool(mixed)), 10)).build();
}

/** Input 1 × 28 × 28, two structures: a stem that a residual block reads, and the inside of the block. */
export function tiny({ channelsLast = false } = {}): Uint8Array {
  const b = new OnnxBuilder({ seed: 5 });
  const image = channelsLast
    ? b.node('Transpose', [b.input([28, 28, 1])], { perm: [0, 3, 1, 2] }, { channels: 1 })
    : b.input([1, 28, 28]);
  const stem = b.relu(b.conv(image, 10, 3, { stride: 2 }));
  const x = b.relu(b.conv(stem, 8, 3, { stride: 2 }));
  const sum = b.add(b.conv(b.relu(b.conv(x, 12, 3)), 8, 3), x);
  return b.output(b.gemm(b.flatten(b.globalAveragePool(b.relu(sum))), 10)).build();
}

/** Input 1 × 28 × 28: the classes, and beside them what their layer reads. */
export function withFeatures(): Uint8Array {
  const b = new OnnxBuilder();
  const features = b.relu(b.conv(b.input([1, 28, 28]), 8, 3));
  const classes = b.gemm(b.flatten(b.globalAveragePool(features)), 10);
  return b.output(classes, 'classes').output(features, 'features').build();
}

/** A .npy file of float32, version 1. */
export function npy(shape: readonly number[], data: Float32Array): Uint8Array {
  const header = `{'descr': '<f4', 'fortran_order': False, 'shape': (${shape.join(', ')},), }`.padEnd(117);
  const start = [0x93, ...Buffer.from('NUMPY'), 1, 0, header.length + 1, 0, ...Buffer.from(`${header}\n`)];
  return Buffer.concat([
    Uint8Array.from(start),
    new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
  ]);
}
