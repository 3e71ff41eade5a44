import { describe, expect, test } from 'vitest';
import { windowsLoss } from '../../src/pipeline/evaluate.ts';

const tensor = (dims: number[], values: number[]) => ({ dims, data: Float32Array.from(values) });

describe('windowsLoss', () => {
  test('sums the negative log likelihood of every token but the first of each window', () => {
    // vocabulary of 2: scores (0, ln 3) give token 1 three quarters
    const row = [0, Math.log(3)];
    const logits = tensor([2, 3, 2], Array(6).fill(row).flat());
    const ids = tensor([2, 3], [0, 1, 1, 1, 0, 1]);
    const expected = -(3 * Math.log(0.75) + Math.log(0.25));
    expect(windowsLoss(logits, ids, 2)).toBeCloseTo(expected, 6);
    const first = tensor([1, 3, 2], Array(3).fill(row).flat());
    expect(windowsLoss(first, ids, 1)).toBeCloseTo(-2 * Math.log(0.75), 6);
  });

  test('does not overflow on large scores', () => {
    const logits = tensor([1, 2, 2], [1e4, 0, 1e4, 0]);
    expect(windowsLoss(logits, tensor([1, 2], [0, 0]), 1)).toBe(0);
    expect(windowsLoss(logits, tensor([1, 2], [0, 1]), 1)).toBe(1e4);
  });

  test('refuses tokens outside the vocabulary', () => {
    const logits = tensor([1, 2, 2], [0, 0, 0, 0]);
    expect(() => windowsLoss(logits, tensor([1, 2], [0, 2]), 1)).toThrow('token 2 is outside');
  });
});
