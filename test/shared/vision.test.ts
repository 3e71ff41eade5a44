// The vision models: what they keep of their accuracy, through the command line as a user would run it.
// The bounds are two standard errors below what they keep, and above the published algorithm's best scores.

import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { osscar } from './osscar.ts';
import { shared } from './shared.ts';

const out = mkdtempSync(join(tmpdir(), 'osscar-'));
afterAll(() => rmSync(out, { recursive: true }));

describe('resnet20-cifar10', () => {
  const model = shared('models/resnet20-cifar10.onnx');
  const calibrate = ['--calibrate', shared('data/cifar10/calib'), '--samples', '500'];
  const data = ['--data', shared('data/cifar10/test')];
  const work = ['--work', join(out, 'resnet20')]; // what the dense network gives, once
  const preprocessing = ['--mean', '0.485,0.456,0.406', '--std', '0.229,0.224,0.225'];

  test.each([
    // what auto chooses, chosen anew at one size
    { keep: 0.5, atLeast: 0.835, target: 'auto' },
    { keep: 0.3, atLeast: 0.735, target: 'residual:0.5' },
  ])('keeps an accuracy of $atLeast at $keep', async ({ keep, atLeast, target }) => {
    const file = join(out, `resnet20-${keep}.onnx`);
    const how = ['--keep', `${keep}`, '--target', target, '-o', file, ...work];
    const report = await osscar('prune', model, ...calibrate, ...data, ...preprocessing, ...how);
    const { before, after, samples } = report.metric;
    console.log(
      `resnet20-cifar10, keep ${keep}: ${after}, ${JSON.stringify(report.target.chosen)}, ${report.seconds.toFixed(1)} s`,
    );
    expect([before, samples]).toEqual([0.915, 1000]);
    expect(after).toBeGreaterThanOrEqual(atLeast);
    expect(report.layers).toHaveLength(9);
    expect(report.maxDifference).toBeLessThan(1e-3);
  });
});

describe('mobilenet-v1-imagenet', () => {
  const model = shared('models/mobilenet-v1-imagenet.onnx');
  const preprocessing = ['--scale', '1', '--mean', '128', '--std', '128', '--label-offset', '1'];
  const calibrate = ['--calibrate', shared('data/imagenet-sample/calib'), '--samples', '32'];
  const data = shared('data/imagenet-sample/test');
  const labels = join(data, 'labels.csv');

  test('keeps 0.43 at 0.75, with fewer weights and operations', async () => {
    const keep = 0.75;
    const file = join(out, `mobilenet-${keep}.onnx`);
    const how = ['--keep', `${keep}`, '-o', file];
    const report = await osscar(
      'prune',
      model,
      ...calibrate,
      ...['--data', data, '--data-labels', labels],
      ...preprocessing,
      ...how,
      ...['--target', 'residual:0.25'], // what auto chooses
    );
    const { after, samples } = report.metric;
    console.log(
      `mobilenet-v1-imagenet, keep ${keep}: ${after}, ${JSON.stringify(report.target.chosen)}, latency ${JSON.stringify(report.latencyMs)}, ${report.seconds.toFixed(1)} s`,
    );
    expect(samples).toBe(250);
    expect(after).toBeGreaterThanOrEqual(0.43);
    expect(report.maxDifference).toBeLessThan(1e-3);
    // Weights go with the square of the width, but for the first layer's input and the classifier's output.
    expect(statSync(file).size).toBeLessThan(16_909_367 * (keep ** 2 + 0.05));
    expect(statSync(file).size).toBe(report.bytes.after);
    expect(report.macs.after).toBeLessThan((keep ** 2 + 0.05) * report.macs.before);
    // The command measures the file alone as the run did, and needs no flags for it.
    const evaluated = await osscar('eval', file, '--data', data, '--labels', labels);
    expect(evaluated).toMatchObject({ metric: 'accuracy', value: after, samples });
  });
});
