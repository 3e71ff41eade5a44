// What share of the models in a folder can be pruned, and whether they are when they are cut to half: for each ONNX file the
// parameters and multiply-adds that hang on something prunable, what `keep` 0.5 leaves of them, how far the written model is
// off the masked one, and how far apart onnxruntime-web and -node (where it is installed) run it at another batch and, where
// extents are open, at twice the size. By default and with streams.
// Calibrated on NAME.npy beside NAME.onnx, and run on the same repeated, else on noise, which says nothing of quality.
//   npm run bench -- coverage FOLDER [open extents, as 48x192]

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadNative } from '../src/disk/engine.ts';
import { type Engine, openEngine } from '../src/engine/index.ts';
import { elements, readModel, sizeTerms } from '../src/graph/index.ts';
import { decodeNpy, iterableDataset, type NpyArray, npyDataset } from '../src/pipeline/data/index.ts';
import {
  declaredInput,
  type ModelInput,
  type OpenedModel,
  openModel,
  prune,
  takesTokens,
} from '../src/pipeline/index.ts';
import { lost } from '../src/pipeline/models/shares.ts';
import { otherFeeds } from '../src/pipeline/open/inputs.ts';
import { openSession } from '../src/pool/index.ts';
import { random } from '../test/support/random.ts';

const SAMPLES = 8;
const OTHER_BATCH = 3;
/** Ids of noise lie below the size of any vocabulary. */
const FEW_TOKENS = 16;

const [folder, extents = '64x64'] = process.argv.slice(2);
if (!folder) {
  console.error('usage: npm run bench -- coverage FOLDER [48x192]');
  process.exit(2);
}
const engine = await openEngine();
const native = await loadNative(false);
const engines = [engine, ...(native ? [await openEngine({ runtime: native })] : [])];
const session = await openSession();
const files = readdirSync(folder);

/** Parts of the parameters and of the multiply-adds. */
const parts = (parameters: number, macs: number) =>
  [parameters, macs].map((part) => `${(100 * part).toFixed(1)} %`).join(' / ');

function prunable({ model, analysis, info, ...whole }: OpenedModel): string {
  const terms = sizeTerms(model, analysis, info.shapes);
  const names = new Set(analysis.structures.filter((it) => it.prunable).map(({ name }) => name));
  return parts(lost(terms.weights, names) / whole.parameters, lost(terms.macs, names) / whole.macs);
}

function noise(input: ModelInput, length: number, next: () => number): Float32Array {
  const draw = takesTokens(input) ? () => Math.floor(FEW_TOKENS * next()) : () => 2 * next() - 1;
  return Float32Array.from({ length }, draw);
}

/** The first samples, each repeated along its axes as often as larger ones need. */
function repeated({ shape, data }: NpyArray, dims: readonly number[]): Float32Array {
  return Float32Array.from({ length: elements(dims) }, (_, at) => {
    let [rest, from, step] = [at, 0, 1];
    for (let axis = dims.length - 1; axis >= 0; axis--) {
      from += ((rest % dims[axis]) % shape[axis]) * step;
      rest = Math.floor(rest / dims[axis]);
      step *= shape[axis];
    }
    return data[from];
  });
}

/** The largest difference of the outputs that two engines give, as a part of their range. */
async function apart(
  { input }: OpenedModel,
  written: Uint8Array,
  [one, other]: readonly Engine[],
  npy: NpyArray | undefined,
) {
  const larger = input.shape.map((dim, axis) => (input.open[axis] ? 2 * dim : dim));
  const dims = [input.fixedBatch || OTHER_BATCH, ...larger];
  const data = npy ? repeated(npy, dims) : noise(input, elements(dims), random(2));
  const feeds = { ...otherFeeds(input, dims), [input.name]: { dims, data } };
  const outputs = async (engine: Engine) => {
    const session = await engine.load(written);
    const results = Object.values(await session.run(feeds));
    await session.release();
    return results.flatMap(({ data }) => [...data]);
  };
  const own = await outputs(one);
  if (!other) return `runs at ${dims.join('×')}`;
  const there = await outputs(other);
  const range = Math.max(...minMax(own)) - Math.min(...minMax(own));
  const difference = own.reduce((most, value, i) => Math.max(most, Math.abs(value - there[i])), 0);
  return `${(difference / range).toExponential(0)} at ${dims.join('×')}`;
}

const minMax = (values: readonly number[]) =>
  values.reduce(
    ([low, high], value) => [Math.min(low, value), Math.max(high, value)],
    [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY],
  );

async function columns(name: string, residual: boolean): Promise<string[]> {
  const bytes = readFileSync(join(folder, `${name}.onnx`));
  const array = `${name}.npy`;
  const npy = files.includes(array) ? decodeNpy(readFileSync(join(folder, array)), array) : undefined;
  const declared = declaredInput(await readModel(bytes)).shape;
  const open = extents.split('x').map(Number);
  const filled = declared.map((dim) => dim || (open.length > 1 ? open.shift()! : open[0]));
  const size = declared.every(Boolean) ? undefined : (npy?.shape.slice(1) ?? filled);
  const model = await openModel(bytes, { engine, name, size, residual });
  const { input } = model;
  const next = random(1);
  const drawn = Array.from({ length: SAMPLES }, () => noise(input, elements(input.shape), next));
  const calibration = await (npy ? npyDataset(npy, input.shape, array) : iterableDataset(drawn, input.shape));
  const { report, written } = await prune(model, { engine, session, calibration, keep: 0.5, target: 'self' });
  const left = ({ before, after }: { before: number; after: number }) => after / before;
  return [
    prunable(model),
    parts(left(report.parameters), left(report.macs!)),
    report.maxDifference.toExponential(0),
    await apart(model, written.model, engines, npy),
  ];
}

const head = ['prunable', 'left at 0.5', 'off', native ? 'runtimes apart' : 'elsewhere'];
console.log(`| model | ${[...head, 'with streams', ...head.slice(1)].join(' | ')} |`);
console.log(`|---|${'---|'.repeat(2 * head.length)}`);
for (const name of files.flatMap((file) => /^(.+)\.onnx$/.exec(file)?.[1] ?? [])) {
  const cells: string[] = [];
  for (const residual of [false, true]) {
    const found = await columns(name, residual).catch(({ message }: Error) => [message, '', '', '']);
    cells.push(...found);
  }
  console.log(`| ${[name, ...cells].join(' | ')} |`);
}
await session.close();
