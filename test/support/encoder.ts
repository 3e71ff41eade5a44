// A small encoder of text: ids and a mask to features of every token.

import { OnnxBuilder } from './onnx-builder.ts';

export function encoder({
  dims = ['n', 't'] as readonly (number | string)[],
  vocabulary = 40,
} = {}): Uint8Array {
  const b = new OnnxBuilder();
  const ids = b.feed('input_ids', dims, 'int64');
  const mask = b.feed('attention_mask', dims, 'int64');
  const x = b.node('Gather', [b.weight([vocabulary, 16], 1), ids], {}, { channels: 16 });
  const kept = b.node('Unsqueeze', [b.node('Cast', [mask], { to: 1 }), b.integers([2])]);
  const h = b.relu(b.matmul(b.mul(x, kept), 24));
  return b.output(b.matmul(h, 8), 'last_hidden_state').build();
}
