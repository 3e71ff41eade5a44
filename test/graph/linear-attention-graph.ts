// A gated delta rule as Qwen3.5 is exported: single operators, with what is kept of earlier tokens.

import { OnnxBuilder } from '../support/onnx-builder.ts';
import { linear, MICROSOFT, SIZE, WIDTH } from './attention-graphs.ts';

export const [KEYS, VALUES] = [3, 6];
export const EACH = VALUES / KEYS;
export const KERNEL = 4;
/** Of a key head: queries, keys and values side by side. */
export const CHANNELS = KEYS * SIZE * (2 + EACH);

interface Form {
  readonly channelsLast?: boolean;
  readonly keyHeads?: number;
}

/** As Qwen3.5 has it: one projection, convolved, taken apart; queries and keys of length 1; a gate of what comes out. */
export function gatedDelta({ channelsLast = false, keyHeads = KEYS }: Form = {}): OnnxBuilder {
  const b = new OnnxBuilder({ seed: 3 });
  const x = b.sequence(WIDTH);
  const [q, v] = [keyHeads * SIZE, keyHeads * EACH * SIZE];
  const channels = 2 * q + v;
  const turn = (value: string) =>
    channelsLast ? value : b.node('Transpose', [value], { perm: [0, 2, 1] }, { channels });
  const state = b.feed(
    'past_conv.0',
    channelsLast ? ['n', KERNEL - 1, channels] : ['n', channels, KERNEL - 1],
  );
  const weights = [b.weight([channels, 1, KERNEL], 0.5), b.weight([channels], 0.3)];
  const [made, conv] = b.nodes(
    'CausalConvWithState',
    [turn(linear(b, x, channels)), ...weights, state],
    { activation: 'silu', ...(channelsLast && { channels_last: 1 }) },
    { ...MICROSOFT, outputs: 2, channels },
  );
  const [query, key, value] = b.nodes(
    'Split',
    [turn(made), b.integers([q, q, v])],
    { axis: -1 },
    { outputs: 3 },
  );
  const unit = (of: string) => {
    const heads = b.node('Reshape', [of, b.integers([0, 0, -1, SIZE])]);
    return b.reshape(b.node('LpNormalization', [heads], { axis: -1 }), [0, 0, -1], q);
  };
  const heads = keyHeads * EACH;
  const fading = b.node('Neg', [b.node('Softplus', [linear(b, x, heads, true)])]);
  const [mixed, recurrent] = b.nodes(
    'LinearAttention',
    [
      ...[unit(query), unit(key), value],
      b.feed('past_recurrent.0', ['n', heads, SIZE, SIZE]),
      ...[fading, b.node('Sigmoid', [linear(b, x, heads)])],
    ],
    { q_num_heads: keyHeads, kv_num_heads: heads, update_rule: 'gated_delta' },
    { ...MICROSOFT, outputs: 2, channels: v },
  );
  const gated = b.mul(mixed, b.node('Sigmoid', [linear(b, x, v)]));
  b.output(conv, 'present_conv.0', channelsLast ? ['n', KERNEL - 1, channels] : ['n', channels, KERNEL - 1]);
  b.output(recurrent, 'present_recurrent.0', ['n', heads, SIZE, SIZE]);
  return b.output(linear(b, gated, WIDTH), 'y');
}
