// Prunes two small real networks by three methods at two sizes and prints what is left of their accuracy.
// What `npm start` runs; also an example of the API without the command line.

import { readdir, readFile } from 'node:fs/promises';
import {
  imageDataset,
  openEngine,
  openKernels,
  openModel,
  parsePreprocessing,
  pruneModel,
} from 'osscar-wasm';

const FIXTURES = new URL('../test/fixtures/', import.meta.url);
const preprocessing = parsePreprocessing({ mean: '0.2860', std: '0.3530' });

const engine = await openEngine();
const kernels = await openKernels();
console.log(`Fashion-MNIST, 1000 test images; ${engine.name}, ${kernels.simd} SIMD\n`);
const columns = [24, 6, 17, 10, 13, 12, 10];
row('model', 'keep', 'method', 'accuracy', 'parameters', 'file bytes', 'ms/image');

for (const file of ['fashion-resnet.onnx', 'fashion-mobilenet.onnx']) {
  const model = await openModel(await readFile(new URL(file, FIXTURES)), { engine, name: file });
  const calibration = await folder('calib/', model.input.shape);
  const evaluation = await folder('test/', model.input.shape);
  for (const keep of [0.7, 0.5]) {
    for (const method of ['magnitude', 'magnitude-refit', 'osscar']) {
      const { report } = await pruneModel(model, { engine, kernels, calibration, evaluation, keep, method });
      const { metric, parameters, bytes, latencyMs } = report;
      if (method === 'magnitude')
        row(file, '1', 'dense', ...numbers(metric.before, parameters.before, bytes.before, latencyMs.before));
      row('', String(keep), method, ...numbers(metric.after, parameters.after, bytes.after, latencyMs.after));
    }
  }
}

/** Images in one sub-folder per class. */
async function folder(path, inputShape) {
  const root = new URL(path, FIXTURES);
  const entries = [];
  for (const [label, name] of (await readdir(root)).sort().entries()) {
    for (const file of (await readdir(new URL(`${name}/`, root))).sort()) {
      entries.push({ name: file, label, read: () => readFile(new URL(`${name}/${file}`, root)) });
    }
  }
  return imageDataset(entries, preprocessing, inputShape);
}

function numbers(accuracy, parameters, bytes, ms) {
  return [accuracy.toFixed(3), String(parameters), String(bytes), ms.toFixed(2)];
}

function row(...cells) {
  console.log(cells.map((cell, i) => (i < 3 ? cell.padEnd(columns[i]) : cell.padStart(columns[i]))).join(''));
}
