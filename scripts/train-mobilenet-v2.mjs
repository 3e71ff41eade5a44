// Trains the small net of inverted residuals of test/fixtures (as MobileNet V2: 1x1 up, depthwise 3x3, linear 1x1 down with
// a shortcut) on the 512 images in test/fixtures/calib, and writes it with its BatchNormalization folded:
//   node scripts/train-mobilenet-v2.mjs [--epochs 100] [--out test/fixtures/fashion-mobilenet-v2.onnx]
// Some minutes on one core. With the same epochs and machine it writes the same bytes.

import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { evaluate } from '../dist/node.js';
import { bundle } from './bundle.mjs';
import {
  addWeight,
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
} from './training.mjs';

const { values: flags } = parseArgs({
  options: {
    epochs: { type: 'string', default: '100' },
    out: { type: 'string', default: join(FIXTURES, 'fashion-mobilenet-v2.onnx') },
  },
});

const STEM = { channels: 16, stride: 2 };
const EXPANSION = 4;
/** Output channels and stride of the blocks; where neither changes there is a shortcut. */
const BLOCKS = [
  [16, 1],
  [24, 2],
  [24, 1],
  [24, 1],
  [40, 1],
  [40, 1],
  [40, 1],
];
const HEAD = 128;
const EPSILON = 1e-5;

/** Linear maps in their order, 1x1 or depthwise 3x3, each with a BatchNormalization behind it. */
const blocks = [];
const layers = [{ name: 'stem', kind: 'full', inputs: 9, outputs: STEM.channels }];
for (const [i, [outputs, stride]] of BLOCKS.entries()) {
  const inputs = layers.at(-1).outputs;
  const inner = EXPANSION * inputs;
  const block = {
    up: { name: `${i}.up`, kind: 'full', inputs, outputs: inner },
    mid: { name: `${i}.mid`, kind: 'depthwise', outputs: inner, stride },
    down: { name: `${i}.down`, kind: 'full', inputs: inner, outputs },
    hasShortcut: inputs === outputs && stride === 1,
  };
  blocks.push(block);
  layers.push(block.up, block.mid, block.down);
}
const head = { name: 'head', kind: 'full', inputs: layers.at(-1).outputs, outputs: HEAD };
layers.push(head);

function initial() {
  const weights = new Map();
  for (const { name, kind, inputs, outputs } of layers) {
    const isFull = kind === 'full';
    addWeight(
      weights,
      `${name}.weight`,
      isFull ? [inputs, outputs] : [9, outputs],
      (2 / (isFull ? inputs : 9)) ** 0.5,
    );
    addWeight(weights, `${name}.gain`, [outputs], 0, 1);
    addWeight(weights, `${name}.bias`, [outputs], 0);
  }
  addWeight(weights, 'classifier.weight', [HEAD, CLASSES], HEAD ** -0.5);
  addWeight(weights, 'classifier.bias', [CLASSES], 0);
  return weights;
}

/** 3x3, depthwise; the backend has no gradients of it, which are such maps and sums over shifted images themselves. */
const depthwise = tf.customGrad((x, w, save) => {
  save([x, w]);
  const over = (x, w) => tf.depthwiseConv2d(x, tf.reshape(w, [3, 3, -1, 1]), 1, 'same');
  return {
    value: over(x, w),
    gradFunc: (dy, [x, w]) => {
      const [count, height, width, channels] = x.shape;
      const padded = tf.pad(x, [
        [0, 0],
        [1, 1],
        [1, 1],
        [0, 0],
      ]);
      const sums = Array.from({ length: 9 }, (_, i) => {
        const moved = tf.slice(padded, [0, Math.floor(i / 3), i % 3, 0], [count, height, width, channels]);
        return tf.sum(tf.reshape(tf.mul(dy, moved), [-1, channels]), 0);
      });
      return [over(dy, tf.reverse(w, 0)), tf.stack(sums)];
    },
  };
});

/** Every second row and column. */
function halved(x) {
  const [count, height, width, channels] = x.shape;
  const [h, w] = [Math.ceil(height / 2), Math.ceil(width / 2)];
  const even = tf.pad(x, [
    [0, 0],
    [0, 2 * h - height],
    [0, 2 * w - width],
    [0, 0],
  ]);
  const rows = tf.slice(
    tf.reshape(even, [count * h, 4 * w * channels]),
    [0, 0],
    [count * h, 2 * w * channels],
  );
  const columns = tf.slice(
    tf.reshape(rows, [count * h * w, 2 * channels]),
    [0, 0],
    [count * h * w, channels],
  );
  return tf.reshape(columns, [count, h, w, channels]);
}

/** @param seen  told of the mean and the variance that each layer's outputs had */
function forward(weights, patches, count, seen = () => {}) {
  const of = (name) => weights.get(name);
  const norm = (x, { name }) => {
    const mean = tf.mean(x, 0, true);
    const centred = tf.sub(x, mean);
    const variance = tf.mean(tf.mul(centred, centred), 0, true);
    seen(name, mean, variance);
    const scaled = tf.div(centred, tf.sqrt(tf.add(variance, EPSILON)));
    return tf.add(tf.mul(scaled, of(`${name}.gain`)), of(`${name}.bias`));
  };
  const full = (x, layer) => norm(product(x, of(`${layer.name}.weight`)), layer);
  const mid = (x, layer, side) => {
    const y = depthwise(tf.reshape(x, [count, side, side, layer.outputs]), of(`${layer.name}.weight`));
    return norm(tf.reshape(layer.stride === 2 ? halved(y) : y, [-1, layer.outputs]), layer);
  };
  let side = SIDE / STEM.stride;
  let x = tf.relu6(full(patches, layers[0]));
  for (const block of blocks) {
    const inner = tf.relu6(mid(tf.relu6(full(x, block.up)), block.mid, side));
    const y = full(inner, block.down);
    side = Math.ceil(side / block.mid.stride);
    x = block.hasShortcut ? tf.add(x, y) : y;
  }
  const features = tf.mean(tf.reshape(tf.relu6(full(x, head)), [count, side * side, HEAD]), 1);
  return tf.add(product(features, of('classifier.weight')), of('classifier.bias'));
}

/** What the first layer reads, 3x3 pixels around every second row and column. */
function patchesOf(images, isVaried) {
  const across = SIDE / STEM.stride;
  const data = new Float32Array(images.length * across ** 2 * 9);
  let at = 0;
  for (const image of images) {
    const pixel = pixelsOf(image, isVaried);
    // Zeros around the image, as the convolution has them.
    const padded = (y, x) => (y < 0 || x < 0 ? 0 : pixel(y, x));
    for (let y = 0; y < SIDE; y += STEM.stride)
      for (let x = 0; x < SIDE; x += STEM.stride)
        for (let i = 0; i < 9; i++) data[at++] = padded(y + Math.floor(i / 3) - 1, x + (i % 3) - 1);
  }
  return tf.tensor(data, [images.length * across ** 2, 9]);
}

/** Weights and biases by layers, with the statistics of all images in them. */
function folded(weights, images) {
  const statistics = new Map();
  const keep = (name, mean, variance) =>
    statistics.set(name, { mean: mean.dataSync().slice(), variance: variance.dataSync().slice() });
  tf.tidy(() => forward(weights, patchesOf(images, false), images.length, keep));
  const data = (name) => weights.get(name).dataSync();
  return new Map(
    layers.map(({ name, outputs }) => {
      const { mean, variance } = statistics.get(name);
      const scale = data(`${name}.gain`).map((gain, j) => gain / Math.sqrt(variance[j] + EPSILON));
      const bias = data(`${name}.bias`).map((bias, j) => bias - mean[j] * scale[j]);
      // inputs × outputs, or 3·3 × channels
      const weight = data(`${name}.weight`).map((value, i) => value * scale[i % outputs]);
      return [name, { weight, bias }];
    }),
  );
}

/** As ONNX has it: outputs first. */
function transposed(data, columns) {
  const rows = data.length / columns;
  return data.map((_, i) => data[(i % rows) * columns + Math.floor(i / rows)]);
}

async function onnx(weights, images) {
  await bundle(['test/support/onnx-builder.ts'], 'build/scripts');
  const { OnnxBuilder } = await import(pathToFileURL(resolve('build/scripts/onnx-builder.mjs')).href);
  const fitted = folded(weights, images);
  const net = new OnnxBuilder();
  const conv = (x, { name, outputs }, { size = 1, stride = 1, group = 1 } = {}) => {
    const { weight, bias } = fitted.get(name);
    const dims = [outputs, weight.length / outputs / size ** 2, size, size];
    const parameters = [net.floats(transposed(weight, outputs), dims), net.floats(bias)];
    const pad = (size - 1) / 2;
    const shape = {
      kernel_shape: [size, size],
      strides: [stride, stride],
      pads: new Array(4).fill(pad),
      group,
    };
    return net.node('Conv', [x, ...parameters], shape, { channels: outputs });
  };
  const relu6 = (x) => net.node('Clip', [x, net.floats([0], []), net.floats([6], [])]);
  let x = relu6(conv(net.input([1, SIDE, SIDE]), layers[0], { size: 3, stride: STEM.stride }));
  for (const { up, mid, down, hasShortcut } of blocks) {
    const inner = relu6(conv(x, up));
    const y = conv(relu6(conv(inner, mid, { size: 3, stride: mid.stride, group: mid.outputs })), down);
    x = hasShortcut ? net.add(x, y) : y;
  }
  const features = net.flatten(net.globalAveragePool(relu6(conv(x, head))));
  const matrix = net.floats(transposed(weights.get('classifier.weight').dataSync(), CLASSES), [
    CLASSES,
    HEAD,
  ]);
  const bias = net.floats(weights.get('classifier.bias').dataSync());
  return net.output(net.node('Gemm', [features, matrix, bias], { transB: 1 }), 'logits').build();
}

const images = readImages('calib');
const weights = initial();
train(weights, images, {
  epochs: Number(flags.epochs),
  decay: 0.05,
  prepare: patchesOf,
  forward: (patches, count) => forward(weights, patches, count),
  decays: (name) => name.endsWith('.weight'),
});
mkdirSync(dirname(flags.out), { recursive: true });
writeFileSync(flags.out, await onnx(weights, images));
for (const folder of ['calib', 'test']) {
  const { name, value } = await evaluate(flags.out, join(FIXTURES, folder), { mean: MEAN, std: STD });
  console.log(`${name} ${value} on ${folder}`);
}
