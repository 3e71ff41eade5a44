// Language models, texts and tokenizers that cannot be worked with: one line, exit code 2, nothing left behind.

import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { fixture, listing, osscarJson, refused, temporaryFolder } from './osscar.ts';

const MODEL = fixture('opt-kjv');
const TRAIN = fixture('text/kjv-train.txt');

const folder = temporaryFolder();
const newFolder = (name: string) => mkdtempSync(join(folder, `${name}-`));

function file(name: string, content: string | Uint8Array): string {
  const path = join(newFolder('in'), name);
  writeFileSync(path, content);
  return path;
}

/** `osscar prune` of a folder, which must leave nothing where the output goes, nor where activations go. */
async function pruneRefused(
  message: RegExp,
  { model = MODEL, text = TRAIN, flags = [] as string[] } = {},
): Promise<void> {
  const [out, scratch] = [newFolder('out'), newFolder('scratch')];
  const args = ['--calibrate', text, '--keep', '0.5', '-o', join(out, 'small'), '--scratch', scratch];
  const windows = ['--samples', '2', '--seqlen', '16', '--target', 'residual'];
  await refused(['prune', model, ...args, ...windows, ...flags], message);
  expect([listing(out), listing(scratch)]).toEqual([[], []]);
}

/** A copy of the model's folder, changed. */
function changed(change: (path: string) => void): string {
  const path = newFolder('model');
  cpSync(MODEL, path, { recursive: true });
  change(path);
  return path;
}

const withFile = (name: string, content: string | Uint8Array) =>
  changed((path) => writeFileSync(join(path, name), content));

function withJson(name: string, change: (json: Record<string, unknown>) => object): string {
  return withFile(name, JSON.stringify(change(JSON.parse(readFileSync(join(MODEL, name), 'utf8')))));
}

describe.concurrent('a text', () => {
  test('is refused: shorter than one window', async () => {
    const text = file('short.txt', 'In the beginning');
    await pruneRefused(/short\.txt": \d tokens, fewer than the 17 of one window; .*--seqlen/, { text });
    await refused(
      ['eval', MODEL, '--data', text],
      /short\.txt": \d tokens, fewer than the 256 of one window/,
    );
  });

  test('is refused: empty, not UTF-8, a folder, missing', async () => {
    await pruneRefused(/empty\.txt": there is no text in it$/m, { text: file('empty.txt', ' \n') });
    const text = file('latin1.txt', Buffer.from('Nous étions à l’étude', 'latin1'));
    await pruneRefused(/latin1\.txt": not UTF-8 text; save it as UTF-8$/m, { text });
    await pruneRefused(/text": is a folder; expected a file of text/m, { text: fixture('text') });
    await pruneRefused(/no\.txt": no such file or folder$/m, { text: join(folder, 'no.txt') });
    await refused(
      ['prune', fixture('opt-kjv'), '--dry-run', '--keep', '0.5', '--calibrate', join(folder, 'no.txt')],
      /no\.txt": no such file or folder$/m,
    );
    for (const [content, message] of [
      ['<!DOCTYPE html>\n<title>404</title>', /it is a web page or XML; download the file itself$/m],
      ['\ufeff<!DOCTYPE html>\n<title>404</title>', /it is a web page or XML; download the file itself$/m],
      ['version https://git-lfs.github.com/spec/v1\n', /it is a pointer of Git LFS; fetch the file/m],
      ['%PDF-1.4\n', /it is a PDF file; take the text out of it$/m],
    ] as const)
      await pruneRefused(message, { text: file('downloaded.txt', content) });
    const image = file('photo.png', Buffer.alloc(8));
    await pruneRefused(/photo\.png": is an image; expected a file of text/m, { text: image });
    const json = file('documents.json', '[{"text": "And God said"}]');
    await pruneRefused(/documents\.json": is JSON; expected text, or objects with a "text", one a line/m, {
      text: json,
    });
    const table = file('reviews.csv', 'text,label\n"And God said",1\n');
    await pruneRefused(/reviews\.csv": is a table; expected text, or objects with a "text", one a line/m, {
      text: table,
    });
  });

  test('is refused: a line of a .jsonl that is not JSON, or has no text', async () => {
    const line = JSON.stringify({ text: 'And God said' });
    const broken = file('broken.jsonl', `${line}\n\n{"text": "Let there\n${line}\n`);
    await pruneRefused(/broken\.jsonl" line 3: not valid JSON: .*$/m, { text: broken });
    const other = file('other.jsonl', `${line}\n{"content": "Let there be light"}\n`);
    await pruneRefused(
      /other\.jsonl" line 2: expected an object with a string "text", got one with "content"$/m,
      { text: other },
    );
    for (const [value, hint] of [
      [{ messages: [] }, /got one with "messages"; write each chat as one text, by its chat template$/m],
      [{ text: null }, /line 1: "text" expected a string, got null$/m],
      [{ input_ids: [1, 2] }, /got one with "input_ids"; token ids are given as a \.npy file$/m],
    ] as const)
      await pruneRefused(hint, { text: file('fields.jsonl', JSON.stringify(value)) });
  });

  test('is refused: windows beyond the positions of the model', async () => {
    await pruneRefused(/windows of 2 to 256 tokens expected for this opt, got \[300\]; see --seqlen$/m, {
      flags: ['--seqlen', '300'],
    });
  });
});

describe.concurrent('a tokenizer', () => {
  test('is refused: missing, cut, of an unknown kind', async () => {
    const none = changed((path) => rmSync(join(path, 'tokenizer.json')));
    await pruneRefused(/there is no tokenizer\.json in it; name one with --tokenizer/, { model: none });
    const whole = readFileSync(join(MODEL, 'tokenizer.json'));
    const cut = withFile('tokenizer.json', whole.subarray(0, 1000));
    await pruneRefused(/tokenizer\.json": not valid JSON/, { model: cut });
    await pruneRefused(/tokenizer\.json": expected a JSON object/, {
      model: withFile('tokenizer.json', '3'),
    });
    await pruneRefused(/tokenizer\.json: .*"model"/, { model: withFile('tokenizer.json', '{}') });
    const odd = withJson('tokenizer.json', (it) => ({
      ...it,
      model: { ...(it.model as object), type: 'Bogus' },
    }));
    await pruneRefused(/tokenizer\.json: model "Bogus" is not supported \(BPE, /, { model: odd });
  });

  test('is refused: ids beyond the vocabulary of the model', async () => {
    const model = withJson('tokenizer.json', (it) => {
      const { vocab, ...rest } = it.model as { vocab: Record<string, number> };
      return { ...it, model: { ...rest, vocab: { ...vocab, Ġthe: 5000 } } };
    });
    await pruneRefused(
      /kjv-train\.txt": token 5000 is outside the model's vocabulary of 1024: it is of another tokenizer/,
      {
        model,
      },
    );
  });
});

describe.concurrent('a model folder', () => {
  const weights = readFileSync(join(MODEL, 'model.safetensors'));
  const withoutWeights = (add: (path: string) => void) =>
    changed((path) => {
      rmSync(join(path, 'model.safetensors'));
      add(path);
    });

  test('is refused: without weights, or without one of its shards', async () => {
    const none = withoutWeights(() => {});
    await pruneRefused(/model-\w+": no weights in it; expected one of model\.safetensors, /, { model: none });
    const index = { weight_map: { 'lm_head.weight': 'model-00001-of-00002.safetensors' } };
    const sharded = withoutWeights((path) =>
      writeFileSync(join(path, 'model.safetensors.index.json'), JSON.stringify(index)),
    );
    const message = /index\.json": shard "model-00001-of-00002\.safetensors" is missing from the folder$/m;
    await pruneRefused(message, { model: sharded });
  });

  test('is refused: a safetensors header that lies', async () => {
    const long = Buffer.from(weights);
    long.writeBigUInt64LE(2n ** 40n);
    const message = /model\.safetensors": its header claims \d+ bytes; the file has \d+/;
    await pruneRefused(message, { model: withFile('model.safetensors', long) });
    const cut = withFile('model.safetensors', weights.subarray(0, -100));
    await pruneRefused(/model\.safetensors": tensor "[\w.]+" lies at \d+ to \d+ of \d+ bytes/, {
      model: cut,
    });
    // A tensor that ends elsewhere than its shape says, in a header of the same length.
    const odd = Buffer.from(weights);
    odd.write('262140', odd.indexOf('262144]'));
    const shape = /model\.safetensors": tensor "model\.decoder\.embed_tokens\.weight" .*262140/;
    await pruneRefused(shape, { model: withFile('model.safetensors', odd) });
  });

  test('is refused: a config.json that contradicts the tensors, or is none', async () => {
    const model = withJson('config.json', (it) => ({ ...it, ffn_dim: 640 }));
    await pruneRefused(/tensor "[\w.]+\.fc1\.weight" expected \[640,128\], got \[512,128\]/, { model });
    const heads = withJson('config.json', (it) => ({ ...it, num_attention_heads: 7 }));
    await pruneRefused(/config\.json: .*num_attention_heads: 128 features cannot be shared out to 7 heads/, {
      model: heads,
    });
    await pruneRefused(/config\.json": not valid JSON/, { model: withFile('config.json', '{"model_type":') });
  });

  test('is refused by every command: sizes that the weights do not have', async () => {
    const block = { heads: 8, kvHeads: 8, ffn: 256 };
    const recorded = withFile('osscar.json', JSON.stringify({ blocks: Array(4).fill(block) }));
    const configured = withJson('config.json', (it) => ({ ...it, ffn_dim: 256 }));
    const shape =
      'not go with the weights: tensor "[\\w.]+fc1\\.weight" expected \\[256,128\\], got \\[512,128\\]$';
    for (const [model, saying] of [
      [recorded, 'osscar\\.json and config\\.json do'],
      [configured, '^osscar: config\\.json does'],
    ] as const) {
      const message = new RegExp(`${saying} ${shape}`, 'm');
      await pruneRefused(message, { model });
      await refused(['inspect', model], message);
      await refused(['prune', model, '--dry-run', '--keep', '0.5'], message);
      await refused(['eval', model, '--data', TRAIN], message);
    }
  });

  test('is planned without weights, and with what a download left in their place', async () => {
    const none = withoutWeights(() => {});
    const pointer = withFile('model.safetensors', 'version https://git-lfs.github.com/spec/v1\n');
    const index = { weight_map: { 'lm_head.weight': 'model-00001-of-00002.safetensors' } };
    const sharded = withoutWeights((path) =>
      writeFileSync(join(path, 'model.safetensors.index.json'), JSON.stringify(index)),
    );
    for (const model of [none, pointer, sharded])
      expect((await osscarJson('inspect', model)).parameters).toBe(957_440);
  });

  test('is refused: a model_type that is not known', async () => {
    const model = withJson('config.json', (it) => ({ ...it, model_type: 'rwkv', architectures: [] }));
    await pruneRefused(
      /model_type "rwkv" is not supported \(docs\/language-models.md .*\); as an ONNX file/,
      { model },
    );
    await refused(['inspect', model], /model_type "rwkv" is not supported/);
    await refused(['prune', model, '--dry-run', '--keep', '0.5'], /model_type "rwkv" is not supported/);
  });

  test('is refused: weights that are no numbers', async () => {
    const nan = Buffer.from(weights);
    nan.writeUInt16LE(0x7e00, nan.length - 2);
    const model = withFile('model.safetensors', nan);
    await pruneRefused(/model\.safetensors": tensor "[\w.]+" has NaN at element \d+$/m, { model });
  });

  test('is refused: a pickle that names a function, which does not run', async () => {
    const model = withoutWeights((path) =>
      cpSync(fixture('checkpoint/attack.bin'), join(path, 'pytorch_model.bin')),
    );
    await pruneRefused(/pytorch_model\.bin": .*"posix\.system", and only tensors are read/, { model });
  });

  test('is refused: a name that no structure has', async () => {
    await pruneRefused(/no prunable structure "9\.mlp"/, { flags: ['--keep-layer', '9.mlp=0.5'] });
  });
});
