// Runs a pruned folder, written with --format onnx or transformers.js, in transformers.js:
//   npm i --no-save @huggingface/transformers@4.3.2
//   node scripts/transformers-js.mjs smaller/ [images/ | pairs.tsv]
// Of a text encoder, features of two texts must be those of each alone, though one is padded; of a classifier of images,
// the accuracy on a folder of classes is printed; of an encoder and a decoder, what it makes of the texts or images of some pairs, which must be the
// same of each alone. No test: the package takes 380 MB, most of it a second onnxruntime.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';

const [folder, data] = process.argv.slice(2).map((path) => resolve(path));
if (folder === undefined) throw new Error('expected the folder of a pruned model');
const {
  AutoImageProcessor,
  AutoModelForImageClassification,
  AutoModelForSeq2SeqLM,
  AutoModelForVision2Seq,
  AutoTokenizer,
  env,
  pipeline,
  RawImage,
} = await import('@huggingface/transformers');
env.allowRemoteModels = false;
env.localModelPath = dirname(folder);
const model = basename(folder);
// Of --format onnx the file lies in the folder itself, of --format transformers.js in one called `onnx`.
const how = { dtype: 'fp32', subfolder: existsSync(join(folder, 'onnx')) ? 'onnx' : '' };

/** Tokens that are written at most. */
const LENGTH = 80;

if (data === undefined) await compareTexts();
else if (data.endsWith('.tsv')) await writeTexts();
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

async function writeTexts() {
  const lines = readFileSync(data, 'utf8').split('\n').slice(0, 4);
  const [sources, targets] = [0, 1].map((column) => lines.map((line) => line.split('\t')[column]));
  const tokenizer = await AutoTokenizer.from_pretrained(model);
  const config = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'));
  const sees = config.model_type === 'vision-encoder-decoder';
  const kind = sees ? AutoModelForVision2Seq : AutoModelForSeq2SeqLM;
  const writer = await kind.from_pretrained(model, { subfolder: how.subfolder });
  const processor = sees && (await AutoImageProcessor.from_pretrained(model));
  const read = (texts) => tokenizer(texts, { padding: true });
  const see = async (files) =>
    processor(await Promise.all(files.map((file) => RawImage.read(join(dirname(data), file)))));
  const written = async (given) => {
    const tokens = await writer.generate({ ...(await (sees ? see : read)(given)), max_new_tokens: LENGTH });
    return tokenizer.batch_decode(tokens, { skip_special_tokens: true });
  };
  const together = await written(sources);
  for (const [i, source] of sources.entries()) {
    const [alone] = await written([source]);
    // Those that have ended are written on until the longest has.
    if (!together[i].startsWith(alone)) throw new Error(`"${alone}" alone, and "${together[i]}" with others`);
    console.log(`${source}\n  ${alone}\n  (${targets[i]})`);
  }
  console.log(`generate: ${sources.length} ${sees ? 'images' : 'texts'}, the same alone and together`);
}

async function classifyImages() {
  const processor = await AutoImageProcessor.from_pretrained(model);
  const classifier = await AutoModelForImageClassification.from_pretrained(model, how);
  let [right, count] = [0, 0];
  for (const [label, name] of readdirSync(data).sort().entries()) {
    for (const file of readdirSync(join(data, name))) {
      const image = await RawImage.read(join(data, name, file));
      const { logits } = await classifier(await processor(image));
      const scores = Array.from(logits.data);
      right += Number(scores.indexOf(Math.max(...scores)) === label);
      count++;
    }
  }
  console.log(`image-classification: accuracy ${(right / count).toFixed(4)} on ${count} images`);
}
