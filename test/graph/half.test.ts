import { describe, expect, it } from 'vitest';
import {
  bfloat16ToFloat32,
  float16ToFloat32,
  float32ToBfloat16,
  float32ToFloat16,
} from '../../src/graph/index.ts';

describe('float16', () => {
  it('knows the values of the standard’s table', () => {
    const table: [number, number][] = [
      [0x0000, 0],
      [0x0001, 2 ** -24],
      [0x03ff, 2 ** -14 - 2 ** -24],
      [0x0400, 2 ** -14],
      [0x3555, 0.333251953125],
      [0x3c00, 1],
      [0x7bff, 65504],
      [0x7c00, Number.POSITIVE_INFINITY],
      [0x8000, -0],
      [0xc000, -2],
      [0xfc00, Number.NEGATIVE_INFINITY],
    ];
    for (const [bits, value] of table) {
      expect(float16ToFloat32(bits)).toBe(value);
      expect(float32ToFloat16(value)).toBe(bits);
    }
  });

  it('takes every one of the 65536 patterns there and back', () => {
    for (let bits = 0; bits < 65536; bits++) {
      const value = float16ToFloat32(bits);
      if (Number.isNaN(value)) expect(float32ToFloat16(value)).toBe(0x7e00);
      else if (float32ToFloat16(value) !== bits) expect.fail(`0x${bits.toString(16)} does not come back`);
    }
  });

  it('rounds what lies between any two neighbours to the nearer, and the middle to the even one', () => {
    for (let low = 0; low < 0x7bff; low++) {
      const [a, b] = [float16ToFloat32(low), float16ToFloat32(low + 1)];
      const middle = (a + b) / 2; // exact in a double
      const even = low % 2 === 0 ? low : low + 1;
      const nudge = (b - a) * 2 ** -20;
      const got = [
        float32ToFloat16(middle),
        float32ToFloat16(middle - nudge),
        float32ToFloat16(middle + nudge),
      ];
      if (got[0] !== even || got[1] !== low || got[2] !== low + 1)
        expect.fail(`above 0x${low.toString(16)}: ${got}`);
      if (float32ToFloat16(-middle) !== (even | 0x8000)) expect.fail(`below -0x${low.toString(16)}`);
    }
  });

  it('goes to infinity from half a step past the largest number', () => {
    expect(float32ToFloat16(65519.99)).toBe(0x7bff);
    expect(float32ToFloat16(65520)).toBe(0x7c00);
    expect(float32ToFloat16(-1e9)).toBe(0xfc00);
  });
});

describe('bfloat16', () => {
  it('takes every pattern that is a number there and back', () => {
    for (let bits = 0; bits < 65536; bits++) {
      const value = bfloat16ToFloat32(bits);
      if (!Number.isNaN(value) && float32ToBfloat16(value) !== bits) expect.fail(`0x${bits.toString(16)}`);
    }
    expect(bfloat16ToFloat32(float32ToBfloat16(Number.NaN))).toBeNaN();
  });

  it('rounds ties to even', () => {
    expect(float32ToBfloat16(1 + 2 ** -8)).toBe(0x3f80);
    expect(float32ToBfloat16(1 + 3 * 2 ** -8)).toBe(0x3f82);
    expect(float32ToBfloat16(1 + 2 ** -8 + 2 ** -20)).toBe(0x3f81);
  });
});
