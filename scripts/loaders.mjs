// Whether stock loaders read what is written: transformers.js, as it comes from npm, loads a folder with no further option
// and generates, in each of the types that are written, what it generated before the model was cut to the same size.
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { prune } from 'osscar-wasm';

const PACKAGE = '@huggingface/transformers@4.3.2';
const FOLDER = 'build/loaders';

mkdirSync(FOLDER, { recursive: true });
writeFileSync(join(FOLDER, 'package.json'), '{ "type": "module" }');
const install = ['i', '--no-save', '--ignore-scripts', '--no-audit', '--no-fund', PACKAGE];
execFileSync('npm', install, { cwd: FOLDER, stdio: 'inherit' });
const entry = join(FOLDER, 'node_modules/@huggingface/transformers/dist/transformers.node.mjs');
const { env, pipeline } = await import(pathToFileURL(resolve(entry)).href);
env.allowRemoteModels = false;

const shared = process.env.OSSCAR_SHARED ?? '../shared';
const models = {
  'test/fixtures/opt-kjv': ['test/fixtures/text/kjv-train.txt', 'And the LORD said unto'],
  [`${shared}/models/stories260k`]: [`${shared}/data/text/tinystories-calib.txt`, 'Once upon a time'],
};
// Of sizes that config.json says, and of any.
const kinds = [
  { weights: 'int4' },
  { weights: 'q8' },
  { weights: 'q4', loadable: false },
  { weights: 'q4', loadable: false, heads: 'narrow' },
];
const runs = Object.entries(models).flatMap(([model, of]) => kinds.map((kind) => [model, kind, ...of]));
for (const [model, kind, calibration, prompt] of runs) {
  const output = resolve(FOLDER, 'small');
  rmSync(output, { recursive: true, force: true });
  const { report } = await prune(model, {
    ...{ calibration, samples: 16, seqlen: 128, params: 0.8 },
    ...{ format: 'transformers.js', ...kind, output },
  });
  env.localModelPath = `${dirname(output)}/`;
  const texts = [];
  for (const dtype of [undefined, 'fp16', 'fp32']) {
    const generate = await pipeline('text-generation', 'small', dtype && { dtype });
    const [{ generated_text: text }] = await generate(prompt, { max_new_tokens: 24 });
    await generate.dispose();
    if (!(text.startsWith(prompt) && text.length > prompt.length + 24))
      throw new Error(`${model} as ${JSON.stringify(kind)}: "${text}"`);
    texts.push(text);
  }
  const { before, after } = report.parameters;
  console.log(
    `${model} as ${JSON.stringify(kind)}, ${before} parameters to ${after}: ${JSON.stringify(texts)}`,
  );
}
