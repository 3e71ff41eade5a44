// A merged decoder as Optimum writes it: an If between a decoder that begins with the tokens of a text and one that goes on behind those
// whose keys and values are in caches. Both read the weights of the graph around them.

import type { GraphProto } from '../../src/graph/onnx_pb.ts';
import { type Feed, run, type Value } from '../graph/running.ts';
import { OnnxBuilder } from './onnx-builder.ts';

export const [WIDTH, HEADS, SIZE, NEURONS, VOCABULARY, LAYERS] = [12, 3, 4, 24, 20, 2];
const MOST_TOKENS = 16;
const PARTS = ['decoder.key', 'decoder.value', 'encoder.key', 'encoder.value'];
const CACHES = Array.from({ length: LAYERS }, (_, i) => PARTS.map((part) => `${i}.${part}`)).flat();

type Weights = ReturnType<typeof weightsOf>;

function weightsOf(b: OnnxBuilder) {
  const names: string[] = [];
  const named = (name: string) => names[names.push(name) - 1];
  const dense = (p: number, m: number) => named(b.weight([p, m], Math.sqrt(1 / p)));
  const attention = () => ({
    q: dense(WIDTH, HEADS * SIZE),
    k: dense(WIDTH, HEADS * SIZE),
    v: dense(WIDTH, HEADS * SIZE),
    o: dense(HEADS * SIZE, WIDTH),
  });
  const masked = Array.from({ length: MOST_TOKENS ** 2 }, (_, i) =>
    i % MOST_TOKENS > Math.floor(i / MOST_TOKENS) ? -1e4 : 0,
  );
  return {
    names,
    words: named(b.weight([VOCABULARY, WIDTH], 1)),
    positions: named(b.weight([MOST_TOKENS, WIDTH], 1)),
    layers: Array.from({ length: LAYERS }, () => ({
      own: attention(),
      cross: attention(),
      up: dense(WIDTH, NEURONS),
      bias: named(b.weight([NEURONS], 0.2)),
      down: dense(NEURONS, WIDTH),
    })),
    scores: dense(WIDTH, VOCABULARY),
    mask: named(b.floats(masked, [MOST_TOKENS, MOST_TOKENS])),
  };
}

/** One of the decoders. The second one has no caches of an encoder's states to hand on: it gives what has no element. */
function decoder(weights: Weights, isSecond: boolean): GraphProto {
  const { words, positions, layers, scores, mask } = weights;
  const b = new OnnxBuilder({ seed: 9 });
  const [ids, states] = ['input_ids', 'encoder_hidden_states'];
  for (const value of [ids, states, ...CACHES.map((cache) => `past_key_values.${cache}`), ...weights.names])
    b.feed(value, []);
  const extent = (value: string, axis: number) =>
    b.node('Gather', [b.node('Shape', [value], {}, { channels: 1 }), b.index(axis)], {}, { channels: 1 });
  const tokens = extent(ids, 1);
  const before = isSecond ? extent('past_key_values.0.decoder.key', 2) : b.index(0);
  const all = b.node('Add', [before, tokens], {}, { channels: 1 });
  const list = (value: string) => b.node('Reshape', [value, b.integers([1])], {}, { channels: 1 });
  const places = b.node('Range', [before, all, b.index(1)], {}, { channels: 1 });
  const product = (x: string, weight: string) => b.node('MatMul', [x, weight], {}, { channels: WIDTH });
  const heads = (x: string, weight: string) =>
    b.node('Transpose', [b.reshape(product(x, weight), [0, -1, HEADS, SIZE])], { perm: [0, 2, 1, 3] });
  const attended = (q: string, k: string, v: string, output: string, isOwn: boolean) => {
    const turned = b.node('Transpose', [k], { perm: [0, 1, 3, 2] });
    const products = b.node('MatMul', [q, turned]);
    const rows = [list(before), b.integers([0])];
    const until = [list(all), list(all)];
    const bounds = [rows, until].map((pair) => b.node('Concat', pair, { axis: 0 }, { channels: 1 }));
    const seen = isOwn ? b.add(products, b.node('Slice', [mask, ...bounds], {}, { channels: 1 })) : products;
    const made = b.node('MatMul', [b.node('Softmax', [seen], { axis: -1 }), v]);
    const joined = b.node('Transpose', [made], { perm: [0, 2, 1, 3] });
    return product(b.reshape(joined, [0, -1, HEADS * SIZE]), output);
  };
  let x = b.add(
    b.node('Gather', [words, ids], {}, { channels: WIDTH }),
    b.node('Gather', [positions, places], {}, { channels: WIDTH }),
  );
  const caches: string[] = [];
  for (const [i, { own, cross, up, bias, down }] of layers.entries()) {
    const past = (part: string) => `past_key_values.${i}.${part}`;
    const [k, v] = [own.k, own.v].map((weight, j) => {
      const made = heads(x, weight);
      return isSecond ? b.node('Concat', [past(PARTS[j]), made], { axis: 2 }, { channels: WIDTH }) : made;
    });
    x = b.add(x, attended(heads(x, own.q), k, v, own.o, true));
    const [K, V] = [cross.k, cross.v].map((weight, j) =>
      isSecond ? past(PARTS[2 + j]) : heads(states, weight),
    );
    x = b.add(x, attended(heads(x, cross.q), K, V, cross.o, false));
    x = b.add(x, product(b.relu(b.add(product(x, up), bias)), down));
    const none = () => b.node('Identity', [b.floats([], [0, HEADS, 1, SIZE])], {}, { channels: 1 });
    caches.push(k, v, ...(isSecond ? [none(), none()] : [K, V]));
  }
  b.output(b.node('MatMul', [x, scores]), 'logits');
  for (const [i, cache] of caches.entries()) b.output(cache, `present.${CACHES[i]}`);
  return b.graph();
}

/** Inputs and outputs bear the names and extents that Optimum gives them. */
export function mergedDecoder(): Uint8Array {
  const b = new OnnxBuilder();
  b.feed('input_ids', ['batch_size', 'decoder_sequence_length'], 'int64');
  b.feed('encoder_hidden_states', ['batch_size', 'encoder_sequence_length', WIDTH]);
  const length = (cache: string, more = '') =>
    cache.includes('decoder') ? `past_decoder_sequence_length${more}` : 'encoder_sequence_length_out';
  for (const cache of CACHES) b.feed(`past_key_values.${cache}`, ['batch_size', HEADS, length(cache), SIZE]);
  const condition = b.feed('use_cache_branch', [1], 'bool');
  const weights = weightsOf(b);
  const branches = {
    then_branch: { graph: decoder(weights, true) },
    else_branch: { graph: decoder(weights, false) },
  };
  const [logits, ...caches] = b.nodes('If', [condition], branches, {
    outputs: 1 + CACHES.length,
    channels: WIDTH,
  });
  b.output(logits, 'logits', ['batch_size', 'decoder_sequence_length', VOCABULARY]);
  // PyTorch names the extents that it has not followed.
  const headsOf = (cache: string) => (cache.startsWith('0') ? `heads of ${cache}` : HEADS);
  for (const [i, cache] of CACHES.entries())
    b.output(caches[i], `present.${cache}`, ['batch_size', headsOf(cache), length(cache, ' + 1'), SIZE]);
  return b.build();
}

/**
 * Scores of all positions of a text, the first so many of which are read at once, and the others one by one. The first ones are given
 * caches of no position.
 */
export async function stepped(
  bytes: Uint8Array,
  text: BigInt64Array,
  states: Feed,
  first: number,
): Promise<Value> {
  const none = { dims: [1, HEADS, 0, SIZE], data: new Float32Array() };
  const past: Record<string, Feed> = Object.fromEntries(
    CACHES.map((cache) => [`past_key_values.${cache}`, none]),
  );
  const scores: number[] = [];
  for (let at = 0; at < text.length; ) {
    const end = at === 0 ? first : at + 1;
    const given = await run(bytes, {
      input_ids: { dims: [1, end - at], data: text.slice(at, end) },
      encoder_hidden_states: states,
      use_cache_branch: { dims: [1], data: Uint8Array.of(Number(at > 0)) },
      ...past,
    });
    scores.push(...given.logits.data);
    for (const cache of CACHES)
      if (at === 0 || cache.includes('decoder')) past[`past_key_values.${cache}`] = given[`present.${cache}`];
    at = end;
  }
  return { dims: [1, text.length, VOCABULARY], data: Float32Array.from(scores) };
}
