// What the scripts share that train models of test/fixtures: the images of test/fixtures/calib, seeded numbers, and Adam
// on @tensorflow/tfjs-core. With the same epochs and machine they write the same bytes.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setThreadsCount } from '@tensorflow/tfjs-backend-wasm';
import * as tf from '@tensorflow/tfjs-core';
import { build } from 'esbuild';
import { decode } from 'fast-png';

export { tf };

export const FIXTURES = join(import.meta.dirname, '../test/fixtures');
export const SIDE = 28;
export const [MEAN, STD] = [0.286, 0.353];
export const CLASS_NAMES = [
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
export const CLASSES = CLASS_NAMES.length;
const [BATCH, RATE, SMOOTHING] = [64, 2e-3, 0.1];

// mulberry32
let state = 1;
function random() {
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
}
const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());

/** Of `calib` or `test`. */
export function readImages(folder) {
  return readdirSync(join(FIXTURES, folder))
    .sort()
    .flatMap((name, label) =>
      readdirSync(join(FIXTURES, folder, name)).map((file) => {
        const { data } = decode(readFileSync(join(FIXTURES, folder, name, file)));
        return { label, pixels: Float32Array.from(data, (value) => (value / 255 - MEAN) / STD) };
      }),
    );
}

/** Adds a variable: normal numbers of this deviation around `mean`. */
export function addWeight(weights, name, shape, deviation, mean = 0) {
  const length = shape.reduce((a, b) => a * b, 1);
  const data = Float32Array.from({ length }, () => mean + (deviation && deviation * normal()));
  weights.set(name, tf.variable(tf.tensor(data, shape), true, name));
}

export const turned = (x) => tf.transpose(x, x.rank === 2 ? [1, 0] : [0, 2, 1]);
/** a·b, whose gradients are products of transposed copies: `transposeA` of the wasm backend takes fifty times as long. */
export const product = tf.customGrad((a, b, save) => {
  save([a, b]);
  return {
    value: tf.matMul(a, b),
    gradFunc: (dy, [a, b]) => [tf.matMul(dy, turned(b)), tf.matMul(turned(a), dy)],
  };
});

/** Pixels of an image as it is or, to train on, mirrored and moved: a function of row and column, also outside of it. */
export function pixelsOf({ pixels }, isVaried) {
  const mirrored = isVaried && random() < 0.5;
  const [down, right] = isVaried ? [0, 0].map(() => Math.floor(5 * random()) - 2) : [0, 0];
  return (y, x) => {
    const [sy, sx] = [y + down, (mirrored ? SIDE - 1 - x : x) + right];
    const inside = sy >= 0 && sy < SIDE && sx >= 0 && sx < SIDE;
    return inside ? pixels[sy * SIDE + sx] : -MEAN / STD;
  };
}

function shuffled(images) {
  const order = [...images];
  for (let i = order.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

/**
 * Adam with weight decay, a warm start and a rate that falls as a cosine.
 *
 * @param prepare  (images, isVaried) => tensor
 * @param forward  (tensor, number of images) => scores
 * @param decays  (name, variable) => whether weight decay takes part of it
 */
export function train(weights, images, { epochs, decay, prepare, forward, decays }) {
  const optimizer = tf.train.adam(RATE);
  const steps = epochs * Math.floor(images.length / BATCH);
  for (let step = 0, queue = []; step < steps; step++) {
    if (queue.length < BATCH) queue = shuffled(images);
    const batch = queue.splice(0, BATCH);
    const warm = Math.min(1, (step + 1) / (0.1 * steps));
    optimizer.learningRate = (RATE * warm * (1 + Math.cos((Math.PI * step) / steps))) / 2;
    const cost = tf.tidy(() => {
      const input = prepare(batch, true);
      const off = SMOOTHING / CLASSES;
      const wanted = batch.map(({ label }) =>
        Array.from({ length: CLASSES }, (_, c) => off + (c === label ? 1 - SMOOTHING : 0)),
      );
      const targets = tf.tensor(wanted);
      const loss = () => {
        const scores = forward(input, batch.length);
        const shifted = tf.sub(scores, tf.max(scores, -1, true));
        const logs = tf.sub(shifted, tf.log(tf.sum(tf.exp(shifted), -1, true)));
        return tf.neg(tf.mean(tf.sum(tf.mul(targets, logs), -1)));
      };
      return optimizer.minimize(loss, true).dataSync()[0];
    });
    tf.tidy(() => {
      for (const [name, value] of weights)
        if (decays(name, value)) value.assign(tf.mul(value, 1 - optimizer.learningRate * decay));
    });
    if (step % 20 === 0) console.log(`step ${step} of ${steps}: loss ${cost.toFixed(3)}`);
  }
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
