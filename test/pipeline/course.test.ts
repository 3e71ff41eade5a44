import { describe, expect, test } from 'vitest';
import { Course } from '../../src/pipeline/course.ts';
import { parseRecipe } from '../../src/pipeline/recipe.ts';

/** What a run reports, as it comes: stages, and passes within them. */
function* run(course: Course, stages: readonly (readonly [stage: string, passes: readonly string[]])[]) {
  for (const [stage, passes] of stages) {
    yield course.enter(stage);
    for (const label of passes)
      for (const done of [1, 2, 3]) yield course.step({ label, done, total: 3, layer: `layer ${done}` });
  }
}

describe('the course of a run', () => {
  const auto = [
    ['measuring', []],
    ['target', ['target residual 1', 'target residual 0.5', 'target residual 0.75', 'target dense 1']],
    ['pruning', ['pruning']],
    ['proving', []],
  ] as const;

  test('goes from nothing on, with every step further than the one before, and not beyond the end', () => {
    const steps = [...run(new Course(parseRecipe({ keep: 0.5 })), auto)];
    expect(steps[0]).toEqual({ stage: 'measuring', label: 'measuring', done: 0, total: 1, overall: 0 });
    for (const [i, { overall, done }] of steps.entries()) {
      if (i > 0 && done > 0) expect(overall).toBeGreaterThan(steps[i - 1].overall);
      expect(overall).toBeLessThan(1);
    }
    expect(steps.find(({ label }) => label === 'pruning')).toMatchObject({ stage: 'pruning' });
    expect(steps.at(-1)!.overall).toBeGreaterThan(0.8);
  });

  test('has the steps in which the network is fitted as a whole in it', () => {
    const steps = [
      ...run(new Course(parseRecipe({ keep: 0.5, distill: 20 })), [
        ...auto.slice(0, -1),
        ['distilling', ['distilling']],
        ['proving', []],
      ]),
    ];
    const shares = steps.map(({ overall }) => overall);
    expect(shares).toEqual(shares.toSorted((a, b) => a - b));
    expect(new Set(shares.slice(-5)).size).toBe(4); // each step of it is further than the one before
    const at = steps.findIndex(({ stage }) => stage === 'distilling');
    const [plain] = [...run(new Course(parseRecipe({ keep: 0.5 })), auto)].slice(-1);
    expect(steps[at].overall).toBeLessThan(plain.overall - 0.2);
    expect(steps.at(-1)!.overall).toBeGreaterThan(0.8);
  });

  test('has the rounding of weights in it, which comes in the middle of the proof', () => {
    const [plain, rounded] = [false, true].map(
      (isRounded) => new Course(parseRecipe({ keep: 0.5 }), isRounded),
    );
    const stages = [...auto, ['rounding', ['rounding']], ['proving', []]] as const;
    const steps = [...run(rounded, stages)];
    const at = steps.findIndex(({ stage }) => stage === 'rounding');
    const [pruned] = [...run(plain, auto)].slice(-1);
    expect(steps[at - 1].overall).toBeLessThan(pruned.overall);
    for (let i = at + 1; i < at + 4; i++) expect(steps[i].overall).toBeGreaterThan(steps[i - 1].overall);
    expect(steps.at(-1)!.overall).toBe(steps[at + 3].overall);
  });

  test('does not fall where a search takes more passes than were foreseen, or a stage is new to it', () => {
    const long = Array.from({ length: 9 }, (_, i) => `target residual ${i}`);
    const stages = [
      ['measuring', []],
      ['target', long],
      ['surprise', ['a']],
      ['pruning', ['pruning']],
    ] as const;
    const overall = [...run(new Course(parseRecipe({ keep: 0.5 })), stages)].map((it) => it.overall);
    expect(overall).toEqual([...overall].sort((a, b) => a - b));
    // However long the search, what comes behind it is still to come.
    expect(overall[overall.length - 5]).toBeLessThan(0.75);
  });

  test('of a budget has its search in it: the pass that counts is a small part', () => {
    const budget = new Course(parseRecipe({ macs: 0.5 }));
    const [, start] = [
      ...run(budget, [
        ['measuring', []],
        ['analysis', ['structures alone']],
      ]),
    ];
    const allocation = budget.enter('allocation');
    const pruning = budget.enter('pruning');
    expect(start.overall).toBeLessThan(0.05);
    expect(pruning.overall - allocation.overall).toBeGreaterThan(0.4);
    expect(pruning.overall).toBeGreaterThan(0.8);
  });

  test('of a baseline that fits nothing has no target to look for: most is to come when the pruning begins', () => {
    const start = (method: 'magnitude' | 'magnitude-refit') =>
      new Course(parseRecipe({ keep: 0.5, method })).enter('pruning').overall;
    expect(start('magnitude')).toBeLessThan(0.2);
    expect(start('magnitude-refit')).toBeGreaterThan(0.6);
  });
});
