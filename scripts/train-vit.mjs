// Trains the small ViT of test/fixtures on the 512 images in test/fixtures/calib and writes it as transformers would:
//   node scripts/train-vit.mjs [--epochs 60] [--heads 4] [--ffn 192] [--out test/fixtures/fashion-vit]
// Some minutes on one core. With the same epochs and machine it writes the same bytes.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import {
  addWeight,
  CLASS_NAMES,
  CLASSES,
  FIXTURES,
  MEAN,
  pixelsOf,
  product,
  readImages,
  SIDE,
  STD,
  tf,
  train,
  turned,
} from './training.mjs';

const { values: flags } = parseArgs({
  options: {
    epochs: { type: 'string', default: '60' },
    heads: { type: 'string', default: '4' },
    ffn: { type: 'string', default: '192' },
    out: { type: 'string', default: join(FIXTURES, 'fashion-vit') },
  },
});

const PATCH = 7;
const ACROSS = SIDE / PATCH;
const TOKENS = ACROSS ** 2 + 1;
const [HIDDEN, BLOCKS] = [48, 4];
const [HEADS, FFN] = [flags.heads, flags.ffn].map(Number);
const EPSILON = 1e-5;

/** Weights by the names of transformers; nn.Linear is out × in. */
function initial() {
  const weights = new Map();
  const add = (name, ...rest) => addWeight(weights, name, ...rest);
  const linear = (name, out, inputs) => {
    add(`${name}.weight`, [out, inputs], inputs ** -0.5);
    add(`${name}.bias`, [out], 0);
  };
  const norm = (name) => {
    add(`${name}.weight`, [HIDDEN], 0, 1);
    add(`${name}.bias`, [HIDDEN], 0);
  };
  add('vit.embeddings.cls_token', [1, 1, HIDDEN], 0.02);
  add('vit.embeddings.position_embeddings', [1, TOKENS, HIDDEN], 0.02);
  linear('vit.embeddings.patch_embeddings.projection', HIDDEN, PATCH * PATCH);
  for (let i = 0; i < BLOCKS; i++) {
    const layer = `vit.encoder.layer.${i}`;
    norm(`${layer}.layernorm_before`);
    for (const part of ['query', 'key', 'value'])
      linear(`${layer}.attention.attention.${part}`, HIDDEN, HIDDEN);
    linear(`${layer}.attention.output.dense`, HIDDEN, HIDDEN);
    norm(`${layer}.layernorm_after`);
    linear(`${layer}.intermediate.dense`, FFN, HIDDEN);
    linear(`${layer}.output.dense`, HIDDEN, FFN);
  }
  norm('vit.layernorm');
  linear('classifier', CLASSES, HIDDEN);
  return weights;
}

/** ½x(1 + tanh(√(2/π)(x + 0.044715x³))): `gelu_new` */
function gelu(x) {
  const inner = tf.mul(Math.sqrt(2 / Math.PI), tf.add(x, tf.mul(0.044715, tf.mul(x, tf.mul(x, x)))));
  return tf.mul(tf.mul(0.5, x), tf.add(1, tf.tanh(inner)));
}

/** Scores of images, given as rows of patches. */
function forward(weights, patches, count) {
  const of = (name) => weights.get(name);
  const linear = (x, name) => tf.add(product(x, turned(of(`${name}.weight`))), of(`${name}.bias`));
  const norm = (x, name) => {
    const centred = tf.sub(x, tf.mean(x, -1, true));
    const variance = tf.mean(tf.mul(centred, centred), -1, true);
    const scaled = tf.div(centred, tf.sqrt(tf.add(variance, EPSILON)));
    return tf.add(tf.mul(scaled, of(`${name}.weight`)), of(`${name}.bias`));
  };
  const heads = (x) =>
    tf.reshape(tf.transpose(tf.reshape(x, [count, TOKENS, HEADS, HIDDEN / HEADS]), [0, 2, 1, 3]), [
      count * HEADS,
      TOKENS,
      HIDDEN / HEADS,
    ]);
  const rows = linear(patches, 'vit.embeddings.patch_embeddings.projection');
  const first = tf.add(tf.zeros([count, 1, HIDDEN]), of('vit.embeddings.cls_token'));
  const tokens = tf.concat([first, tf.reshape(rows, [count, TOKENS - 1, HIDDEN])], 1);
  let x = tf.reshape(tf.add(tokens, of('vit.embeddings.position_embeddings')), [count * TOKENS, HIDDEN]);
  for (let i = 0; i < BLOCKS; i++) {
    const layer = `vit.encoder.layer.${i}`;
    const y = norm(x, `${layer}.layernorm_before`);
    const [q, k, v] = ['query', 'key', 'value'].map((part) =>
      heads(linear(y, `${layer}.attention.attention.${part}`)),
    );
    const mixed = product(tf.softmax(tf.mul(product(q, turned(k)), (HIDDEN / HEADS) ** -0.5)), v);
    const apart = tf.transpose(tf.reshape(mixed, [count, HEADS, TOKENS, HIDDEN / HEADS]), [0, 2, 1, 3]);
    x = tf.add(x, linear(tf.reshape(apart, [count * TOKENS, HIDDEN]), `${layer}.attention.output.dense`));
    const inner = gelu(linear(norm(x, `${layer}.layernorm_after`), `${layer}.intermediate.dense`));
    x = tf.add(x, linear(inner, `${layer}.output.dense`));
  }
  const classTokens = tf.reshape(
    tf.slice(tf.reshape(x, [count, TOKENS, HIDDEN]), [0, 0, 0], [count, 1, HIDDEN]),
    [count, HIDDEN],
  );
  return linear(norm(classTokens, 'vit.layernorm'), 'classifier');
}

/** Squares of PATCH × PATCH pixels in rows. */
function patchesOf(images, isVaried) {
  const data = new Float32Array(images.length * SIDE * SIDE);
  images.forEach((image, n) => {
    const pixel = pixelsOf(image, isVaried);
    for (let y = 0; y < SIDE; y++) {
      for (let x = 0; x < SIDE; x++) {
        const patch = Math.floor(y / PATCH) * ACROSS + Math.floor(x / PATCH);
        data[(n * ACROSS ** 2 + patch) * PATCH * PATCH + (y % PATCH) * PATCH + (x % PATCH)] = pixel(y, x);
      }
    }
  });
  return tf.tensor(data, [images.length * ACROSS ** 2, PATCH * PATCH]);
}

function accuracy(weights, images) {
  let right = 0;
  for (let at = 0; at < images.length; at += 100) {
    const part = images.slice(at, at + 100);
    const scores = tf.tidy(() => forward(weights, patchesOf(part, false), part.length).arraySync());
    right += part.filter(({ label }, i) => scores[i].indexOf(Math.max(...scores[i])) === label).length;
  }
  return right / images.length;
}

/** model.safetensors: a header of JSON, then float32. */
function safetensors(weights) {
  const entries = [...weights].map(([name, value]) => {
    const isKernel = name.endsWith('projection.weight');
    return { name, shape: isKernel ? [HIDDEN, 1, PATCH, PATCH] : value.shape, data: value.dataSync() };
  });
  const header = { __metadata__: { format: 'pt' } };
  let end = 0;
  for (const { name, shape, data } of entries) {
    header[name] = { dtype: 'F32', shape, data_offsets: [end, end + data.byteLength] };
    end += data.byteLength;
  }
  const json = Buffer.from(JSON.stringify(header));
  const head = Buffer.alloc(8 + Math.ceil(json.length / 8) * 8, ' ');
  head.writeBigUInt64LE(BigInt(head.length - 8));
  json.copy(head, 8);
  return Buffer.concat([
    head,
    ...entries.map(({ data }) => Buffer.from(data.buffer, data.byteOffset, data.byteLength)),
  ]);
}

const [images, unseen] = ['calib', 'test'].map(readImages);
const weights = initial();
train(weights, images, {
  epochs: Number(flags.epochs),
  decay: 0.05,
  prepare: patchesOf,
  forward: (patches, count) => forward(weights, patches, count),
  decays: (name, { rank }) => name.endsWith('.weight') && rank === 2,
});
console.log(
  `accuracy ${accuracy(weights, images)} on the images it saw, ${accuracy(weights, unseen)} on others`,
);

const config = {
  architectures: ['ViTForImageClassification'],
  model_type: 'vit',
  hidden_size: HIDDEN,
  num_hidden_layers: BLOCKS,
  num_attention_heads: HEADS,
  intermediate_size: FFN,
  hidden_act: 'gelu_new',
  layer_norm_eps: EPSILON,
  image_size: SIDE,
  patch_size: PATCH,
  num_channels: 1,
  qkv_bias: true,
  id2label: Object.fromEntries(CLASS_NAMES.map((name, i) => [i, name])),
  label2id: Object.fromEntries(CLASS_NAMES.map((name, i) => [name, i])),
};
const preprocessor = {
  image_processor_type: 'ViTImageProcessor',
  do_convert_rgb: false,
  do_resize: false,
  do_rescale: true,
  rescale_factor: 1 / 255,
  do_normalize: true,
  image_mean: [MEAN],
  image_std: [STD],
  size: { height: SIDE, width: SIDE },
};
const json = (value) => `${JSON.stringify(value, null, 2)}\n`;
mkdirSync(flags.out, { recursive: true });
writeFileSync(join(flags.out, 'config.json'), json(config));
writeFileSync(join(flags.out, 'preprocessor_config.json'), json(preprocessor));
writeFileSync(join(flags.out, 'model.safetensors'), safetensors(weights));
