// What share of the models in a folder can be pruned, and whether they are when they are cut to half: for each ONNX file the
// parameters and multiply-adds that hang on something prunable, and what `keep` 0.5 leaves of them, by default and with streams.
// Calibrated on NAME.npy beside NAME.onnx, else on noise, which says nothing of quality.
//   npm run bench -- coverage FOLDER [open extents, as 48x192]

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { openEngine } from '../src/engine/index.ts';
import { elements, sum } from '../src/graph/index.ts';
import { decodeNpy, iterableDataset, npyDataset } from '../src/pipeline/data/index.ts';
import { type OpenedModel, openModel, pinnedOf, prune } from '../src/pipeline/index.ts';
import { openSession } from '../src/pool/index.ts';
import { random } from '../test/support/random.ts';

const SAMPLES = 8;
const [folder, extents = '64x64'] = process.argv.slice(2);
if (!folder) {
  console.error('usage: npm run bench -- coverage FOLDER [48x192]');
  process.exit(2);
}
const engine = await openEngine();
const session = await openSession();
const files = readdirSync(folder);

/** Parts of the parameters and of the multiply-adds. */
const parts = (parameters: number, macs: number) =>
  [parameters, macs].map((part) => `${(100 * part).toFixed(1)} %`).join(' / ');

function prunable(model: OpenedModel): string {
  const pinned = pinnedOf(model);
  const stays = (of: 'parameters' | 'macs') => sum(pinned.map(({ share }) => share[of]));
  return parts(1 - stays('parameters') / model.parameters, 1 - stays('macs') / model.macs);
}

function calibrationFor(name: string, { input }: OpenedModel) {
  const array = `${name}.npy`;
  if (files.includes(array))
    return npyDataset(decodeNpy(readFileSync(join(folder, array)), array), input.shape, array);
  const next = random(1);
  const noise = () => Float32Array.from({ length: elements(input.shape) }, () => 2 * next() - 1);
  return iterableDataset(Array.from({ length: SAMPLES }, noise), input.shape);
}

async function columns(name: string, residual: boolean): Promise<string[]> {
  const bytes = readFileSync(join(folder, `${name}.onnx`));
  const open = (size?: readonly number[]) => openModel(bytes, { engine, name, size, residual });
  const model = await open().catch(() => open(extents.split('x').map(Number)));
  const calibration = await calibrationFor(name, model);
  const { report } = await prune(model, { engine, session, calibration, keep: 0.5, target: 'self' });
  const left = ({ before, after }: { before: number; after: number }) => after / before;
  return [
    prunable(model),
    parts(left(report.parameters), left(report.macs!)),
    report.maxDifference.toExponential(0),
  ];
}

console.log('| model | prunable | left at 0.5 | off | with streams | left at 0.5 | off |');
console.log('|---|---|---|---|---|---|---|');
for (const name of files.flatMap((file) => /^(.+)\.onnx$/.exec(file)?.[1] ?? [])) {
  const cells = [false, true].map((residual) =>
    columns(name, residual).catch((error: Error) => [error.message.slice(0, 80), '', '']),
  );
  console.log(`| ${[name, ...(await Promise.all(cells)).flat()].join(' | ')} |`);
}
await session.close();
