import { describe, expect, test } from 'vitest';
import { countParameters, onlyOutputs, readModel, withoutUnread } from '../../src/graph/index.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';

/** A stem that is given too, the main result behind it, and one beside that. */
function several(): Promise<Awaited<ReturnType<typeof readModel>>> {
  const b = new OnnxBuilder();
  const stem = b.relu(b.conv(b.input([3, 8, 8]), 6, 3));
  const main = b.gemm(b.flatten(b.globalAveragePool(stem)), 4);
  const side = b.conv(b.relu(b.conv(stem, 5, 1)), 1, 1);
  return readModel(b.output(side, 'side').output(main, 'main').output(stem, 'stem').build());
}

describe('outputs that stay', () => {
  test('have what leads to them, and constants that are read there', async () => {
    const model = await several();
    const [nodes, tensors] = [model.nodes.length, model.tensors.size];
    const main = onlyOutputs(model, ['main']);
    expect(main.outputs.map(({ name }) => name)).toEqual(['main']);
    expect(main.nodes.map(({ opType }) => opType).filter((it) => it === 'Conv')).toHaveLength(1);
    expect(main.tensors.size).toBe(tensors - 4);
    expect([model.nodes.length, model.tensors.size, model.outputs.length]).toEqual([nodes, tensors, 3]);
  });

  test('stay in the order of the model', async () => {
    const model = onlyOutputs(await several(), ['stem', 'main', 'stem']);
    expect(model.outputs.map(({ name }) => name)).toEqual(['main', 'stem']);
  });

  test('may be values of nodes, behind those of the model, and have what leads to these', async () => {
    const model = await several();
    const pooled = model.nodes.find(({ opType }) => opType === 'GlobalAveragePool')!.output[0];
    const { outputs, nodes } = onlyOutputs(model, [pooled, 'stem', pooled]);
    expect(outputs.map(({ name }) => name)).toEqual(['stem', pooled]);
    expect(nodes.map(({ opType }) => opType)).toEqual(['Conv', 'Relu', 'GlobalAveragePool']);
  });

  test.each([
    [['logits'], 'got "logits"'],
    [['main', 'x'], 'got "x"'],
    [[], 'got none'],
  ])('are known: %j is refused', async (names, message) => {
    const model = await several();
    expect(() => onlyOutputs(model, names)).toThrow(
      `\`outputNames\`: expected some of its outputs (side, main, stem) or of the values of its nodes, ${message}`,
    );
  });
});

describe('what leads to no output', () => {
  test('goes, with its weights and what leads to it alone', async () => {
    const b = new OnnxBuilder();
    const x = b.relu(b.conv(b.input([3, 8, 8]), 6, 3));
    b.relu(b.conv(b.conv(x, 5, 1), 7, 1));
    const model = await readModel(b.output(b.conv(x, 4, 1)).build());
    const { nodes, tensors } = withoutUnread(model);
    expect(nodes.map(({ opType }) => opType)).toEqual(['Conv', 'Relu', 'Conv']);
    expect([model.nodes.length, model.tensors.size - tensors.size]).toEqual([6, 4]);
  });

  test('goes where it is a constant that nothing reads, and is not among the parameters', async () => {
    const b = new OnnxBuilder();
    const x = b.conv(b.input([3, 8, 8]), 6, 3, { bias: false });
    b.weight([50, 50], 1);
    const model = await readModel(b.output(x).build());
    expect([countParameters(model), countParameters(withoutUnread(model))]).toEqual([2662, 162]);
  });

  test('is not looked for twice: a model without it is the same', async () => {
    const model = await several();
    expect(withoutUnread(model)).toBe(model);
  });
});
