// Pairs of texts in words that are the numbers of tokens, and what is beside the models that read them.

import { VOCABULARY, WIDTH } from './merged.ts';
import { OnnxBuilder } from './onnx-builder.ts';

const word = (id: number) => `w${id}`;
const vocab = Object.fromEntries(Array.from({ length: VOCABULARY }, (_, id) => [word(id), id]));

export const TOKENIZER = JSON.stringify({
  version: '1.0',
  added_tokens: [],
  normalizer: null,
  pre_tokenizer: { type: 'Whitespace' },
  post_processor: null,
  decoder: null,
  model: { type: 'WordLevel', vocab, unk_token: word(0) },
});

export const CONFIG = JSON.stringify({ decoder_start_token_id: 1, eos_token_id: [2] });

interface Pair {
  readonly source: readonly number[];
  readonly target: readonly number[];
}

/** Sources and targets of ids; every other target says its end. */
export const pairs: readonly Pair[] = Array.from({ length: 24 }, (_, i) => ({
  source: Array.from({ length: 2 + (i % 5) }, (_, j) => 3 + ((7 * i + 3 * j) % 17)),
  target: [...Array.from({ length: 3 + (i % 3) }, (_, j) => 3 + ((5 * i + j) % 17)), ...(i % 2 ? [2] : [])],
}));

export const wordsOf = (ids: readonly number[]) => ids.map(word).join(' ');

export const tsv = (of: readonly Pair[]) =>
  of.map(({ source, target }) => `${wordsOf(source)}\t${wordsOf(target)}\n`).join('');

/** Tokens become states as wide as the decoder reads them, with the mean of the text's; and neurons, where there are any. */
export function textEncoder(neurons = 0): Uint8Array {
  const b = new OnnxBuilder({ seed: 4 });
  const ids = b.feed('input_ids', ['batch', 'tokens'], 'int64');
  const mask = b.feed('attention_mask', ['batch', 'tokens'], 'int64');
  const words = b.node('Gather', [b.weight([VOCABULARY, WIDTH], 1), ids]);
  const seen = b.node('Unsqueeze', [b.node('Cast', [mask], { to: 1 }), b.integers([2])]);
  const states = b.node('Mul', [words, seen]);
  const mean = b.node('ReduceMean', [states], { axes: [1], keepdims: 1 });
  const sum = b.add(states, mean);
  if (neurons === 0) return b.output(sum, 'last_hidden_state').build();
  const up = b.relu(b.node('MatMul', [sum, b.weight([WIDTH, neurons], 0.5)], {}, { channels: neurons }));
  const down = b.node('MatMul', [up, b.weight([neurons, WIDTH], 0.5)], {}, { channels: WIDTH });
  return b.output(b.add(sum, down), 'last_hidden_state').build();
}

/** A decoder of one attention to the encoder's states, as Optimum exports those of T5: it asks which of them count. */
export function maskedDecoder(): Uint8Array {
  const b = new OnnxBuilder({ seed: 8 });
  const mask = b.feed('encoder_attention_mask', ['batch_size', 'encoder_sequence_length'], 'int64');
  const ids = b.feed('input_ids', ['batch_size', 'decoder_sequence_length'], 'int64');
  const states = b.feed('encoder_hidden_states', ['batch_size', 'encoder_sequence_length', WIDTH]);
  const table = b.weight([VOCABULARY, WIDTH], 1);
  const product = (x: string, p: number, m: number) => b.node('MatMul', [x, b.weight([p, m], 0.4)]);
  const x = b.node('Gather', [table, ids]);
  const keys = b.node('Transpose', [product(states, WIDTH, 8)], { perm: [0, 2, 1] });
  const counts = b.node('Unsqueeze', [b.node('Cast', [mask], { to: 1 }), b.integers([1])]);
  const scores = b.node('Mul', [b.node('MatMul', [product(x, WIDTH, 8), keys]), counts]);
  const seen = b.node('MatMul', [b.node('Softmax', [scores], { axis: -1 }), product(states, WIDTH, 8)]);
  const sum = b.add(x, product(seen, 8, WIDTH));
  const neurons = b.relu(product(sum, WIDTH, 16));
  const turned = b.node('Transpose', [table], { perm: [1, 0] });
  return b.output(b.node('MatMul', [b.add(sum, product(neurons, 16, WIDTH)), turned]), 'logits').build();
}
