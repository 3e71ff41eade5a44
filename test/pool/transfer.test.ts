import { describe, expect, test } from 'vitest';
import { buffersOf, copyOf, type Stage } from '../../src/pool/transfer.ts';

const ROOM = 2 ** 28;

describe('copyOf', () => {
  test('gives arrays buffers of their own, one for an array that occurs twice, and hands these over', () => {
    const W = Float64Array.of(1, 2, 3);
    const job = { W, solution: W, kept: [4, 5], inner: { X: Float32Array.of(6) } };
    const copy = copyOf(job);
    expect(copy).toEqual(job);
    expect(copy.W).not.toBe(W);
    expect(copy.solution).toBe(copy.W);
    expect(buffersOf(copy)).toEqual([copy.W.buffer, copy.inner.X.buffer]);
    W[0] = 9;
    expect(copy.W[0]).toBe(1);
  });

  test('puts arrays side by side on the stage, with nothing to hand over, and uses it again', () => {
    const stage: Stage = {};
    const job = [Float64Array.of(1, 2, 3), Float32Array.of(4), Int32Array.of(5, 6), Uint8Array.of(7)];
    const copy = copyOf(job, stage);
    expect(copy).toEqual(job);
    for (const array of copy) expect(array.buffer).toBe(stage.buffer);
    expect(buffersOf(copy)).toEqual([]);
    const { buffer } = stage;
    const next = copyOf([Float64Array.of(8)], stage);
    expect(next[0].buffer).toBe(buffer);
    expect(copy[0][0]).toBe(8); // as documented: what lay there is gone
  });

  test('has a stage that is no larger than the largest job so far', () => {
    const stage: Stage = {};
    const lines = [1, 9, 2].map((length) => {
      copyOf([new Float64Array(length), new Uint8Array(1)], stage);
      return stage.buffer!.byteLength / 64;
    });
    expect(lines).toEqual([2, 3, 3]);
  });

  test('hands over what finds no room on the stage', () => {
    const job = {
      large: new Float64Array(ROOM / 8 - 1),
      next: new Float32Array(17),
      small: Uint8Array.of(1),
    };
    job.next[16] = 3;
    const stage: Stage = {};
    const copy = copyOf(job, stage);
    expect(copy.large.buffer).toBe(stage.buffer);
    expect(copy.next).toEqual(job.next);
    expect(buffersOf(copy)).toEqual([copy.next.buffer, copy.small.buffer]);
  });

  test('leaves arrays on shared memory where they are', () => {
    const shared = new Float64Array(new SharedArrayBuffer(16));
    expect(copyOf({ shared }, {}).shared).toBe(shared);
  });
});
