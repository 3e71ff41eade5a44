// What settings are worth to a network of Fashion-MNIST, on all labelled images that it was not trained on: each half of them
// is answered by the network that was pruned on the other half. Prints the accuracy of all, how far it is from that of
// the first settings (one standard error, as the same images are answered), and what is left of the model.
//   npm run bench -- folds MODEL SETTINGS… [--calibrate FOLDER]
//   npm run bench -- folds test/fixtures/fashion-vit '{"keep":0.5,"method":"magnitude-refit"}' '{"keep":0.5}'
// With --calibrate both halves are answered by the network that was pruned on these images.

import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { disk } from '../src/disk/host.ts';
import { onDisk } from '../src/disk/place.ts';
import { openEngine } from '../src/engine/index.ts';
import { readModel } from '../src/graph/index.ts';
import { type Dataset, declaredInput, parsePreprocessing, selectSamples } from '../src/pipeline/index.ts';
import { openDataset, type PruneSettings, prune, setHost } from '../src/run/index.ts';

const FIXTURES = 'test/fixtures';
const units = { mean: [0.286], std: [0.353] };

const { values: flags, positionals } = parseArgs({
  args: process.argv.slice(2),
  options: { calibrate: { type: 'string' } },
  allowPositionals: true,
});
const [model, ...settings] = positionals;
if (settings.length === 0) {
  console.error('usage: npm run bench -- folds MODEL \'{"keep":0.5}\' … [--calibrate FOLDER]');
  process.exit(2);
}
setHost(disk);
const engine = await openEngine();
const open = (folder: string) =>
  openDataset(onDisk(folder), { preprocessing: parsePreprocessing(units), inputShape: [1, 28, 28] });
const images = await open(join(FIXTURES, 'test'));
const halves = [0, 1].map((half) => selectSamples(images, (index) => index % 2 === half));
const own = flags.calibrate === undefined ? undefined : await open(flags.calibrate);

/** Which images a model names rightly. */
async function answers(bytes: Uint8Array, data: Dataset): Promise<boolean[]> {
  const { name } = declaredInput(await readModel(bytes));
  const session = await engine.load(bytes);
  const right: boolean[] = [];
  for await (const { inputs, count, labels } of data.batches(100)) {
    const feeds = { [name]: { dims: [count, ...data.shape], data: inputs } };
    const [scores] = Object.values(await session.run(feeds));
    const classes = scores.data.length / count;
    for (let i = 0; i < count; i++) {
      const row = scores.data.subarray(i * classes, (i + 1) * classes);
      right.push(row.indexOf(Math.max(...row)) === labels![i]);
    }
  }
  await session.release();
  return right;
}

/** Of both halves. */
async function run(given: PruneSettings) {
  const right: boolean[] = [];
  let [left, dense] = [0, 0];
  for (const [half, evaluation] of halves.entries()) {
    const calibration = own ?? halves[1 - half];
    const data = { ...units, calibration, evaluation, engine, simd: 'baseline' as const };
    const { report, files } = await prune(model, { ...data, format: 'onnx', ...given });
    const written = [...files].find(([name]) => name.endsWith('.onnx'))![1];
    right.push(...(await answers(new Uint8Array(await written.arrayBuffer()), evaluation)));
    const { before, after } = report.macs ?? report.parameters;
    left += after / before / 2;
    dense += (report.metric!.before * evaluation.size) / images.size;
  }
  return { right, left, dense };
}

const count = (answers: readonly boolean[]) => answers.filter(Boolean).length;
let first: boolean[] | undefined;
console.log('| settings | left | accuracy | apart from the first |\n|---|---|---|---|');
for (const given of settings) {
  const { right, left, dense } = await run(JSON.parse(given));
  first ??= right;
  const better = count(right.map((is, i) => is && !first![i]));
  const worse = count(right.map((is, i) => !is && first![i]));
  const apart = `${((better - worse) / right.length).toFixed(3)} ± ${(Math.sqrt(better + worse) / right.length).toFixed(3)}`;
  const accuracy = `${(count(right) / right.length).toFixed(3)} of ${dense.toFixed(3)}`;
  console.log(`| ${given} | ${(100 * left).toFixed(1)} % | ${accuracy} | ${right === first ? '' : apart} |`);
}
