// A description as graphs. Building needs no weights: they are declared, and read when the graph is loaded.

import type { GraphBuilder } from '../../graph/index.ts';
import { attention, type Context } from './attention.ts';
import { fixedContext, openContext } from './context.ts';
import { linear, mlp, norm } from './layers.ts';
import type { BlockSizes, Description } from './types.ts';
import { WeightGraph } from './weights.ts';

/** What is the same for all graphs of a model. */
export interface Plan {
  readonly description: Description;
  /** Before the names of tensors, as the checkpoint has it. */
  readonly prefix: string;
}

export function embeddingGraph(plan: Plan, length: number): WeightGraph {
  const { description } = plan;
  const g = new WeightGraph();
  const ids = g.input('input_ids', 'int64', ['batch', length]);
  const positions = g.integers(
    Array.from({ length }, (_, i) => i + (description.embedding.positions?.offset ?? 0)),
  );
  g.output(embed(g, plan, ids, positions), 'hidden', 'float32', ['batch', length, description.hidden]);
  return g;
}

export function blockGraph(plan: Plan, i: number, sizes: BlockSizes, length: number): WeightGraph {
  const g = new WeightGraph();
  const dims = ['batch', length, plan.description.hidden];
  const x = g.input('hidden', 'float32', dims);
  g.output(block(g, plan, i, sizes, x, fixedContext(g, length)), 'hidden_out', 'float32', dims);
  return g;
}

export function headGraph(plan: Plan): WeightGraph {
  const { hidden, vocabulary } = plan.description;
  const g = new WeightGraph();
  const x = g.input('hidden', 'float32', ['batch', 'sequence', hidden]);
  g.output(head(g, plan, x), 'logits', 'float32', ['batch', 'sequence', vocabulary]);
  return g;
}

export function wholeGraph(plan: Plan, sizes: readonly BlockSizes[], past: boolean): WeightGraph {
  const { description } = plan;
  const { vocabulary, headDim } = description;
  const g = new WeightGraph();
  const ids = g.input('input_ids', 'int64', ['batch_size', 'sequence_length']);
  const tokens = extent(g, ids, 1);
  let total = tokens;
  let attentionMask: string | undefined;
  let positions: string;
  const earlier = sizes.map(() => ({ key: '', value: '' }));
  if (past) {
    attentionMask = g.input('attention_mask', 'int64', ['batch_size', 'total_sequence_length']);
    positions = g.input('position_ids', 'int64', ['batch_size', 'sequence_length']);
    for (const [i, { kvHeads }] of sizes.entries()) {
      const dims = ['batch_size', kvHeads, 'past_sequence_length', headDim];
      for (const kind of ['key', 'value'] as const) {
        earlier[i][kind] = g.input(`past_key_values.${i}.${kind}`, 'float32', dims);
      }
    }
    total = extent(g, attentionMask, 1);
  } else {
    const range = g.node('Range', [g.integers(0), g.node('Squeeze', [tokens]), g.integers(1)]);
    positions = g.node('Unsqueeze', [range, g.integers([0])]);
  }
  const context = openContext(g, { positions, tokens, total, attentionMask });
  const offset = description.embedding.positions?.offset ?? 0;
  const rows = offset === 0 ? positions : g.node('Add', [positions, g.integers(offset)]);
  const kept: [name: string, value: string, dims: (string | number)[]][] = [];
  let x = embed(g, plan, ids, rows);
  for (const [i, size] of sizes.entries()) {
    const extend = (kind: 'key' | 'value', value: string) => {
      const all = g.node('Concat', [earlier[i][kind], value], { axis: 2 });
      kept.push([
        `present.${i}.${kind}`,
        all,
        ['batch_size', size.kvHeads, 'total_sequence_length', headDim],
      ]);
      return all;
    };
    x = block(g, plan, i, size, x, past ? { ...context, extend } : context);
  }
  g.output(head(g, plan, x), 'logits', 'float32', ['batch_size', 'sequence_length', vocabulary]);
  for (const [name, value, dims] of kept) g.output(value, name, 'float32', dims);
  return g;
}

/** @param positions  rows of the table of positions, where there is one */
function embed(g: WeightGraph, plan: Plan, ids: string, positions: string): string {
  const { prefix, description } = plan;
  const { width, positions: learned, project } = description.embedding;
  const { hidden, maxPositions } = description;
  let x = g.node('Gather', [tokenTable(g, plan), ids]);
  if (project) x = linear(g, prefix, project, x, { rows: width, columns: hidden });
  if (!learned) return x;
  const tensor = `${prefix}${learned.name}.weight`;
  const dims = [maxPositions + learned.offset, hidden];
  const table = g.weight({ name: tensor, tensor, dims, transposed: false });
  return g.node('Add', [x, g.node('Gather', [table, positions])]);
}

function block(
  g: WeightGraph,
  { description, prefix }: Plan,
  i: number,
  sizes: BlockSizes,
  x: string,
  context: Context,
): string {
  const { hidden, headDim } = description;
  const { order, attentionNorm, mlpNorm, ...parts } = description.block(i);
  const attend = (y: string) => attention(g, prefix, parts.attention, y, { hidden, headDim, sizes, context });
  const think = (y: string) => mlp(g, prefix, parts.mlp, y, { hidden, ffn: sizes.ffn });
  const before = (y: string) => norm(g, prefix, attentionNorm, y, hidden);
  const between = (y: string) => norm(g, prefix, mlpNorm, y, hidden);
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

function head(g: WeightGraph, plan: Plan, x: string): string {
  const { prefix, description } = plan;
  const { hidden, vocabulary, embedding } = description;
  const { norm: last, project, output } = description.head;
  let y = last ? norm(g, prefix, last, x, hidden) : x;
  if (project) y = linear(g, prefix, project, y, { rows: hidden, columns: embedding.width });
  const name = output ?? prefix + embedding.tokens;
  if (!output && g.parameters.has(`${name}.weight`)) {
    // tied, and the embedding is in this graph too: one tensor in the file
    return g.node('MatMul', [y, g.node('Transpose', [tokenTable(g, plan)], { perm: [1, 0] })]);
  }
  const sizes = { rows: embedding.width, columns: vocabulary };
  return linear(g, '', { name, bias: false, stored: 'out-in' }, y, sizes);
}

function tokenTable(g: WeightGraph, { prefix, description }: Plan): string {
  const { tokens, width } = description.embedding;
  const tensor = `${prefix}${tokens}.weight`;
  return g.weight({ name: tensor, tensor, dims: [description.vocabulary, width], transposed: false });
}

/** The extent of one axis, as a list of one. */
function extent(g: GraphBuilder, value: string, axis: number): string {
  return g.node('Shape', [value], { start: axis, end: axis + 1 });
}
