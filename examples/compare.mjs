// Prunes two small vision networks and a language model by three methods, to the same sizes, and prints what is left of
// their accuracy, and of the perplexity. Sizes are arguments, 0.5 where there are none.
// What `npm start` runs; also an example of the API without the command line. The models are those of a clone.

import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import {
  blobFolder,
  compareMethods,
  consecutiveWindows,
  imageDataset,
  latencies,
  memoryOutput,
  memoryStore,
  openEngine,
  openLanguageModel,
  openModel,
  openSession,
  openTokenizer,
  parsePreprocessing,
  prune,
  tokenWindows,
} from 'osscar-wasm/model';
import { showProgress } from './progress.mjs';

const FIXTURES = new URL('../test/fixtures/', import.meta.url);
if (!existsSync(new URL('fashion-resnet.onnx', FIXTURES))) {
  console.error(
    'compare.mjs: its models and data are in test/fixtures of a clone of the repository, not in the npm package',
  );
  process.exit(1);
}
const KEEP = process.argv.length > 2 ? process.argv.slice(2).map(Number) : [0.5];
const METHODS = ['magnitude', 'magnitude-refit', 'osscar'];
const RUNS = 3 * KEEP.length * METHODS.length;

const progress = showProgress(process.stderr);
const engine = await openEngine();
const session = await openSession();
progress.print(`${engine.name}, ${session.simd} SIMD, ${session.threads} threads`);
let runs = 0;
for (const file of ['fashion-resnet.onnx', 'fashion-mobilenet.onnx']) await visionNetwork(file);
await languageModel();
await session.close();
progress.print(`
What this means: all models of a row have the same size, and none was trained again. They differ in which channels,
heads and neurons stayed, and in what the weights that stay were made: "magnitude" keeps the largest as they are,
"magnitude-refit" solves for their weights, osscar chooses by how well the rest can make up for what goes.

With a model and images of your own:
  node dist/cli.js inspect model.onnx
  node dist/cli.js prune model.onnx --calibrate photos/ --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 --keep 0.5 -o smaller.onnx
README.md goes on from there; "npm run web" does the same in a page.`);
progress.close();

async function visionNetwork(file) {
  const model = await openModel(await readFile(new URL(file, FIXTURES)), { engine, name: file });
  const preprocessing = parsePreprocessing({ mean: [0.286], std: [0.353] });
  const images = async (path, nth) =>
    imageDataset(await filesByClass(path, nth), preprocessing, model.input.shape);
  const [calibration, evaluation] = [await images('calib/', 4), await images('test/', 1)];
  const sizes = await pruneAll(file, model, { calibration, evaluation });
  // All in turn, so that their times can be compared.
  const smaller = await Promise.all(sizes.map(({ written }) => openModel(written.model, { engine })));
  const ms = await latencies([model, ...smaller], calibration, { engine });
  progress.print(`\n${file}: accuracy on ${evaluation.size} images, ${calibration.size} to calibrate\n`);
  printTable(sizes, 3, 'ms/image', ms);
}

async function languageModel() {
  const model = await openLanguageModel(blobFolder(await filesOf('opt-kjv/'), 'opt-kjv'));
  const encode = openTokenizer(JSON.parse(await text('opt-kjv/tokenizer.json')));
  const calibration = tokenWindows(encode(await text('text/kjv-train.txt')), { samples: 16, seqlen: 128 });
  const evaluation = consecutiveWindows(encode(await text('text/kjv-test.txt')).subarray(0, 32 * 256), 256);
  const sizes = await pruneAll('opt-kjv', model, { calibration, evaluation });
  progress.print(`\nopt-kjv: perplexity on ${evaluation.size} windows of 256 tokens, lower is better\n`);
  printTable(sizes, 2);
}

/** At every size by every method: osscar first, which finds what the others are fitted to. */
async function pruneAll(name, model, data) {
  const store = memoryStore(); // what the dense network gives is found once
  const sizes = [];
  for (const keep of KEEP) {
    let method = 'osscar';
    const onProgress = ({ stage, overall, layer = '' }) => {
      const percent = Math.round(100 * overall);
      progress.at(
        `run ${runs + 1} of ${RUNS}, ${name}, keep ${keep}, ${method}: ${percent} %, ${stage} ${layer}`,
      );
    };
    // A language model goes to an output; files are in the result.
    const options = { engine, session, store, ...data, keep, output: memoryOutput(), onProgress };
    const { written, report } = await prune(model, options);
    runs++;
    const values = [report.metric.after];
    for (method of METHODS.slice(0, -1).reverse()) {
      const [{ metric }] = await compareMethods(model, report, [method], options);
      values.unshift(metric.after);
      runs++;
    }
    sizes.push({ keep, written, report, values });
  }
  return sizes;
}

/** A row for every size, the dense model's first. */
function printTable(sizes, digits, timed = '', ms = []) {
  const [{ report }] = sizes;
  printRow('keep', 'dense', ...METHODS, 'parameters', 'file bytes', timed);
  const row = (keep, values, when, { parameters, bytes }, time) =>
    printRow(
      keep,
      ...values.map((value) => value?.toFixed(digits)),
      parameters[when].toLocaleString('en'),
      bytes[when].toLocaleString('en'),
      time?.toFixed(2),
    );
  row('all', [report.metric.before, ...METHODS.map(() => undefined)], 'before', report, ms[0]);
  for (const [i, { keep, values, report }] of sizes.entries())
    row(keep, [undefined, ...values], 'after', report, ms[i + 1]);
}

function printRow(...cells) {
  const widths = [4, 8, 11, 17, 8, 12, 12, 10];
  progress.print(cells.map((cell = '', i) => String(cell).padStart(widths[i])).join(''));
}

/** Images in one sub-folder per class, every nth of them. */
async function filesByClass(path, nth) {
  const root = new URL(path, FIXTURES);
  const entries = [];
  for (const [label, name] of (await readdir(root)).sort().entries()) {
    const files = (await readdir(new URL(`${name}/`, root))).sort();
    for (const file of files.filter((_, i) => i % nth === 0))
      entries.push({ name: file, label, read: () => readFile(new URL(`${name}/${file}`, root)) });
  }
  return entries;
}

/** Name and bytes of the files in a folder. */
async function filesOf(path) {
  const root = new URL(path, FIXTURES);
  return Promise.all((await readdir(root)).map(async (name) => [name, await readFile(new URL(name, root))]));
}

function text(path) {
  return readFile(new URL(path, FIXTURES), 'utf8');
}
