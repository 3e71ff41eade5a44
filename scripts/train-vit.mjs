// Trains the small ViT of test/fixtures on the 512 images in test/fixtures/calib and writes it as transformers would:
//   node scripts/train-vit.mjs [--epochs 60] [--out test/fixtures/fashion-vit]
// Some minutes on one core. With the same epochs and machine it writes the same bytes.

import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { setThreadsCount } from '@tensorflow/tfjs-backend-wasm';
import * as tf from '@tensorflow/tfjs-core';
import { build } from 'esbuild';
import { decode } from 'fast-png';

const FIXTURES = join(import.meta.dirname, '../test/fixtures');
const { values: flags } = parseArgs({
  options: {
    epochs: { type: 'string', default: '60' },
    out: { type: 'string', default: join(FIXTURES, 'fashion-vit') },
  },
});

const SIDE = 28;
const PATCH = 7;
const ACROSS = SIDE / PATCH;
const TOKENS = ACROSS ** 2 + 1;
const [HIDDEN, HEADS, FFN, BLOCKS, CLASSES] = [48, 4, 192, 4, 10];
const [MEAN, STD] = [0.286, 0.353];
const [BATCH, RATE, DECAY, SMOOTHING] = [64, 2e-3, 0.05, 0.1];
const EPSILON = 1e-5;
const CLASS_NAMES = [
  't-shirt',
  'trouser',
  'pullover',
  'dress',
  'coat',
  'sandal',
  'shirt',
  'sneaker',
  'bag',
  'boot',
];

// mulberry32
let state = 1;
function random() {
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
}
const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());

function readImages(folder) {
  return readdirSync(folder)
    .sort()
    .flatMap((name, label) =>
      readdirSync(join(folder, name)).map((file) => {
        const { data } = decode(readFileSync(join(folder, name, file)));
        return { label, pixels: Float32Array.from(data, (value) => (value / 255 - MEAN) / STD) };
      }),
    );
}

/** Weights by the names of transformers; nn.Linear is out × in. */
function initial() {
  const weights = new Map();
  const add = (name, shape, deviation, mean = 0) => {
    const length = shape.reduce((a, b) => a * b, 1);
    const data = Float32Array.from({ length }, () => mean + (deviation && deviation * normal()));
    weights.set(name, tf.variable(tf.tensor(data, shape), true, name));
  };
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

const turned = (x) => tf.transpose(x, x.rank === 2 ? [1, 0] : [0, 2, 1]);
/** a·b, whose gradients are products of transposed copies: `transposeA` of the wasm backend takes fifty times as long. */
const product = tf.customGrad((a, b, save) => {
  save([a, b]);
  return {
    value: tf.matMul(a, b),
    gradFunc: (dy, [a, b]) => [tf.matMul(dy, turned(b)), tf.matMul(turned(a), dy)],
  };
});

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

/** Squares of PATCH × PATCH pixels in rows, of images as they are or, to train on, mirrored and moved. */
function patchesOf(images, isVaried) {
  const data = new Float32Array(images.length * SIDE * SIDE);
  images.forEach(({ pixels }, n) => {
    const mirrored = isVaried && random() < 0.5;
    const [down, right] = isVaried ? [0, 0].map(() => Math.floor(5 * random()) - 2) : [0, 0];
    for (let y = 0; y < SIDE; y++) {
      for (let x = 0; x < SIDE; x++) {
        const [sy, sx] = [y + down, (mirrored ? SIDE - 1 - x : x) + right];
        const inside = sy >= 0 && sy < SIDE && sx >= 0 && sx < SIDE;
        const patch = Math.floor(y / PATCH) * ACROSS + Math.floor(x / PATCH);
        data[(n * ACROSS ** 2 + patch) * PATCH * PATCH + (y % PATCH) * PATCH + (x % PATCH)] = inside
          ? pixels[sy * SIDE + sx]
          : -MEAN / STD;
      }
    }
  });
  return tf.tensor(data, [images.length * ACROSS ** 2, PATCH * PATCH]);
}

function shuffled(images) {
  const order = [...images];
  for (let i = order.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
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

function train(weights, images, epochs) {
  const optimizer = tf.train.adam(RATE);
  const steps = epochs * Math.floor(images.length / BATCH);
  for (let step = 0, queue = []; step < steps; step++) {
    if (queue.length < BATCH) queue = shuffled(images);
    const batch = queue.splice(0, BATCH);
    const warm = Math.min(1, (step + 1) / (0.1 * steps));
    optimizer.learningRate = (RATE * warm * (1 + Math.cos((Math.PI * step) / steps))) / 2;
    const cost = tf.tidy(() => {
      const patches = patchesOf(batch, true);
      const off = SMOOTHING / CLASSES;
      const wanted = batch.map(({ label }) =>
        Array.from({ length: CLASSES }, (_, c) => off + (c === label ? 1 - SMOOTHING : 0)),
      );
      const targets = tf.tensor(wanted);
      const loss = () => {
        const scores = forward(weights, patches, batch.length);
        const shifted = tf.sub(scores, tf.max(scores, -1, true));
        const logs = tf.sub(shifted, tf.log(tf.sum(tf.exp(shifted), -1, true)));
        return tf.neg(tf.mean(tf.sum(tf.mul(targets, logs), -1)));
      };
      return optimizer.minimize(loss, true).dataSync()[0];
    });
    tf.tidy(() => {
      for (const [name, value] of weights)
        if (name.endsWith('.weight') && value.rank === 2)
          value.assign(tf.mul(value, 1 - optimizer.learningRate * DECAY));
    });
    if (step % 20 === 0) console.log(`step ${step} of ${steps}: loss ${cost.toFixed(3)}`);
  }
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

/** Gradients are apart from the core, in modules that Node takes for CommonJS; they register with the core that is loaded. */
async function registerGradients() {
  const entryPoints = ['@tensorflow/tfjs-core/dist/register_all_gradients.js'];
  const { outputFiles } = await build({
    entryPoints,
    bundle: true,
    format: 'esm',
    platform: 'node',
    write: false,
  });
  await import(`data:text/javascript;base64,${Buffer.from(outputFiles[0].contents).toString('base64')}`);
}

await registerGradients();
setThreadsCount(1);
await tf.setBackend('wasm');
const [images, unseen] = ['calib', 'test'].map((folder) => readImages(join(FIXTURES, folder)));
const weights = initial();
train(weights, images, Number(flags.epochs));
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
