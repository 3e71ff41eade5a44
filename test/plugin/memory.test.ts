// The module's memory: blocks of the host, what is stated beforehand, and nothing taken unasked.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { naiveStatistics, normals } from '../support/problems.ts';
import { binaryModule, Host, type Layer, OUT_OF_MEMORY, REPORT_BYTES } from './host.ts';

const PAGE = 65536;
const module = binaryModule('baseline');

describe('blocks', () => {
  test('are aligned, zeroed and apart from one another, however they are taken and freed', () => {
    const step = fc.oneof(
      fc.record({ bytes: fc.integer({ min: 0, max: 3000 }) }),
      fc.record({ free: fc.nat(1000) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const host = new Host(module);
        const blocks: { at: number; bytes: number }[] = [];
        for (const { bytes, free } of steps as { bytes?: number; free?: number }[]) {
          if (bytes !== undefined) {
            const at = host.alloc(bytes);
            expect(at % 64).toBe(0);
            const content = new Uint8Array(host.memory.buffer, at, bytes);
            expect(content.every((byte) => byte === 0)).toBe(true);
            for (const other of blocks) {
              expect(at + bytes <= other.at || other.at + other.bytes <= at).toBe(true);
            }
            content.fill(255);
            blocks.push({ at, bytes });
          } else if (blocks.length > 0) {
            const [{ at, bytes }] = blocks.splice(free! % blocks.length, 1);
            expect(new Uint8Array(host.memory.buffer, at, bytes).every((byte) => byte === 255)).toBe(true);
            host.succeed(host.abi.osscar_free(at));
          }
        }
        // All freed, the memory is whole again.
        for (const { at } of blocks) host.succeed(host.abi.osscar_free(at));
        const bytes = host.memory.buffer.byteLength;
        const first = host.alloc(1);
        host.abi.osscar_free(first);
        expect(host.alloc(bytes - first - 64)).toBe(first);
        expect(host.memory.buffer.byteLength).toBe(bytes);
      }),
    );
  });

  test('are used again: a thousand layers take no more memory than one', () => {
    const host = new Host(module);
    const layer = randomLayer(24, 5, 2);
    const once = () => {
      const problem = host.problem(layer);
      host.prune(problem, layer, 5);
      host.succeed(host.abi.osscar_free(problem));
      return host.memory.buffer.byteLength;
    };
    const bytes = once();
    for (let i = 0; i < 1000; i++) once();
    expect(host.memory.buffer.byteLength).toBe(bytes);
  });

  test('a header that the host has overwritten ends in errors, not in a hang or a trap', () => {
    const host = new Host(module);
    const first = host.alloc(64);
    const second = host.alloc(64);
    for (const garbage of [0, 1, 63, 64, 2 ** 31, 2 ** 32 - 64]) {
      new Uint32Array(host.memory.buffer, second - 64, 2).set([garbage, 0]);
      expect(host.abi.osscar_free(second)).toBe(1);
      expect(host.abi.osscar_magnitude(second, 1, first)).toBe(1);
    }
  });
});

describe('osscar_prune_bytes', () => {
  // Where the search takes most and least.
  test.each([
    [16, 4, 1],
    [200, 20, 1],
    [420, 160, 1],
    [90, 300, 1],
    [60, 500, 30],
    [240, 90, 4],
    [180, 20, 9],
  ])('is what a problem and its pruning take: p = %i, m = %i, b = %i', (p, m, b) => {
    const layer = randomLayer(p, m, b);
    const host = new Host(module);
    const statistics = host.statistics(layer.statistics);
    const W0 = host.f32(layer.W0);
    const groups = p / b;
    const [kept, W, report] = [host.alloc(4 * groups), host.alloc(8 * p * m), host.alloc(REPORT_BYTES)];
    const taken = report + 64;
    const stated = host.abi.osscar_prune_bytes(p, m, b);
    host.abi.osscar_memory_limit(taken + stated);
    const problem = host.succeed(host.abi.osscar_problem(p, m, b, statistics, W0, 0, 1e-2, 0));
    for (const keep of [groups >> 2, groups >> 1, groups - 1]) {
      host.succeed(host.abi.osscar_prune(problem, keep, kept, W, 0, report));
      host.succeed(host.abi.osscar_swap(problem, keep, kept, 5, report));
      host.succeed(host.abi.osscar_refit(problem, keep, kept, W, 0, report));
      host.succeed(host.abi.osscar_select(problem, keep, kept, report));
    }
    expect(host.memory.buffer.byteLength).toBeLessThanOrEqual(Math.ceil((taken + stated) / PAGE) * PAGE);

    // And not much more than that: with one byte less it is refused, before anything is computed.
    host.abi.osscar_memory_limit(taken + stated - 1);
    expect(host.abi.osscar_prune(problem, 1, kept, W, 0, report)).toBe(OUT_OF_MEMORY);
    expect(host.error().detail).toBeGreaterThanOrEqual(taken + stated);
  });
});

function randomLayer(p: number, m: number, b: number): Layer {
  const X = normals(2 * p * p, p);
  return { statistics: naiveStatistics(X, undefined, p, m), W0: normals(p * m, m), groupSize: b };
}
