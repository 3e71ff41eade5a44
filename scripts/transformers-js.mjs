// Runs a pruned encoder's folder, written with --format onnx or transformers.js, in transformers.js:
//   npm i --no-save @huggingface/transformers@3.8.1
//   node scripts/transformers-js.mjs smaller/ [images/]
// Of a text encoder, features of two texts must be those of each alone, though one is padded; of a classifier of images,
// the accuracy on a folder of classes is printed. No test: the package takes 380 MB, most of it a second onnxruntime.

import { existsSync, readdirSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';

const [folder, images] = process.argv.slice(2).map((path) => resolve(path));
if (folder === undefined) throw new Error('expected the folder of a pruned encoder');
const { AutoImageProcessor, AutoModelForImageClassification, env, pipeline, RawImage } = await import(
  '@huggingface/transformers'
);
env.allowRemoteModels = false;
env.localModelPath = dirname(folder);
const model = basename(folder);
// Of --format onnx the file lies in the folder itself, of --format transformers.js in one called `onnx`.
const how = { dtype: 'fp32', subfolder: existsSync(join(folder, 'onnx')) ? 'onnx' : '' };

if (images === undefined) await compareTexts();
else await classifyImages();

async function compareTexts() {
  const extract = await pipeline('feature-extraction', model, how);
  const texts = ['In the beginning God created the heaven and the earth.', 'And there was light.'];
  const together = await extract(texts, { pooling: 'mean' });
  const width = together.dims[1];
  for (const [i, text] of texts.entries()) {
    const { data } = await extract(text, { pooling: 'mean' });
    const own = together.data.subarray(i * width, (i + 1) * width);
    const difference = Math.max(...Array.from(data, (value, j) => Math.abs(value - own[j])));
    if (!(difference < 1e-4)) throw new Error(`"${text}" alone differs by ${difference}`);
  }
  console.log(
    `feature-extraction: ${texts.length} texts, ${width} features each, the same alone and together`,
  );
}

async function classifyImages() {
  const processor = await AutoImageProcessor.from_pretrained(model);
  const classifier = await AutoModelForImageClassification.from_pretrained(model, how);
  let [right, count] = [0, 0];
  for (const [label, name] of readdirSync(images).sort().entries()) {
    for (const file of readdirSync(join(images, name))) {
      const image = await RawImage.read(join(images, name, file));
      const { logits } = await classifier(await processor(image));
      const scores = Array.from(logits.data);
      right += Number(scores.indexOf(Math.max(...scores)) === label);
      count++;
    }
  }
  console.log(`image-classification: accuracy ${(right / count).toFixed(4)} on ${count} images`);
}
