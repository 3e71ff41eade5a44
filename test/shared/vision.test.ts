// The vision models: what they keep of their accuracy, through the command line as a user would run it.
// The bounds are two standard errors below what they keep, and above the published algorithm's best scores.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { shared } from './shared.ts';

const out = mkdtempSync(join(tmpdir(), 'osscar-'));
afterAll(() => rmSync(out, { recursive: true }));

function osscar(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['dist/cli.js', ...args, '--json'], {
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
  });
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout);
}

describe('resnet20-cifar10', () => {
  const model = shared('models/resnet20-cifar10.onnx');
  const calibrate = ['--calibrate', shared('data/cifar10/calib'), '--samples', '500'];
  const data = shared('data/cifar10/test');
  const work = ['--work', join(out, 'resnet20')]; // what the dense network gives, once
  const preprocessing = ['--mean', '0.485,0.456,0.406', '--std', '0.229,0.224,0.225'];

  test('has its dense accuracy', () => {
    expect(osscar('eval', model, '--data', data, ...preprocessing)).toEqual({
      ...{ metric: 'accuracy', value: 0.915, samples: 1000 },
    });
  });

  test.each([
    // what auto chooses, chosen anew at one size
    { keep: 0.75, atLeast: 0.89, target: 'residual:0.75' },
    { keep: 0.5, atLeast: 0.835, target: 'auto' },
    { keep: 0.3, atLeast: 0.735, target: 'residual:0.5' },
  ])('keeps an accuracy of $atLeast at $keep', ({ keep, atLeast, target }) => {
    const file = join(out, `resnet20-${keep}.onnx`);
    const report = osscar(
      'prune',
      model,
      ...calibrate,
      ...preprocessing,
      '--keep',
      `${keep}`,
      '--target',
      target,
      '-o',
      file,
      ...work,
    );
    expect(report.layers).toHaveLength(9);
    expect(report.maxDifference).toBeLessThan(1e-3);
    const { value } = osscar('eval', file, '--data', data);
    console.log(
      `resnet20-cifar10, keep ${keep}: ${value}, ${JSON.stringify(report.target.chosen)}, ${report.seconds.toFixed(1)} s`,
    );
    expect(value).toBeGreaterThanOrEqual(atLeast);
  });
});

describe('mobilenet-v1-imagenet', () => {
  const model = shared('models/mobilenet-v1-imagenet.onnx');
  const preprocessing = ['--scale', '1', '--mean', '128', '--std', '128', '--label-offset', '1'];
  const folder = shared('data/imagenet-sample/calib');
  const data = shared('data/imagenet-sample/test');

  test.each([
    { keep: 0.85, atLeast: 0.6 },
    { keep: 0.75, atLeast: 0.43 },
  ])('keeps $atLeast at $keep, with fewer weights and operations', ({ keep, atLeast }) => {
    const file = join(out, `mobilenet-${keep}.onnx`);
    const report = osscar(
      'prune',
      model,
      '--calibrate',
      folder,
      '--samples',
      '64',
      ...preprocessing,
      '--keep',
      `${keep}`,
      '-o',
      file,
      '--target',
      'residual:0.25', // what auto chooses
      '--work',
      join(out, 'mobilenet'),
    );
    const { value, samples } = osscar('eval', file, '--data', data, '--labels', join(data, 'labels.csv'));
    console.log(
      `mobilenet-v1-imagenet, keep ${keep}: ${value}, ${JSON.stringify(report.target.chosen)}, latency ${JSON.stringify(report.latencyMs)}, ${report.seconds.toFixed(1)} s`,
    );
    expect(samples).toBe(250);
    expect(value).toBeGreaterThanOrEqual(atLeast);
    expect(report.maxDifference).toBeLessThan(1e-3);
    // Weights go with the square of the width, but for the first layer's input and the classifier's output.
    expect(statSync(file).size).toBeLessThan(16_909_367 * (keep ** 2 + 0.15));
    expect(statSync(file).size).toBe(report.bytes.after);
    expect(report.macs.after).toBeLessThan(keep * report.macs.before);
  });
});
