import { describe, expect, test } from 'vitest';
import { quarterHeldOut, splitSamples } from '../../src/pipeline/data/split.ts';
import { errorShares, searchTarget } from '../../src/pipeline/target.ts';
import { outputError } from '../support/output-error.ts';

const tensor = (rows: number[][]) => ({
  dims: [rows.length, rows[0].length],
  data: Float32Array.from(rows.flat()),
});

describe('errorShares', () => {
  test('are of each sample, in order', () => {
    const dense = [
      tensor([
        [0, 2],
        [4, 2],
      ]),
      tensor([[2, 2]]),
    ];
    const pruned = [
      tensor([
        [1, 2],
        [4, 0],
      ]),
      tensor([[2, 5]]),
    ];
    expect([...errorShares(dense, pruned)]).toEqual([1 / 8, 4 / 8, 9 / 8]);
  });

  test('is the squared distance over the spread around the mean answer', () => {
    const dense = [tensor([[0, 2]]), tensor([[4, 2]])];
    // Mean [2, 2], spread 4 + 4.
    expect(outputError(dense, [tensor([[1, 2]]), tensor([[4, 0]])])).toBeCloseTo((1 + 4) / 8, 12);
  });

  test('have one mean where samples have several sizes', () => {
    const dense = [tensor([[0, 2]]), tensor([[4, 2, 2]])];
    expect([...errorShares(dense, [tensor([[1, 2]]), tensor([[4, 2, 4]])])]).toEqual([1 / 8, 4 / 8]);
  });

  test('are squared distances where all answers are alike', () => {
    const rows = tensor([[3], [3]]);
    expect([...errorShares([rows], [tensor([[3], [5]])])]).toEqual([0, 4]);
  });

  test('is 0 for a perfect copy and 1 for the mean answer, however the samples are batched', () => {
    const rows = [
      [1, 5],
      [2, -3],
      [6, 1],
    ];
    expect(outputError([tensor(rows)], [tensor(rows)])).toBe(0);
    const mean = [tensor([[3, 1]]), tensor([[3, 1]]), tensor([[3, 1]])];
    expect(
      outputError(
        rows.map((row) => tensor([row])),
        mean,
      ),
    ).toBeCloseTo(1, 12);
  });
});

describe('searchTarget', () => {
  /** A network whose output error is a bowl over the blend. */
  async function search(best: number, hasResidual: boolean, dense = 10) {
    const asked: string[] = [];
    const tried = await searchTarget(async ({ kind, blend }) => {
      asked.push(`${kind} ${blend}`);
      return { error: kind === 'dense' ? dense : 1 + (blend - best) ** 2 };
    }, hasResidual);
    expect(new Set(asked).size).toBe(asked.length);
    expect(tried.filter(({ blend }) => blend < 0 || blend > 1)).toEqual([]);
    expect(tried.map(({ kind, blend }) => `${kind} ${blend}`).sort()).toEqual([...asked].sort());
    const errors = tried.map(({ error }) => error);
    expect(errors).toEqual([...errors].sort((a, b) => a - b));
    return tried;
  }

  test.each([0, 0.25, 0.5, 0.75, 1])('finds the bottom of a bowl at %d', async (best) => {
    const [{ kind, blend }] = await search(best, false);
    expect([kind, blend]).toEqual([best === 0 ? 'self' : 'residual', best]);
  });

  test('asks no more on the side from which errors fall', async () => {
    expect((await search(0.7, false)).map(({ blend }) => blend)).toEqual([0.75, 0.5, 1]);
  });

  test('takes the smallest blend that samples do not tell from the best', async () => {
    /** The best is 0.75; the others are worse by so much on each of four samples. */
    const chosen = async (worse: Readonly<Record<number, readonly number[]>>) => {
      const measured = async ({ blend }: { blend: number }) => {
        const shares = [1, 2, 3, 4].map((share, i) => share + (worse[blend]?.[i] ?? 0));
        return { error: shares.reduce((sum, share) => sum + share, 0), shares };
      };
      const [{ blend }, ...others] = await searchTarget(measured, false);
      expect(others[0].blend).toBe(blend === 0.75 ? others[0].blend : 0.75);
      return blend;
    };
    const clear = [1, 1.1, 1, 0.9];
    const close = [0.1, 0.11, 0.1, 0.09];
    const unclear = [0.9, -0.7, 0.8, -0.8];
    const far = [3, -1, 2, -1];
    expect(await chosen({ 0: clear, 0.25: clear, 0.5: clear, 1: clear })).toBe(0.75);
    expect(await chosen({ 0: clear, 0.25: clear, 0.5: unclear, 1: clear })).toBe(0.5);
    expect(await chosen({ 0: clear, 0.25: unclear, 0.5: unclear, 1: clear })).toBe(0.25);
    expect(await chosen({ 0: clear, 0.25: clear, 0.5: far, 1: clear })).toBe(0.75);
    expect(await chosen({ 0: clear, 0.25: clear, 0.5: close, 1: clear })).toBe(0.75);
  });

  test('tries the dense target at the best blend, where layers feed a shortcut', async () => {
    expect((await search(0.75, false)).filter(({ kind }) => kind === 'dense')).toEqual([]);
    const [best] = await search(0.75, true, 0.5);
    expect(best).toEqual({ kind: 'dense', blend: 0.75, error: 0.5 });
    // A blend of 0 would be `self` once more.
    expect((await search(0, true)).filter(({ kind }) => kind === 'dense')).toMatchObject([{ blend: 1 }]);
  });
});

describe('splitSamples', () => {
  test.each([4, 7, 12, 13, 50, 192, 193, 1000])(
    'holds out a quarter of %i samples, none of which is fitted on',
    (n) => {
      const { isFit, isHeldOut } = splitSamples({ size: n });
      const all = Array.from({ length: n }, (_, i) => i);
      const held = all.filter(isHeldOut);
      const fit = all.filter(isFit);
      expect(held.filter(isFit)).toEqual([]);
      expect(held.length + fit.length).toBe(Math.min(n, 192));
      expect(held.length).toBe(Math.floor(Math.min(n, 192) / 4));
    },
  );

  test('holds out a quarter of all samples where nothing is searched', () => {
    const { isFit, isHeldOut } = quarterHeldOut({ size: 1000 });
    const all = Array.from({ length: 1000 }, (_, i) => i);
    expect([all.filter(isHeldOut).length, all.filter(isFit).length]).toEqual([250, 750]);
    expect(all.filter((i) => isFit(i) === isHeldOut(i))).toEqual([]);
  });

  test('spreads both parts over samples that are sorted by class', () => {
    for (const n of [120, 192, 512, 1000]) {
      const { isFit, isHeldOut } = splitSamples({ size: n });
      for (let label = 0; label < 10; label++) {
        const members = Array.from({ length: n }, (_, i) => i).filter(
          (i) => Math.floor((i * 10) / n) === label,
        );
        const used = Math.min(n, 192) / 10;
        expect(Math.abs(members.filter(isHeldOut).length - used / 4)).toBeLessThanOrEqual(1);
        expect(Math.abs(members.filter(isFit).length - (3 * used) / 4)).toBeLessThanOrEqual(1.5);
      }
    }
  });

  test.each([
    [48, 2],
    [600, 3],
  ])('holds out all views of an image or none: %i samples, %i of each', (size, views) => {
    for (const { isFit, isHeldOut } of [splitSamples({ size, views }), quarterHeldOut({ size, views })]) {
      for (let image = 0; image < size / views; image++) {
        const of = Array.from({ length: views }, (_, view) => image * views + view);
        expect(new Set(of.map((i) => [isFit(i), isHeldOut(i)].join()))).toHaveLength(1);
      }
    }
  });

  test('has the few samples serve both where a split would leave too few', () => {
    for (const split of [splitSamples, quarterHeldOut]) {
      const { isFit, isHeldOut } = split({ size: 6, views: 2 });
      for (let i = 0; i < 6; i++) expect([isFit(i), isHeldOut(i)]).toEqual([true, true]);
    }
  });
});
