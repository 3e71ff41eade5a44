import { describe, expect, test } from 'vitest';
import { windowLosses } from '../../src/pipeline/evaluate.ts';

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
