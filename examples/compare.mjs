// Prunes two small real networks by three methods at two sizes and prints what is left of their accuracy.
// What `npm start` runs; also an example of the API without the command line.

import { readdir, readFile } from 'node:fs/promises';
import {
  accuracy,
  batchSource,
  imageDataset,
  openEngine,
  openModel,
  openSession,
  parsePreprocessing,
  pruneModel,
} from 'osscar-wasm';

const FIXTURES = new URL('../test/fixtures/', import.meta.url);
const preprocessing = parsePreprocessing({ mean: '0.2860', std: '0.3530' });

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
  const test = batchSource(await folder('test/', model.input.shape), model.input);
  for (const keep of [0.5, 0.3]) {
    let target = 'auto'; // what osscar chooses, magnitude-refit is given: the support makes the difference
    const rows = [];
    for (const method of ['osscar', 'magnitude-refit', 'magnitude']) {
      const options = { engine, session, calibration, keep, method, target };
      const { written, report } = await pruneModel(model, options);
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

async function score(model, source) {
  const session = await engine.load(model);
  const { value } = await accuracy(session, source);
  await session.release();
  return value;
}

function row(...cells) {
  const widths = [24, 6, 17, 10, 13, 12, 10];
  console.log(cells.map((cell, i) => (i < 3 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join(''));
}
