// Prunes two small vision networks and a language model by three methods at two sizes and prints what is left of their
// accuracy, and of the perplexity.
// What `npm start` runs; also an example of the API without the command line.

import { readdir, readFile } from 'node:fs/promises';
import {
  blobFolder,
  consecutiveWindows,
  evaluate,
  imageDataset,
  memoryOutput,
  openEngine,
  openLanguageModel,
  openModel,
  openSession,
  openTokenizer,
  parsePreprocessing,
  prune,
  tokenWindows,
} from 'osscar-wasm/model';

const FIXTURES = new URL('../test/fixtures/', import.meta.url);
const preprocessing = parsePreprocessing({ mean: [0.286], std: [0.353] });

const engine = await openEngine();
const session = await openSession();
console.log(
  `Fashion-MNIST, 1000 test images; ${engine.name}, ${session.simd} SIMD, ${session.threads} threads\n`,
);
row('model', 'keep', 'method', 'accuracy', 'parameters', 'file bytes', 'ms/image');

for (const file of ['fashion-resnet.onnx', 'fashion-mobilenet.onnx']) {
  const bytes = await readFile(new URL(file, FIXTURES));
  const model = await openModel(bytes, { engine, name: file });
  const calibration = await folder('calib/', model.input.shape, 4);
  const test = await folder('test/', model.input.shape);
  for (const keep of [0.5, 0.3]) {
    let target = 'auto'; // what osscar chooses, magnitude-refit is given: the support makes the difference
    const rows = [];
    for (const method of ['osscar', 'magnitude-refit', 'magnitude']) {
      const options = { engine, session, calibration, keep, method, target };
      const { written, report } = await prune(model, options);
      target = report.target.chosen;
      rows.unshift([String(keep), method, await score(written.model, test), report, 'after']);
      if (keep === 0.5 && method === 'magnitude')
        rows.unshift(['1', 'dense', await score(bytes, test), report, 'before']);
    }
    for (const [kept, method, value, { parameters, bytes: size, latencyMs }, when] of rows) {
      const numbers = [
        value.toFixed(3),
        String(parameters[when]),
        String(size[when]),
        latencyMs[when].toFixed(2),
      ];
      row(when === 'before' ? file : '', kept, method, ...numbers);
    }
  }
}

console.log('\nKing James Bible, 64 test windows of 256 tokens\n');
row('model', 'keep', 'method', 'perplexity', 'parameters', 'bytes', 's');
const language = await openLanguageModel(blobFolder(await filesOf('opt-kjv/'), 'opt-kjv'));
const encode = openTokenizer(JSON.parse(await text('opt-kjv/tokenizer.json')));
const calibration = tokenWindows(encode(await text('text/kjv-train.txt')), { samples: 32, seqlen: 256 });
const evaluation = consecutiveWindows(encode(await text('text/kjv-test.txt')).subarray(0, 64 * 256), 256);
for (const keep of [0.5, 0.3]) {
  let target = 'auto';
  const rows = [];
  for (const method of ['osscar', 'magnitude-refit', 'magnitude']) {
    const options = { engine, session, calibration, evaluation, keep, method, target };
    const { report } = await prune(language, { ...options, output: memoryOutput() });
    target = report.target.chosen;
    rows.unshift([String(keep), method, report, 'after']);
    if (keep === 0.5 && method === 'magnitude') rows.unshift(['1', 'dense', report, 'before']);
  }
  for (const [kept, method, { metric, parameters, bytes, seconds }, when] of rows) {
    const numbers = [metric[when].toFixed(2), String(parameters[when]), String(bytes[when])];
    const first = when === 'before';
    row(first ? 'opt-kjv' : '', kept, method, ...numbers, first ? '' : seconds.toFixed(1));
  }
}
await session.close();

/** Name and bytes of the files in a folder. */
async function filesOf(path) {
  const root = new URL(path, FIXTURES);
  return Promise.all((await readdir(root)).map(async (name) => [name, await readFile(new URL(name, root))]));
}

function text(path) {
  return readFile(new URL(path, FIXTURES), 'utf8');
}

/** Images in one sub-folder per class, every nth of them. */
async function folder(path, inputShape, nth = 1) {
  const root = new URL(path, FIXTURES);
  const entries = [];
  for (const [label, name] of (await readdir(root)).sort().entries()) {
    const files = (await readdir(new URL(`${name}/`, root))).sort();
    for (const file of files.filter((_, i) => i % nth === 0)) {
      entries.push({ name: file, label, read: () => readFile(new URL(`${name}/${file}`, root)) });
    }
  }
  return imageDataset(entries, preprocessing, inputShape);
}

async function score(bytes, samples) {
  const { value } = await evaluate(await openModel(bytes, { engine }), samples, { engine });
  return value;
}

function row(...cells) {
  const widths = [24, 6, 17, 10, 13, 12, 10];
  console.log(cells.map((cell, i) => (i < 3 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join(''));
}
