import { describe, expect, test } from 'vitest';
import type { FloatTensor } from '../../src/engine/index.ts';
import { distanceFor } from '../../src/pipeline/allocate/score.ts';
import { hits, windowLosses } from '../../src/pipeline/measure/evaluate.ts';
import { fidelityOf } from '../../src/pipeline/measure/fidelity.ts';
import type { Outputs } from '../../src/pipeline/measure/outputs.ts';
import type { Run } from '../../src/pipeline/run.ts';

const tensor = (dims: number[], values: number[]) => ({ dims, data: Float32Array.from(values) });

describe('windowLosses', () => {
  test('are means of the negative log likelihood of every token but the first of each window', () => {
    // vocabulary of 2: scores (0, ln 3) give token 1 three quarters
    const row = [0, Math.log(3)];
    const logits = tensor([2, 3, 2], Array(6).fill(row).flat());
    const ids = tensor([2, 3], [0, 1, 1, 1, 0, 1]);
    const [a, b] = windowLosses(logits, ids, 2);
    expect(a).toBeCloseTo(-Math.log(0.75), 6);
    expect(b).toBeCloseTo(-(Math.log(0.75) + Math.log(0.25)) / 2, 6);
    const first = tensor([1, 3, 2], Array(3).fill(row).flat());
    expect(windowLosses(first, ids, 1)).toHaveLength(1);
  });

  test('does not overflow on large scores', () => {
    const logits = tensor([1, 2, 2], [1e4, 0, 1e4, 0]);
    expect(windowLosses(logits, tensor([1, 2], [0, 0]), 1)).toEqual([0]);
    expect(windowLosses(logits, tensor([1, 2], [0, 1]), 1)).toEqual([1e4]);
  });

  test('refuses tokens outside the vocabulary', () => {
    const logits = tensor([1, 2, 2], [0, 0, 0, 0]);
    expect(() => windowLosses(logits, tensor([1, 2], [0, 2]), 1)).toThrow('token 2 is outside');
  });
});

test('the distance of texts is the mean divergence over the positions of a window, whatever scores are raised by', () => {
  const distance = distanceFor({ chain: { predictsTokens: true } } as Run);
  const [even, odd] = [
    [0, 0],
    [0, Math.log(3)],
  ];
  // Two windows of two positions, and one that is padding.
  const dense = tensor([3, 2, 2], [odd, even, odd, odd, even, even].flat());
  const to = distance(dense, 3, 2);
  const raised = odd.map((it) => it + 50);
  const pruned = tensor([3, 2, 2], [even, even, raised, even, odd, odd].flat());
  const divergence = 0.25 * Math.log(0.5) + 0.75 * Math.log(1.5);
  const [a, b] = to(pruned);
  expect(a).toBeCloseTo(divergence / 2, 6);
  expect(b).toBeCloseTo(divergence / 2, 6);
  expect(to(dense)).toEqual([0, 0]);
});

describe('hits', () => {
  const scores = tensor([2, 3], [0, 2, 1, 3, 1, 2]);

  test('are samples whose largest score is at their label', () => {
    expect(hits(scores, Int32Array.of(1, 2), 2)).toEqual([true, false]);
  });

  test.each([-1, 3])('refuse label %i of three classes', (label) => {
    expect(() => hits(scores, Int32Array.of(1, label), 2)).toThrow(
      `label ${label} is outside the model's 3 classes`,
    );
  });
});

describe('fidelityOf', () => {
  const input = {
    name: 'input',
    type: 'float32',
    shape: [2],
    open: [false],
    fixedBatch: 0,
    others: [],
  } as const;
  const images = { input, predictsTokens: false };
  const texts = { ...images, input: { ...input, type: 'int64' } } as const;
  /** Batches of one sample, of outputs by name. */
  async function* batches(...samples: Readonly<Record<string, FloatTensor>>[]): AsyncGenerator<Outputs> {
    for (const values of samples)
      yield { batch: { count: 1 } as Outputs['batch'], values: new Map(Object.entries(values)) };
  }
  const row = (...values: number[]) => tensor([1, values.length], values);

  test('sums errors over samples, and gives the mean of their cosines', async () => {
    const [dense, pruned] = [
      batches({ y: row(3, 4) }, { y: row(0, 2) }),
      batches({ y: row(3, 0) }, { y: row(0, 2) }),
    ];
    const { relativeError, cosine, samples } = await fidelityOf(images, dense, pruned);
    expect(relativeError).toBeCloseTo(Math.sqrt(16 / 29), 12);
    expect(cosine).toBeCloseTo((0.6 + 1) / 2, 12);
    expect(samples).toBe(2);
  });

  test('is the mean over outputs, of which those that are all 0 stay alike or do not', async () => {
    const none = row(0, 0);
    const dense = batches({ a: none, b: none, c: row(1, 0) });
    const pruned = batches({ a: none, b: row(0.3, 0.4), c: row(0, 1) });
    const { relativeError, cosine } = await fidelityOf(images, dense, pruned);
    expect(relativeError).toBeCloseTo((0 + 0.5 + Math.SQRT2) / 3, 6);
    expect(cosine).toBeCloseTo((1 + 0 + 0) / 3, 12);
  });

  test('averages features over tokens, and no scores of next tokens', async () => {
    const [y, z] = [
      [1, 0, 0, 1],
      [0, 1, 1, 0],
    ].map((values) => ({ y: tensor([1, 2, 2], values) }));
    const of = (chain: Parameters<typeof fidelityOf>[0]) => fidelityOf(chain, batches(y), batches(z));
    expect(await of(texts)).toEqual({ relativeError: 0, cosine: 1, samples: 1 });
    const [a, b] = [row(1, 0), row(0, 1)].map((pooled) => batches({ pooled }));
    expect(await fidelityOf(texts, a, b)).toMatchObject({ relativeError: Math.SQRT2, cosine: 0 });
    for (const chain of [images, { ...texts, predictsTokens: true }])
      expect(await of(chain)).toEqual({ relativeError: Math.SQRT2, cosine: 0, samples: 1 });
  });
});
