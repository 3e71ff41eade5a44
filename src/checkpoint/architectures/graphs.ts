// A description as graphs. Building needs no weights: they are declared, and read when the graph is loaded.

import { fixedContext, openContext } from './context.ts';
import { attention, type Context, linear, mlp, norm } from './layers.ts';
import type { BlockSizes, Description } from './types.ts';
import type { WeightGraph } from './weights.ts';

export function embeddingGraph(g: WeightGraph, description: Description, length: number): WeightGraph {
  const ids = g.input('input_ids', 'int64', ['batch', length]);
  const offset = description.embedding.positions?.offset ?? 0;
  const positions = g.integers(Array.from({ length }, (_, i) => i + offset));
  const x = embed(g, description, ids, positions);
  g.output(x, 'hidden', 'float32', ['batch', length, description.hidden]);
  return g;
}

export function blockGraph(
  g: WeightGraph,
  description: Description,
  i: number,
  sizes: BlockSizes,
  length: number,
): WeightGraph {
  const dims = ['batch', length, description.hidden];
  const x = g.input('hidden', 'float32', dims);
  const y = block(g, description, i, sizes, x, fixedContext(g, length));
  g.output(y, 'hidden_out', 'float32', dims);
  return g;
}

export function headGraph(g: WeightGraph, description: Description): WeightGraph {
  const { hidden, vocabulary } = description;
  const x = g.input('hidden', 'float32', ['batch', 'sequence', hidden]);
  g.output(head(g, description, x), 'logits', 'float32', ['batch', 'sequence', vocabulary]);
  return g;
}

export function wholeGraph(
  g: WeightGraph,
  description: Description,
  sizes: readonly BlockSizes[],
  past: boolean,
): WeightGraph {
  const { vocabulary, headDim } = description;
  const width = (value: string) => g.node('Shape', [value], { start: 1, end: 2 }); // of its axis 1, as a list
  const ids = g.input('input_ids', 'int64', ['batch_size', 'sequence_length']);
  const tokens = width(ids);
  let total = tokens;
  let attentionMask: string | undefined;
  let positions: string;
  if (past) {
    attentionMask = g.input('attention_mask', 'int64', ['batch_size', 'total_sequence_length']);
    positions = g.input('position_ids', 'int64', ['batch_size', 'sequence_length']);
    for (const [i, { kvHeads }] of sizes.entries()) {
      const dims = ['batch_size', kvHeads, 'past_sequence_length', headDim];
      for (const kind of ['key', 'value']) g.input(`past_key_values.${i}.${kind}`, 'float32', dims);
    }
    total = width(attentionMask);
  } else {
    const range = g.node('Range', [g.integers(0), g.node('Squeeze', [tokens]), g.integers(1)]);
    positions = g.node('Unsqueeze', [range, g.integers([0])]);
  }
  const context = openContext(g, { positions, tokens, total, attentionMask });
  const offset = description.embedding.positions?.offset ?? 0;
  const rows = offset === 0 ? positions : g.node('Add', [positions, g.integers(offset)]);
  const kept: { value: string; name: string; dims: (string | number)[] }[] = [];
  let x = embed(g, description, ids, rows);
  for (const [i, size] of sizes.entries()) {
    const dims = ['batch_size', size.kvHeads, 'total_sequence_length', headDim];
    const extend = (kind: 'key' | 'value', recent: string) => {
      const value = g.node('Concat', [`past_key_values.${i}.${kind}`, recent], { axis: 2 });
      kept.push({ value, name: `present.${i}.${kind}`, dims });
      return value;
    };
    x = block(g, description, i, size, x, past ? { ...context, extend } : context);
  }
  g.output(head(g, description, x), 'logits', 'float32', ['batch_size', 'sequence_length', vocabulary]);
  for (const { value, name, dims } of kept) g.output(value, name, 'float32', dims);
  return g;
}

/** @param positions  rows of the table of positions, where there is one */
function embed(g: WeightGraph, description: Description, ids: string, positions: string): string {
  const { hidden, vocabulary, maxPositions, embedding } = description;
  const { width, positions: learned, project } = embedding;
  const tokens = g.weight(`${g.prefix}${embedding.tokens}.weight`, [vocabulary, width]);
  let x = g.node('Gather', [tokens, ids]);
  if (project) x = linear(g, project, x, width, hidden);
  if (!learned) return x;
  const table = g.weight(`${g.prefix}${learned.name}.weight`, [maxPositions + learned.offset, hidden]);
  return g.node('Add', [x, g.node('Gather', [table, positions])]);
}

function block(
  g: WeightGraph,
  description: Description,
  i: number,
  sizes: BlockSizes,
  x: string,
  context: Context,
): string {
  const { hidden } = description;
  const { order, attentionNorm, mlpNorm, ...parts } = description.block(i);
  const attend = (y: string) => attention(g, parts.attention, y, description, sizes, context);
  const think = (y: string) => mlp(g, parts.mlp, y, hidden, sizes.ffn);
  const before = (y: string) => norm(g, attentionNorm, y, hidden);
  const between = (y: string) => norm(g, mlpNorm, y, hidden);
  const add = (a: string, b: string) => g.node('Add', [a, b]);
  switch (order) {
    case 'pre': {
      const y = add(x, attend(before(x)));
      return add(y, think(between(y)));
    }
    case 'post': {
      const y = before(add(x, attend(x)));
      return between(add(y, think(y)));
    }
    case 'parallel':
      return add(add(x, attend(before(x))), think(between(x)));
  }
}

function head(g: WeightGraph, description: Description, x: string): string {
  const { hidden, vocabulary, embedding } = description;
  const { norm: last, project, output } = description.head;
  let y = last ? norm(g, last, x, hidden) : x;
  if (project) y = linear(g, project, y, hidden, embedding.width);
  const name = output ?? g.prefix + embedding.tokens;
  const tensor = `${name}.weight`;
  if (!output && g.parameters.has(tensor)) {
    // tied, and the embedding is in this graph too: one tensor in the file
    return g.node('MatMul', [y, g.node('Transpose', [tensor], { perm: [1, 0] })]);
  }
  const weight = g.weight(tensor, [embedding.width, vocabulary], { transposed: true });
  return g.node('MatMul', [y, weight], {}, name);
}
