import { expect, test } from 'vitest';
import { GraphBuilder, quantizedLayers, quantizedText } from '../../src/graph/index.ts';

/** x · W, W of 4 × 3, after a layer whose weights are as they should be. */
function network(weights: (graph: GraphBuilder) => string) {
  const graph = new GraphBuilder();
  const x = graph.input('x', 'float32', ['n', 4]);
  const own = graph.node('MatMul', [x, graph.floats('own', new Float32Array(16), [4, 4])], {}, 'float');
  graph.output(graph.node('MatMul', [own, weights(graph)], {}, 'layer'), 'y', 'float32');
  return graph.build('network');
}

/** Weights as QDQ graphs have them. */
function dequantized(graph: GraphBuilder): string {
  const weights = graph.tensor({ name: 'w', type: 'int8', dims: [3, 4], bytes: new Uint8Array(12) });
  const scaled = graph.node('DequantizeLinear', [weights, graph.scalar(0.5)]);
  return graph.node('Transpose', [scaled], { perm: [1, 0] });
}

test('a layer that reads dequantised constants is found, and told with what to do', () => {
  const found = quantizedLayers(network(dequantized));
  expect(found).toEqual(['layer']);
  expect(quantizedText(found)).toBe(
    'quantized weights ("layer"): prune the float model, then quantise the result',
  );
});

test('float weights, and products of what was dequantised on the way, are none', () => {
  const plain = network((graph) => graph.floats('w', new Float32Array(12), [4, 3]));
  const computed = network((graph) =>
    graph.node('DequantizeLinear', [graph.input('q', 'int8', [4, 3]), graph.scalar(0.5)]),
  );
  for (const model of [plain, computed]) {
    expect(quantizedLayers(model)).toEqual([]);
    expect(quantizedText(quantizedLayers(model))).toBeUndefined();
  }
});

test('operators that take quantised weights themselves are found by their names', () => {
  const graph = new GraphBuilder();
  const x = graph.input('x', 'uint8', ['n', 4]);
  const weights = graph.tensor({ name: 'w', type: 'uint8', dims: [4, 3], bytes: new Uint8Array(12) });
  graph.output(graph.node('MatMulInteger', [x, weights], {}, 'integers'), 'y', 'int32');
  expect(quantizedLayers(graph.build('network'))).toEqual(['integers']);
});
