import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { GraphBuilder, writeModel } from '../../src/graph/index.ts';
import { byRate } from '../support/branches.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { opaque, withFeatures } from './models.ts';
import { MOBILENET, osscar, osscarJson, RESNET, temporaryFolder } from './osscar.ts';

const folder = temporaryFolder();

test.concurrent('osscar inspect says of a quantized file that it is pruned as floats', async () => {
  const g = new GraphBuilder();
  const bytes = new Uint8Array(64 * 32).fill(5);
  const numbers = g.tensor({ name: 'W', type: 'int8', dims: [64, 32], bytes });
  const weights = g.node('DequantizeLinear', [numbers, g.scalar(0.5)]);
  g.output(g.node('MatMul', [g.input('x', 'float32', ['n', 64]), weights]), 'y', 'float32', ['n', 32]);
  const path = join(folder, 'quantized.onnx');
  writeFileSync(path, writeModel(g.build('quantized')).model);
  const { code, stdout } = await osscar('inspect', path);
  expect(code).toBe(0);
  expect(stdout).toMatch(
    /^it is quantized, and pruned as the network of floats .* stored as int8 again \(--weights float32 leaves them floats\)$/m,
  );
});

describe.concurrent('osscar inspect --json', () => {
  test('prints the documented keys and nothing else', async () => {
    const { code, stdout, stderr } = await osscar('inspect', MOBILENET, '--json', '--threads', '1');
    expect([code, stderr]).toEqual([0, '']);
    const report = JSON.parse(stdout);
    expect(Object.keys(report)).toEqual([
      ...['name', 'input', 'bytes', 'parameters', 'macs', 'kinds', 'couldNarrow'],
      ...['structures', 'pinned', 'branches'],
    ]);
    expect(report).toMatchObject({ name: 'fashion-mobilenet.onnx', parameters: 36_160, macs: 3_290_944 });
    expect(report.input).toEqual({ name: 'input', type: 'float32', shape: [1, 28, 28] });
    expect(report.pinned).toMatchObject([{ reason: 'it is the graph output …', structures: 1 }]);
    for (const structure of report.structures) {
      const keys = ['name', 'layer', 'groups', 'groupSize', 'prunable', 'reason'];
      expect(Object.keys(structure)).toEqual(structure.prunable ? [...keys, 'parameters', 'macs'] : keys);
    }
    // 32 channels of 3 × 3 depthwise and 1 × 1 convolutions: 16 -> 32, its own 3 × 3, 32 -> 64, with biases; but for the
    // classes' biases and the bounds of 11 ReLU6 all hangs on one or another.
    expect(report.structures[1].parameters).toBe(32 * (16 + 1) + 32 * (9 + 1) + 32 * 64);
    expect(report.kinds.channel.parameters).toBe(36_160 - 10 - 2 * 11);
    expect(report.kinds.channel.macs).toBe(3_290_944);
    // The stem, the pointwise convolutions and the classes.
    expect(report.structures.map((s: { groups: number }) => s.groups)).toEqual([
      16, 32, 64, 64, 128, 128, 10,
    ]);
    expect(report.structures[1]).toEqual({
      name: '/2/2.2/2.2.0/Conv',
      layer: '/3/3.2/3.2.0/Conv',
      groups: 32,
      groupSize: 1,
      prunable: true,
      reason: null,
      parameters: report.structures[1].parameters,
      macs: report.structures[1].macs,
    });
    expect(report.structures.at(-1)).toMatchObject({ prunable: false, layer: '' });
    expect(report.structures.at(-1).reason).toContain('graph output "logits"');
  });

  test('names the shortcut that keeps a residual stream whole', async () => {
    const { structures } = await osscarJson('inspect', RESNET);
    const not = structures.filter((s: { prunable: boolean }) => !s.prunable);
    expect(structures.length - not.length).toBe(15);
    expect(not[0].reason).toMatch(/^residual stream: .* Add "\/3\/Add"$/);
    // A 3 × 3 convolution reads nine rows per channel.
    expect(structures.find((s: { layer: string }) => s.layer === '/2/c2/c2.0/Conv').groupSize).toBe(9);
  });

  test('says which input decides an If, and of one that is said what becomes of it', async () => {
    const model = join(folder, 'rate.onnx');
    writeFileSync(model, byRate());
    expect((await osscarJson('inspect', model)).branches).toMatchObject([{ by: ['sr'] }]);
    const [open, said] = [[], ['--input', 'sr=8000']].map((flags) => osscar('inspect', model, ...flags));
    expect((await open).stdout).toMatch(/If "if_\d+" is decided by input "sr": .*\(--input sr=VALUE\)/);
    expect((await said).stdout).toMatch(/If "if_\d+" is decided by input "sr": a pruned model has only/);
    expect((await said).stdout).toContain('1 of 2 structures prunable');
  });

  test('says of several outputs that those which nobody reads can be left out, which frees their channels', async () => {
    const model = join(folder, 'several.onnx');
    writeFileSync(model, withFeatures());
    const all = await osscarJson('inspect', model);
    expect(all.structures[0]).toMatchObject({
      prunable: false,
      reason: expect.stringContaining('output "features"'),
    });
    for (const { help } of all.pinned) expect(help).toContain('--output-names leaves out what nobody reads');
    const one = await osscarJson('inspect', model, '--output-names', 'classes');
    expect(one.structures[0]).toMatchObject({ prunable: true });
    expect(one.pinned).toMatchObject([{ help: 'nothing: what the model gives keeps its size' }]);
  });

  test('names the operator that it cannot see through', async () => {
    const model = join(folder, 'opaque.onnx');
    writeFileSync(model, opaque());
    const { structures } = await osscarJson('inspect', model);
    expect(structures).toMatchObject([{ prunable: true }, { prunable: false }, { prunable: false }]);
    expect(structures[1].reason).toContain('CumSum');
  });
});

describe.concurrent('osscar inspect', () => {
  test('shows an image without an axis for samples as the file takes it', async () => {
    const b = new OnnxBuilder();
    const x = b.node('Unsqueeze', [b.feed('image', [3, 8, 8]), b.integers([0])], {}, { channels: 3 });
    const scores = b.flatten(b.globalAveragePool(b.conv(b.relu(b.conv(x, 8, 3)), 4, 3)));
    const model = join(folder, 'image.onnx');
    writeFileSync(model, b.output(scores, 'scores').build());
    const { code, stdout } = await osscar('inspect', model);
    expect([code, stdout]).toEqual([0, expect.stringContaining(': input image [3, 8, 8], ')]);
  });

  test('lists every structure with its sizes and the reason against it', async () => {
    const { code, stdout, stderr } = await osscar('inspect', RESNET, '--threads', '1');
    expect([code, stderr]).toEqual([0, '']);
    const lines = stdout.trimEnd().split('\n');
    expect(lines[0]).toBe(
      'fashion-resnet-bn.onnx: input input [n, 1, 28, 28], 164,730 parameters, 20,184,576 multiply-adds, 675,876 bytes',
    );
    expect(lines[1]).toBe('15 of 19 structures prunable');
    expect(lines[2]).toMatch(
      /^channels and neurons: \d+\.\d % of the parameters and \d+\.\d % of the multiply-adds hang on them$/,
    );
    const table = lines.findIndex((line) => line.startsWith('structure '));
    expect(lines.slice(table + 1)).toHaveLength(19);
    expect(lines.slice(0, table)).toContainEqual(
      expect.stringMatching(/^residual stream +3 +\d+\.\d % +\d+\.\d % +.*--residual/),
    );
    expect(lines).toContainEqual(
      expect.stringMatching(/^\/2\/c1\/c1\.0\/Conv +\/2\/c2\/c2\.0\/Conv +16 +9 +[\d,]+ +[\d,]+ +yes$/),
    );
    expect(lines.filter((line) => /no: residual stream/.test(line))).toHaveLength(3);
  });
});
