// A budget of latency, and what comes of it: prunes a model within it, then times the written and the dense model by turns.
//   npm run bench -- latency [budget] [model.onnx image-height-and-width]
// Without a model the fixture fashion-resnet, on its calibration images; a model of one's own is calibrated on noise, which
// says nothing about its accuracy and everything about its time.

import { readdirSync, readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { basename, join } from 'node:path';
import { openEngine } from '../src/engine/index.ts';
import {
  type Dataset,
  imageDataset,
  iterableDataset,
  openModel,
  parsePreprocessing,
  prune,
} from '../src/pipeline/index.ts';
import { alternately, CAREFUL, firstSample, ratioOf } from '../src/pipeline/measure/timing.ts';
import { openSession } from '../src/pool/index.ts';
import { random } from '../test/support/random.ts';

const FIXTURES = 'test/fixtures';
const NOISE_SAMPLES = 16;
const IMAGES = 64;
/** Proofs, each with sessions of its own: how far a ratio is from the same one a moment later. */
const PROOFS = 3;

const [budget = '0.6', path = `${FIXTURES}/fashion-resnet.onnx`, side] = process.argv.slice(2);
const engine = await openEngine({ threads: 1 });
const session = await openSession({ threads: 1 });
const bytes = readFileSync(path);
const size = side === undefined ? undefined : [Number(side), Number(side)];
const model = await openModel(bytes, { engine, name: basename(path), size });
const { shape } = model.input;

function fixtureImages(): Dataset {
  const folder = join(FIXTURES, 'calib');
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.png'))
    .sort();
  const every = Math.max(1, Math.floor(files.length / IMAGES));
  const entries = files
    .filter((_, i) => i % every === 0)
    .map((name) => ({ name, read: async () => readFileSync(join(folder, name)) }));
  return imageDataset(entries, parsePreprocessing({ mean: [0.286], std: [0.353] }), shape);
}

function noise(): Promise<Dataset> {
  const next = random(1);
  const length = shape.reduce((a, b) => a * b, 1);
  const draw = () => Float32Array.from({ length }, () => 2 * next() - 1);
  return iterableDataset(Array.from({ length: NOISE_SAMPLES }, draw), shape);
}

const isFixture = path.startsWith(FIXTURES);
const calibration = isFixture ? fixtureImages() : await noise();
const { report, written } = await prune(model, {
  engine,
  session,
  calibration,
  latency: budget,
  target: 'residual',
  effort: 'low',
});
const { before, after, limit, settled = [] } = report.allocation!;
const timing = report.stages
  .filter(({ stage }) => stage === 'timing')
  .map(({ seconds }) => seconds.toFixed(1));
console.log(`${cpus()[0].model}, Node ${process.version}, ${engine.name}, one thread`);
console.log(
  `${model.name}: dense ${before.toPrecision(3)} ms, at most ${limit.toPrecision(3)} ms (${(limit / before).toFixed(3)}); timing took ${timing.join(' s and ')} s`,
);
console.log(
  `multiply-adds left: ${(report.macs!.after / report.macs!.before).toFixed(3)}; chosen for and measured, of the dense time: ${settled.map((it) => `${(it.limit / before).toFixed(3)} ${(it.size / before).toFixed(3)}`).join(', ')}; kept ${(after / before).toFixed(3)}`,
);
const input = await firstSample(calibration, model.input);
for (let proof = 0; proof < PROOFS; proof++) {
  const sessions = [await engine.load(bytes), await engine.load(written.model)];
  const [dense, small] = await alternately(sessions, input, CAREFUL, {});
  console.log(`the written file beside the dense one: ${ratioOf(small, dense).toFixed(3)} of its time`);
  for (const it of sessions) await it.release();
}
await session.close();
