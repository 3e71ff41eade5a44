// The commands on folders of models of images, as transformers writes them.

import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { Config } from '../../src/checkpoint/architectures/index.ts';
import { DINOV2, encoderWeights } from '../architectures/encoders.ts';
import { folderOf } from '../pipeline/fixtures.ts';
import { fixture, listing, osscar, osscarJson, temporaryFolder } from './osscar.ts';

const folder = temporaryFolder();
const IMAGES = ['--calibrate', fixture('calib'), '--samples', '24', '--target', 'residual'];
const readJson = (...path: string[]) => JSON.parse(readFileSync(join(...path), 'utf8'));

/** Of the size of the fixtures' images: as many squares as the tiny ones have. */
const SIDES = { image_size: 28, patch_size: 9, num_channels: 1 };
const PREPROCESSOR = {
  do_resize: false,
  do_center_crop: false,
  image_mean: [0.286],
  image_std: [0.353],
};

/** A random model's folder. */
async function written(config: Config, preprocessor: object = PREPROCESSOR): Promise<string> {
  const path = join(mkdtempSync(join(folder, 'model-')), 'model');
  mkdirSync(path);
  const { folder: built } = await folderOf(config, encoderWeights(config));
  for (const file of await built.list())
    writeFileSync(join(path, file), await built.read(file, 0, await built.size(file)));
  writeFileSync(join(path, 'preprocessor_config.json'), JSON.stringify(preprocessor));
  return path;
}

test('a folder of features is inspected, pruned to what its config.json can say, and written as ONNX too', async () => {
  const model = await written({ ...DINOV2, ...SIDES });
  const found = await osscarJson('inspect', model);
  expect(found).toMatchObject({ architecture: 'dinov2', blocks: 2, hidden: 32, maxPositions: 10 });
  const output = join(model, '../small');
  const flags = ['--keep', '0.5', '--loadable', '--format', 'onnx', '-o', output];
  const report = await osscarJson('prune', model, ...IMAGES, ...flags);
  expect(listing(output)).toEqual(
    ['README.md', 'model.onnx', ...listing(model)].sort((a, b) => (a < b ? -1 : 1)),
  );
  expect(readJson(output, 'config.json')).toMatchObject({ num_attention_heads: 4, mlp_ratio: 10 / 32 });
  expect(report.metric).toBeUndefined();
  expect(report.preprocessing).toMatchObject({ mean: [0.286], std: [0.353] });
  const { code, stderr } = await osscar('eval', output, '--data', fixture('test'), '--threads', '1');
  expect(code).toBe(2);
  expect(stderr).toContain('the dinov2 gives features, which labels say nothing of');
});
