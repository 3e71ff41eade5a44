// A ResNet50-shaped network (random weights, 224 × 224) through the whole pipeline: time by stage and peak memory.
// Random weights say nothing about accuracy; this shows that a network of that size is analysed, pruned and run.
//   npm run bench -- resnet50 [samples]

import { cpus } from 'node:os';
import { openEngine } from '../src/engine/index.ts';
import { iterableDataset } from '../src/pipeline/data/index.ts';
import { openModel } from '../src/pipeline/open.ts';
import { pruneModel } from '../src/pipeline/prune.ts';
import { openSession } from '../src/pool/index.ts';
import { resnet50 } from '../test/support/onnx-builder.ts';
import { random } from '../test/support/random.ts';

const samples = Number(process.argv[2] ?? 32);
const start = performance.now();
const seconds = () => ((performance.now() - start) / 1000).toFixed(1);

const engine = await openEngine({ threads: 2 });
const session = await openSession();
console.log(
  `${cpus()[0].model}, Node ${process.version}, ${engine.name}, ${session.simd} SIMD, ${samples} samples`,
);
const model = await openModel(resnet50(1), { engine, name: 'resnet50' });
const { structures } = model.analysis;
console.log(
  `${seconds()} s: ${model.parameters} parameters, ${structures.filter(({ prunable }) => prunable).length} of ${structures.length} structures prunable`,
);
for (const { name, prunable, reason } of structures) if (!prunable) console.log(`  ${name}: ${reason}`);

const next = random(1);
const images = Array.from({ length: samples }, () =>
  Float32Array.from({ length: 3 * 224 * 224 }, () => 2 * next() - 1),
);
const calibration = await iterableDataset(images, model.input.shape);
const { report } = await pruneModel(model, {
  engine,
  session,
  calibration,
  keep: 0.5,
  target: 'residual',
  onProgress: ({ done, total }) => {
    if (done % 4 === 0 || done === total) console.log(`${seconds()} s: ${done}/${total} structures`);
  },
});
const { parameters, macs, latencyMs, maxDifference, memory } = report;
console.log(
  `${seconds()} s: done; ${JSON.stringify({ parameters, macs, latencyMs, maxDifference, memory })}`,
);
console.log(`peak resident memory ${(process.resourceUsage().maxRSS / 1024).toFixed(0)} MiB`);
await session.close();
