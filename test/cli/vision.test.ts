// The commands on folders of models of images, as transformers writes them.

import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { Config } from '../../src/checkpoint/architectures/index.ts';
import { CLIP, DINOV2, encoderWeights, SIGLIP } from '../architectures/encoders.ts';
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

test('a DINOv2 takes images of the size that they are prepared for, and what is written has its own positions', async () => {
  const config = { ...DINOV2, ...SIDES, image_size: 60 };
  const model = await written(config, { ...PREPROCESSOR, do_resize: true, size: { height: 28, width: 28 } });
  expect(await osscarJson('inspect', model)).toMatchObject({ maxPositions: 10 });
  const output = join(model, '../small');
  const flags = ['--keep', '0.5', '--loadable', '--format', 'onnx', '-o', output];
  const report = await osscarJson('prune', model, ...IMAGES, ...flags);
  expect(report.sample).toEqual([1, 28, 28]);
  expect(readJson(output, 'config.json')).toMatchObject({ image_size: 60 });
  const { input } = await osscarJson('inspect', join(output, 'model.onnx'));
  expect(input.shape).toEqual([1, 28, 28]);
  const again = await osscarJson('inspect', output, '--size', '60');
  expect(again).toMatchObject({ maxPositions: 37, sizes: [{ ffn: 10 }, { ffn: 10 }] });
});

test('of two towers that of images is pruned, and its sizes go where transformers reads them', async () => {
  const vision_config = { ...(CLIP.vision_config as Config), ...SIDES };
  const model = await written(
    { ...CLIP, vision_config },
    { ...PREPROCESSOR, do_resize: true, do_center_crop: true, size: { shortest_edge: 28 }, crop_size: 28 },
  );
  expect(await osscarJson('inspect', model)).toMatchObject({
    architecture: 'clip',
    blocks: 2,
    maxPositions: 10,
  });
  const output = join(model, '../small');
  const flags = ['--keep', '0.5', '--loadable', '-o', output];
  const report = await osscarJson('prune', model, ...IMAGES, ...flags);
  expect(report.preprocessing).toMatchObject({ size: [28, 28], resize: 'cover' });
  expect(readJson(output, 'config.json')).toEqual({
    ...CLIP,
    vision_config: { ...vision_config, intermediate_size: 10 },
  });
});

test('a tower whose config.json can say no sizes is refused where they are to be said', async () => {
  const model = await written({
    ...SIGLIP,
    vision_config: { ...(SIGLIP.vision_config as Config), ...SIDES },
  });
  const { code, stderr } = await osscar(
    ...[
      'prune',
      model,
      ...IMAGES,
      '--keep',
      '0.5',
      '--loadable',
      '-o',
      join(model, '../small'),
      '--threads',
      '1',
    ],
  );
  expect(code).toBe(2);
  expect(stderr).toContain('config.json of siglip can say neither fewer heads nor fewer neurons');
});
