// Mutated graphs, cut and compared with their masked form: `npm run fuzz -- graphs 10000 1`.

import { PATTERNS, type Trial, tryMutation } from '../test/graph/mutated.ts';

/** Trials of one run have seeds of their own. */
const SEEDS = 1e6;

const [count, seed] = process.argv.slice(2).map(Number);
if (!(count > 0) || !Number.isInteger(seed)) {
  console.error('usage: npm run fuzz -- graphs COUNT SEED');
  process.exit(2);
}

const trials: Trial[] = [];
let wrong = 0;
for (let i = 0; i < count; i++) {
  const [graph, own] = [PATTERNS[i % PATTERNS.length], seed * SEEDS + i];
  try {
    const trial = await tryMutation(graph, own);
    trials.push(trial);
    if (trial.isAlike) continue;
    console.log(`differs: ${graph}, seed ${own}`);
  } catch (error) {
    console.log(`fails: ${graph}, seed ${own}: ${error}`);
  }
  wrong++;
}
const graphs = trials.filter(({ isGraph }) => isGraph);
const cuts = graphs.reduce((sum, trial) => sum + trial.cuts, 0);
console.log(`${count} mutated graphs, ${graphs.length} that run, ${cuts} structures cut: ${wrong} differ`);
process.exit(wrong > 0 ? 1 : 0);
