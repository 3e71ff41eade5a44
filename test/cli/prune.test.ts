import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openEngine } from '../../src/engine/index.ts';
import { readModel, writeModel } from '../../src/graph/index.ts';
import { npyDataset, openModel, prune as pruneModel } from '../../src/pipeline/index.ts';
import { openSession } from '../../src/pool/index.ts';
import { withInputDims } from '../pipeline/edit.ts';
import { fashion } from '../pipeline/fixtures.ts';
import { npy, opaque, tiny } from './models.ts';
import {
  fixture,
  listing,
  MOBILENET,
  osscar,
  osscarJson,
  osscarUnder,
  PREPROCESSING,
  PROGRESS,
  RESNET,
  temporaryFolder,
  WARNINGS,
} from './osscar.ts';

const folder = temporaryFolder();
const out = (name: string) => join(folder, name);
const CALIBRATION = ['--calibrate', fixture('calib'), ...PREPROCESSING];
/** Of models that were trained for nothing. */
const UNTRAINED = [...CALIBRATION, '--force'];
const TINY = out('tiny.onnx');
writeFileSync(TINY, tiny());
const sha256 = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');

const tensorsOf = async (bytes: Uint8Array) =>
  Array.from((await readModel(bytes)).tensors, ([name, tensor]) => [
    name,
    Buffer.from(tensor.bytes).toString('hex'),
  ]);

interface Layer {
  name: string;
  groups: number;
  kept: number[];
  relativeError: number;
}

/** What must hold of every report, for the file it reports on. */
// biome-ignore lint/suspicious/noExplicitAny: JSON of a child process
function checkReport(report: any, model: string, output: string, keep: number): void {
  for (const key of ['parameters', 'macs', 'bytes', 'latencyMs']) {
    expect(Object.keys(report[key])).toEqual(['before', 'after']);
  }
  for (const key of ['parameters', 'macs', 'bytes']) {
    expect(report[key].after, key).toBeLessThan(report[key].before);
  }
  expect(report.latencyMs.before).toBeGreaterThan(0);
  expect(report.latencyMs.after).toBeGreaterThan(0);
  expect(report.bytes).toEqual({ before: statSync(model).size, after: statSync(output).size });
  expect(report.metric).toMatchObject({ name: 'accuracy' });
  expect(report.metric.before).toBeGreaterThan(0.5);
  expect(report.metric.after).toBeGreaterThan(0.2);
  expect(report.maxDifference).toBeLessThan(1e-5);
  expect(report.model.sha256).toBe(sha256(output));
  for (const { name, groups, kept, relativeError } of report.layers as Layer[]) {
    expect(kept, name).toHaveLength(Math.max(1, Math.round(keep * groups)));
    expect(
      kept.every((c, i) => Number.isInteger(c) && c >= 0 && c < groups && (i === 0 || c > kept[i - 1])),
    ).toBe(true);
    expect(relativeError).toBeGreaterThan(-1e-3); // slightly below 0 is possible: LayerResult
    expect(relativeError).toBeLessThan(1);
  }
}

describe.concurrent('osscar prune', () => {
  test('writes a smaller MobileNet, and eval needs no flags for it', async () => {
    const output = out('mobilenet.onnx');
    const { code, stdout, stderr } = await osscarUnder(
      [],
      ...['prune', MOBILENET, ...CALIBRATION, '--keep', '0.5', '-o', output],
      ...['--samples', '40', '--json', '--threads', '1'],
    );
    expect(code, stderr).toBe(0);
    expect(stdout.trimEnd()).not.toContain('\n');
    const report = JSON.parse(stdout);
    checkReport(report, MOBILENET, output, 0.5);
    expect(report.layers.map(({ groups }: Layer) => groups)).toEqual([16, 32, 64, 64, 128, 128]);
    expect(report.recipe.target).toBe('auto');
    // Progress, in plain lines, is on the other stream.
    expect(stderr).toMatch(/^pruning: 10\/10 /m);
    expect(stderr.replace(WARNINGS, '').replace(PROGRESS, '')).toBe('');
    expect(stderr).toMatch(/^target residual 1: 10\/10 /m);

    // The weights that are there are those of the kept channels.
    const model = await readModel(readFileSync(output));
    const stem = report.layers[0] as Layer;
    expect(model.tensors.get(model.node(stem.name)!.input[1])!.dims).toEqual([8, 1, 3, 3]);
    expect(JSON.parse(model.metadata('osscar.preprocessing')!)).toMatchObject({
      mean: [0.286],
      std: [0.353],
    });

    const evaluated = ['eval', output, '--data', fixture('test'), '--samples', '100'];
    const bare = await osscarJson(...evaluated);
    expect(Object.keys(bare)).toEqual(['metric', 'value', 'samples']);
    expect(bare).toMatchObject({ metric: 'accuracy', samples: 100 });
    expect(bare.value).toBeGreaterThan(0.6);
    expect(await osscarJson(...evaluated, ...PREPROCESSING)).toEqual(bare);
    // A flag still counts more than the metadata.
    expect((await osscarJson(...evaluated, '--mean', '3')).value).toBeLessThan(bare.value);
  });

  test('prunes the inner channels of residual blocks, with the metric of labelled test data', async () => {
    const output = out('resnet.onnx');
    const report = await osscarJson(
      ...['prune', RESNET, ...CALIBRATION, '--keep', '0.75', '-o', output, '--samples', '12'],
      ...[
        '--target',
        'residual',
        '--data',
        fixture('test/0-t-shirt'),
        '--data-labels',
        labels('0-t-shirt', 0),
      ],
    );
    checkReport(report, RESNET, output, 0.75);
    expect(report.layers).toHaveLength(15);
    expect(report.metric).toMatchObject({ data: 'evaluation' });
    expect(report.metric.samples).toBe(listing(fixture('test/0-t-shirt')).length);
    expect(report.recipe.target).toBe('residual');
    expect(report.target).toEqual({ chosen: { kind: 'residual', blend: 1 } });
    expect(report.notPrunable.map(({ reason }: { reason: string }) => reason)).toContainEqual(
      expect.stringContaining('residual stream'),
    );
    expect(report.samples).toBe(12);
    expect(report.calibration).toEqual({ path: fixture('calib'), samples: 12, seed: 0 });
  });

  const prune = (name: string, ...flags: string[]) =>
    osscarJson('prune', TINY, ...UNTRAINED, '--keep', '0.4', '-o', out(name), '--samples', '12', ...flags);

  test('takes each method, which choose and fit differently', async () => {
    const [magnitude, refitted, osscar] = [
      await prune('a.onnx', '--method', 'magnitude'),
      await prune('b.onnx', '--method', 'magnitude-refit', '--target', 'self'),
      await prune('c.onnx', '--method', 'osscar', '--target', 'self'),
    ];
    expect([magnitude, refitted, osscar].map(({ recipe }) => recipe.method)).toEqual([
      'magnitude',
      'magnitude-refit',
      'osscar',
    ]);
    // What the first layer reads is the dense network's in all three.
    expect(refitted.layers[0].kept).toEqual(magnitude.layers[0].kept);
    expect(refitted.layers[0].relativeError).toBeLessThan(magnitude.layers[0].relativeError);
    expect(osscar.layers[0].relativeError).toBeLessThanOrEqual(refitted.layers[0].relativeError);
    expect(new Set([magnitude, refitted, osscar].map((report) => report.model.sha256)).size).toBe(3);
  });

  test('takes each target, which fit differently, and the same command writes the same file', async () => {
    const [self, dense, residual, again] = [
      await prune('self.onnx', '--target', 'self'),
      await prune('dense.onnx', '--target', 'dense'),
      await prune('residual.onnx', '--target', 'residual'),
      await prune('again.onnx', '--target', 'residual'),
    ];
    const errors = [self, dense, residual].map(({ layers }) => layers.at(-1).relativeError);
    expect(new Set(errors).size).toBe(3);
    expect(again.model.sha256).toBe(residual.model.sha256);
    expect(readFileSync(out('again.onnx')).equals(readFileSync(out('residual.onnx')))).toBe(true);
    // Another draw of samples is another fit.
    const drawn = await prune('seed.onnx', '--target', 'self', '--seed', '1');
    expect(drawn.calibration.seed).toBe(1);
    expect(drawn.model.sha256).not.toBe(self.model.sha256);
  });

  test('prints a table of before and after where no JSON is asked for', async () => {
    const { code, stdout, stderr } = await osscar(
      ...['prune', MOBILENET, ...CALIBRATION, '--keep', '0.5', '-o', out('text.onnx')],
      ...['--samples', '12', '--method', 'magnitude', '--threads', '1'],
    );
    expect(code, stderr).toBe(0);
    expect(stdout).toMatch(/^magnitude, keep 0\.5, 6 structures, 12 samples\n/);
    for (const row of [
      /parameters +36,160 +10,288 +28\.5 %/,
      /multiply-adds +3,290,944 +943,008/,
      /file bytes/,
      /latency/,
    ]) {
      expect(stdout).toMatch(row);
    }
    expect(stdout).toMatch(/accuracy \(12 calibration samples\) +[01]\.\d{4} +[01]\.\d{4}\n/);
    // What else there is, is there where it takes long.
    for (let i = 1; i <= 6; i++)
      expect(stderr).toMatch(RegExp(`^pruning: ${i}/6 \\S+, \\d+ %, \\d+ s(, about \\d+ s left)?$`, 'm'));
  });

  test('prunes what it can where an operator hides the rest', async () => {
    writeFileSync(out('opaque.onnx'), opaque());
    const report = await osscarJson(
      ...['prune', out('opaque.onnx'), ...UNTRAINED, '--keep', '0.5', '-o', out('cleared.onnx')],
      ...['--samples', '12'],
    );
    expect(report.layers).toHaveLength(1);
    expect(report.layers[0].kept).toHaveLength(4);
    expect(report.notPrunable[0].reason).toContain('CumSum');
    expect(report.parameters.after).toBeLessThan(report.parameters.before);
  });

  test('--simd baseline gives the bits that the library gives with it, whatever the machine has', async () => {
    const values = Float32Array.from({ length: 30 * 784 }, (_, i) => Math.sin(i * i));
    writeFileSync(out('simd.npy'), npy([30, 1, 28, 28], values));
    const written = async (simd: string) => {
      const file = out(`${simd}.onnx`);
      await osscarJson(
        ...['prune', TINY, '--calibrate', out('simd.npy'), '--force', '--keep', '0.5', '--target', 'self'],
        ...['-o', file, '--simd', simd],
      );
      return tensorsOf(readFileSync(file));
    };
    const engine = await openEngine({ threads: 1 });
    const session = await openSession({ threads: 1, simd: 'baseline' });
    const model = await openModel(tiny(), { engine });
    const calibration = npyDataset({ shape: [30, 1, 28, 28], data: values }, model.input.shape, 'simd.npy');
    const result = await pruneModel(model, { engine, session, calibration, keep: 0.5, target: 'self' });
    await session.close();
    expect(await written('baseline')).toEqual(await tensorsOf(result.written!.model));
  });

  test('reads weights that lie in a file beside the model', async () => {
    const here = out('external');
    mkdirSync(here);
    const model = join(here, 'model.onnx');
    const { model: bytes, external = [] } = writeModel(await readModel(readFileSync(TINY)), {
      externalThreshold: 0,
      externalName: 'weights.bin',
    });
    writeFileSync(model, bytes);
    writeFileSync(join(here, 'weights.bin'), Buffer.concat(external));
    expect(bytes.length).toBeLessThan(statSync(TINY).size / 4);

    const flags = [...UNTRAINED, '--keep', '0.5', '--samples', '12', '--target', 'self'];
    const report = await osscarJson('prune', model, '-o', join(here, 'small.onnx'), ...flags);
    const whole = await osscarJson('prune', TINY, '-o', out('whole.onnx'), ...flags);
    expect(report.layers).toEqual(whole.layers);
    expect(report.parameters).toEqual(whole.parameters);
    // The data counts as part of the file, up to the padding that aligns each tensor.
    expect(report.bytes.before).toBeGreaterThan(statSync(TINY).size * 0.98);
    // What is left fits one file.
    expect(listing(here)).toEqual(['model.onnx', 'small.onnx', 'weights.bin']);
    expect(existsSync(join(here, 'small.onnx.data'))).toBe(false);
  });

  test('takes the size of images from a flag where the model leaves it open, and eval from the metadata', async () => {
    const model = out('open.onnx');
    writeFileSync(model, await withInputDims(tiny(), ['n', 1, 'height', 'width']));
    const small = out('open-small.onnx');
    const flags = [...UNTRAINED, '--samples', '12', '--target', 'self'];
    await osscarJson('prune', model, '--keep', '0.5', '-o', small, ...flags, '--size', '28');
    const { samples } = await osscarJson('eval', small, '--data', fixture('test'), '--samples', '20');
    expect(samples).toBe(20);
    const { code, stderr } = await osscar('inspect', model, '--threads', '1');
    expect(code).toBe(2);
    expect(stderr).toMatch(/^osscar: open\.onnx: input "input" has open dimensions .*\(--size\)\n$/);
  });

  test('calibrates on a .npy file of model inputs as on the images it was made of', async () => {
    for await (const { inputs } of (await fashion('calib', 30)).batches(30)) {
      writeFileSync(out('inputs.npy'), npy([30, 1, 28, 28], inputs));
    }
    const report = await osscarJson(
      ...['prune', TINY, '--calibrate', out('inputs.npy'), '--force', '--keep', '0.5', '-o', out('npy.onnx')],
    );
    expect(report.samples).toBe(30);
    expect(report.metric).toBeUndefined();
    const images = await osscarJson(
      ...['prune', TINY, ...UNTRAINED, '--keep', '0.5', '-o', out('images.onnx'), '--samples', '30'],
    );
    expect(report.layers).toEqual(images.layers);
  });
});

/** A file of labels that says the same of every image in a folder of the test data. */
function labels(name: string, label: number): string {
  const path = out('labels.csv');
  writeFileSync(
    path,
    listing(fixture(`test/${name}`))
      .map((file) => `${file},${label}\n`)
      .join(''),
  );
  return path;
}

test('--dry-run says what a file takes, and writes nothing', async () => {
  const output = out('planned.onnx');
  const flags = ['--keep', '0.4', '--samples', '12', '-o', output];
  const plan = await osscarJson('prune', TINY, '--dry-run', ...flags);
  expect(existsSync(output)).toBe(false);
  const { parameters, memory } = await osscarJson('prune', TINY, ...UNTRAINED, ...flags);
  expect(plan.fits).toBe(true);
  expect(plan.parameters).toEqual(parameters);
  expect(plan.bytes.wasm).toBe(memory.wasmBytes);
  const refused = await osscar('prune', TINY, '--dry-run', '--keep', '0.4', '-o', out('planned.pt'));
  expect(refused.code).toBe(2);
  expect(refused.stderr).toContain('planned.pt": an ONNX file is written; give it a name that ends in .onnx');
});
