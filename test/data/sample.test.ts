import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { drawEvenly, mulberry32, sampleEvenly } from '../../src/pipeline/data/sample.ts';

/** `sizes[label]` files of each label. */
const filesOf = (...sizes: number[]) =>
  sizes.flatMap((size, label) =>
    Array.from({ length: size }, (_, i) => ({ path: `${label}/${String(i).padStart(4, '0')}.png`, label })),
  );

const counts = (files: { label?: number }[]) => {
  const out: number[] = [];
  for (const { label } of files) out[label!] = (out[label!] ?? 0) + 1;
  return out;
};

test('a seed gives the numbers of mulberry32 as it was published', () => {
  const next = mulberry32(0);
  expect([next(), next(), next()]).toEqual([0.26642920868471265, 0.0003297457005828619, 0.2232720274478197]);
});

describe('drawEvenly', () => {
  test('draws for a seed what it drew in earlier versions', () => {
    expect(drawEvenly([0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1], 5, 7)).toEqual([0, 2, 4, 7, 8]);
  });

  test('takes all for an infinite number, and no negative one', () => {
    expect(drawEvenly([0, 1], Number.POSITIVE_INFINITY, 0)).toEqual([0, 1]);
    expect(() => drawEvenly([0, 1], -1, 0)).toThrow('"n" expected a whole number from 0 on, got -1');
  });
});

describe('sampleEvenly', () => {
  test('draws 50 of each of 10 classes for 500', () => {
    const files = filesOf(...new Array(10).fill(100));
    expect(counts(sampleEvenly(files, 500, 0))).toEqual(new Array(10).fill(50));
  });

  test('draws the same for the same seed, whatever the order of the files', () => {
    const files = filesOf(30, 40, 50);
    const drawn = sampleEvenly(files, 31, 5);
    expect(sampleEvenly([...files].reverse(), 31, 5)).toEqual(drawn);
    expect(sampleEvenly(files, 31, 6)).not.toEqual(drawn);
  });

  test('draws the rest from the others where a class has too few', () => {
    expect(counts(sampleEvenly(filesOf(2, 100, 100), 42, 1))).toEqual([2, 20, 20]);
  });

  test('gives the remainder to different classes for different seeds', () => {
    const winners = Array.from({ length: 20 }, (_, seed) =>
      counts(sampleEvenly(filesOf(9, 9, 9), 4, seed)).indexOf(2),
    );
    expect(new Set(winners)).toEqual(new Set([0, 1, 2]));
  });

  test('gives all files, in path order, if it is asked for as many or more', () => {
    const files = filesOf(3, 3);
    expect(sampleEvenly([...files].reverse(), 6, 0)).toEqual(files);
    expect(sampleEvenly(files, 100, 0)).toEqual(files);
  });

  test('draws from files without labels', () => {
    const files = filesOf(40).map(({ path }) => ({ path }));
    expect(sampleEvenly(files, 7, 0)).toHaveLength(7);
  });

  test('draws every file about equally often', () => {
    const times = new Map<string, number>();
    for (let seed = 0; seed < 2000; seed++) {
      for (const { path } of sampleEvenly(filesOf(10), 3, seed)) times.set(path, (times.get(path) ?? 0) + 1);
    }
    // Binomial with n = 2000, p = 0.3: σ = 20.5; five of them.
    for (const n of times.values()) expect(Math.abs(n - 600)).toBeLessThan(103);
    expect(times.size).toBe(10);
  });

  test('gives n distinct files in path order, counts within one of each other where no class runs out', () => {
    const sizes = fc.array(fc.nat(12), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(sizes, fc.nat(80), fc.nat(), (classes, n, seed) => {
        const files = filesOf(...classes);
        const drawn = sampleEvenly(files, n, seed);
        const paths = drawn.map(({ path }) => path);
        expect(paths).toEqual([...new Set(paths)].sort());
        expect(paths).toHaveLength(Math.min(n, files.length));
        const drawnOf = classes.map((_, label) => counts(drawn)[label] ?? 0);
        const most = Math.max(...drawnOf);
        drawnOf.forEach((count, label) => {
          if (count < most - 1) expect(count).toBe(classes[label]);
        });
      }),
      { seed: 2 },
    );
  });
});
