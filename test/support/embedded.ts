// A language model as transformers.js has those that see images or hear: what makes of tokens what stands for them is a file of its own, and the decoder
// reads that.

import { describe } from '../../src/checkpoint/architectures/index.ts';
import { openCheckpoint } from '../../src/checkpoint/index.ts';
import { openFolder } from '../../src/disk/folder.ts';
import { valueInfo } from '../../src/graph/build.ts';
import { type Model, toFloat32, writeModel } from '../../src/graph/index.ts';
import { nodeOf } from '../../src/graph/stored.ts';
import { fromFloat32 } from '../../src/graph/tensor.ts';
import { OnnxBuilder } from './onnx-builder.ts';

const AXES = ['batch_size', 'sequence_length'];
/** What the embedding gives of a token beside what stands for it, as Gemma 3n's does: so many lists of so many features. */
const [LISTS, FEATURES] = [2, 4];

/**
 * @param withLists  whether the decoder takes these, and the number of tokens that scores are asked of
 */
export async function embeddedModel(path: string, { withLists = false } = {}) {
  const folder = await openFolder(path);
  try {
    const checkpoint = await openCheckpoint(folder);
    const language = await describe(checkpoint.config);
    const model = await language.whole(checkpoint, { past: true });
    const whole = writeModel(model).model;
    return { whole, ...apart(model.clone(), withLists) };
  } finally {
    await folder.close();
  }
}

function apart(model: Model, withLists: boolean) {
  const gather = model.nodes.find(({ opType, input }) => opType === 'Gather' && input[1] === 'input_ids')!;
  const table = model.tensors.get(gather.input[0])!;
  const [rows, width] = table.dims;
  const b = new OnnxBuilder({ seed: 3 });
  const ids = b.feed('input_ids', AXES, 'int64');
  b.output(b.node('Gather', [b.floats(toFloat32(table), table.dims), ids]), 'inputs_embeds');
  const given = [valueInfo('inputs_embeds', 'float32', [...AXES, width])];
  // Tokens are counted by what stands for them.
  for (const value of [gather.output[0], 'input_ids']) model.redirect(value, 'inputs_embeds');
  model.remove(new Set([gather]));
  if (withLists) {
    const own = b.node('Gather', [b.weight([rows, LISTS * FEATURES], 1), ids]);
    b.output(b.reshape(own, [0, 0, LISTS, FEATURES]), 'per_layer_inputs');
    given.push(valueInfo('per_layer_inputs', 'float32', [...AXES, LISTS, FEATURES]));
    given.push(valueInfo('num_logits_to_keep', 'int64', []));
    addLists(model, width);
  }
  model.graph.input = [...given, ...model.inputs.filter(({ name }) => name !== 'input_ids')];
  model.edited();
  return { embedding: b.build(), decoder: writeModel(model).model };
}

/** To what stands for a token what a map makes of its lists is added; the last tokens have scores, or all where 0 are asked for. */
function addLists(model: Model, width: number): void {
  const weight = fromFloat32(
    Float32Array.from({ length: LISTS * FEATURES * width }, (_, i) => Math.sin(7 * i) / 100),
    [LISTS * FEATURES, width],
    { name: 'lists.weight', type: 'float32' },
  );
  model.tensors.set(weight.name, weight);
  const [flat, mapped, sum] = ['lists.flat', 'lists.mapped', 'lists.sum'];
  model.redirect('inputs_embeds', sum);
  const head = model.producer('logits')!;
  const [hidden] = head.input;
  const from = ['kept.negative', 'kept.from', 'kept.hidden'];
  const before = [
    nodeOf(model, 'Reshape', ['per_layer_inputs', model.integers('lists.shape', [0, 0, -1])], flat),
    nodeOf(model, 'MatMul', [flat, weight.name], mapped),
    nodeOf(model, 'Add', ['inputs_embeds', mapped], sum),
  ];
  const behind = [
    nodeOf(model, 'Neg', ['num_logits_to_keep'], from[0]),
    nodeOf(model, 'Unsqueeze', [from[0], model.integers('kept.axis', [0])], from[1]),
    nodeOf(
      model,
      'Slice',
      [hidden, from[1], model.integers('kept.end', [2 ** 31 - 1]), model.integers('kept.axes', [1])],
      from[2],
    ),
  ];
  head.input[0] = from[2];
  const at = model.nodes.indexOf(head);
  model.graph.node = [...before, ...model.nodes.slice(0, at), ...behind, ...model.nodes.slice(at)];
  model.edited();
}
