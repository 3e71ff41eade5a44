// Ifs that are decided before samples are seen, by constants, by extents, or by inputs that are said once for all: the branch
// that is taken becomes part of the graph, where its layers can be pruned.

import type { Engine, FloatTensor } from '../../engine/index.ts';
import { InputError, UnsupportedModelError } from '../../errors.ts';
import { ifsOf, type Model, part, takeBranches, unreachedValues } from '../../graph/index.ts';
import type { Feeds, InputValues } from './inputs.ts';
import { loadModel, withSessions } from './load.ts';
import { shapesAtLoad } from './shapes.ts';

/** An If, and what decides it. */
export interface Branch {
  /** The name of its node. */
  readonly node: string;
  /** The branch that is part of the graph for good. Left out: it is decided by inputs of which nothing has been said. */
  readonly taken?: 'then' | 'else';
  /** Inputs whose numbers decide. */
  readonly by: readonly string[];
  /** Whether extents of samples decide too. */
  readonly bySize: boolean;
}

/**
 * What is to be known of them, in words.
 *
 * @example
 * for (const line of branchTexts(model.branches)) console.log(line);
 */
export function branchTexts(branches: readonly Branch[]): string[] {
  const lost = branches.filter(({ taken, by, bySize }) => taken && (by.length > 0 || bySize));
  const by = [...new Set(lost.flatMap((branch) => branch.by.map((name) => `input "${name}"`)))];
  if (lost.some(({ bySize }) => bySize)) by.push('the size of samples');
  const many = lost.length > 1;
  return [
    ...(lost.length > 0
      ? [
          `${many ? `${lost.length} Ifs are` : `If "${lost[0].node}" is`} decided by ${by.join(' and ')}: a pruned model has only the ${many ? 'branches that are' : 'branch that is'} taken`,
        ]
      : []),
    ...undecidedTexts(branches),
  ];
}

/** What can be said for more to be pruned. */
export function undecidedTexts(branches: readonly Branch[]): string[] {
  return branches
    .filter(({ taken }) => !taken)
    .map(
      ({ node, by: [name] }) =>
        `If "${node}" is decided by input "${name}": where that is the same for all samples (\`inputs.${name}\`), the branch that is taken can be pruned`,
    );
}

/**
 * The same model with the branches that are taken in the place of Ifs, and what is known of Ifs that no sample decides.
 *
 * @param probes  all inputs, for every number of samples and tokens that is to take the same branches
 * @param said  inputs that have one value for all samples
 */
export async function takeKnownBranches(
  engine: Engine,
  model: Model,
  probes: readonly Feeds[],
  said: InputValues = {},
): Promise<{ model: Model; branches: Branch[] }> {
  const inputs = model.inputs.map(({ name }) => name);
  const unsaid = inputs.filter((name) => !Object.hasOwn(said, name));
  const branches: Branch[] = [];
  const undecided = new Set<string>();
  let current = model;
  const isReached = (value: string, from: readonly string[], throughShapes = false) =>
    from.includes(value) ||
    (current.producer(value) !== undefined && !unreachedValues(current, from, throughShapes).has(value));
  const deciders = (value: string) => inputs.filter((name) => isReached(value, [name]));
  for (;;) {
    const decided = ifsOf(current).filter(
      ({ name, input }) => !undecided.has(name) && !isReached(input[0], unsaid),
    );
    // Those behind another one are decided when it is gone: engines may refuse what the branch that is not taken makes of these extents.
    const made = decided.flatMap(({ output }) => output);
    const known = decided.filter(({ input }) => !isReached(input[0], made, true));
    if (known.length === 0) break;
    const found = await conditionsOf(
      engine,
      current,
      known.map(({ input }) => input[0]),
      probes,
    );
    const taken = new Map<string, boolean>();
    for (const [i, { name, input }] of known.entries()) {
      const [condition] = input;
      const [holds] = found[i];
      if (found[i].some((other) => other !== holds)) {
        undecided.add(name);
        continue;
      }
      taken.set(name, holds);
      const bySize = isReached(condition, unsaid, true);
      branches.push({ node: name, taken: holds ? 'then' : 'else', by: deciders(condition), bySize });
    }
    current = takeBranches(current, taken);
  }
  for (const { name, input } of ifsOf(current)) {
    const by = deciders(input[0]);
    const isNumber = (input: string) => probes.every((feeds) => feeds[input].data.length <= 1);
    if (by.length > 0 && by.every(isNumber)) branches.push({ node: name, by, bySize: false });
  }
  return { model: current, branches };
}

/** Whether conditions hold, of each in every probe that the model takes: the first one it has to. */
async function conditionsOf(
  engine: Engine,
  model: Model,
  conditions: readonly string[],
  probes: readonly Feeds[],
): Promise<boolean[][]> {
  const runs: Feeds[] = [];
  for (const feeds of probes) {
    const values = await valuesOf(engine, model, [...new Set(conditions)], feeds).catch((error) => {
      // Some models take no other number of samples, whatever they declare.
      if (runs.length > 0 && (error instanceof InputError || error instanceof UnsupportedModelError))
        return undefined;
      throw error;
    });
    if (values) runs.push(values);
  }
  return conditions.map((name) => runs.map((values) => values[name].data[0] !== 0));
}

/** Of shapes that the engine knows nothing is computed. */
async function valuesOf(
  engine: Engine,
  model: Model,
  values: readonly string[],
  feeds: Feeds,
): Promise<Record<string, FloatTensor>> {
  const inputs = model.inputs.map(({ name }) => name);
  const needed = part(model, inputs, values, { shapes: new Map(), types: new Map() });
  const known = await shapesAtLoad(engine, needed, feeds);
  const load = () => loadModel(engine, part(needed, inputs, values, { ...known, isSingle: true }));
  return withSessions([load], (session) => session.run(feeds));
}
