// Networks with an If.

import { OnnxBuilder } from './onnx-builder.ts';

type Layers = (b: OnnxBuilder, x: string) => string;

/** An If whose branches are layers, of other weights, behind a value of 8 features. */
export function either(
  b: OnnxBuilder,
  condition: string,
  x: string,
  then: Layers,
  otherwise: Layers,
): string {
  const [then_branch, else_branch] = [then, otherwise].map((layers, i) => {
    const own = new OnnxBuilder({ seed: 5 + i });
    return { graph: own.output(layers(own, own.input([8], x))).graph() };
  });
  return b.node('If', [condition], { then_branch, else_branch }, { channels: 8 });
}

export const twoLayers: Layers = (b, x) => b.gemm(b.relu(b.gemm(x, 12)), 8);
export const same: Layers = (b, x) => b.node('Identity', [x]);

/** Of a sample rate that is given with every sample. */
export function byRate(): Uint8Array {
  const b = new OnnxBuilder();
  const rate = b.feed('sr', [], 'int64');
  const x = b.node('Identity', [b.input([8])]);
  const is16k = b.node('Equal', [rate, b.index(16000)], {}, { channels: 1 });
  return b.output(b.relu(either(b, is16k, x, twoLayers, twoLayers)), 'y').build();
}
