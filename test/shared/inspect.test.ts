// What `inspect` finds in every ONNX model that lies beside the project. A change of the analysis that loses a structure, or
// finds one more, shows here. Models are opened, and none is run.

import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { openEngine } from '../../src/engine/index.ts';
import { inspect } from '../../src/index.ts';
import { shared } from './shared.ts';

/** How many structures are prunable of how many there are, and how many with channels that shortcuts tie. */
interface Found {
  readonly prunable: number;
  readonly of: number;
  readonly residual: number;
  /** Where the input has open extents. */
  readonly size?: [height: number, width: number];
  readonly seqlen?: number;
}

const MODELS: Readonly<Record<string, Found>> = {
  'models/fashion-mobilenet.onnx': { prunable: 6, of: 7, residual: 6 },
  'models/fashion-resnet-bn.onnx': { prunable: 15, of: 19, residual: 18 },
  'models/fashion-resnet.onnx': { prunable: 15, of: 19, residual: 18 },
  'models/mobilenet-v1-imagenet.onnx': { prunable: 14, of: 15, residual: 14 },
  'models/opt-kjv-torch.onnx': { prunable: 8, of: 10, residual: 9, seqlen: 16 },
  'models/resnet20-cifar10.onnx': { prunable: 9, of: 15, residual: 14 },
  'models/stories260k-torch.onnx': { prunable: 10, of: 12, residual: 11, seqlen: 16 },
  'real/bert-dynamo.onnx': { prunable: 7, of: 9, residual: 8 },
  'real/bert.onnx': { prunable: 7, of: 9, residual: 8 },
  'real/ch_PP-OCRv4_det_infer.onnx': { prunable: 36, of: 37, residual: 36, size: [64, 64] },
  'real/ch_ppocr_mobile_v2.0_cls_infer.onnx': { prunable: 23, of: 27, residual: 26, size: [48, 192] },
  'real/conv1d.onnx': { prunable: 3, of: 4, residual: 3 },
  'real/groupnorm.onnx': { prunable: 2, of: 4, residual: 3 },
  'real/lstm.onnx': { prunable: 4, of: 5, residual: 4 },
  'real/repro_concat.onnx': { prunable: 2, of: 3, residual: 2 },
  'real/repro_convtranspose.onnx': { prunable: 2, of: 3, residual: 2 },
  'real/repro_openwidth.onnx': { prunable: 1, of: 2, residual: 1, size: [48, 320] },
  'real/repro_resize.onnx': { prunable: 2, of: 3, residual: 2 },
  'real/repro_unsorted.onnx': { prunable: 2, of: 3, residual: 2 },
  'real/squeezenet1_1.onnx': { prunable: 25, of: 26, residual: 25 },
  'real/transformer_post.onnx': { prunable: 4, of: 6, residual: 5 },
  'real/transformer_pre.onnx': { prunable: 4, of: 6, residual: 5 },
  'real/unet.onnx': { prunable: 17, of: 18, residual: 17 },
  'real/vit-dynamo.onnx': { prunable: 6, of: 8, residual: 7 },
  'real/vit.onnx': { prunable: 6, of: 8, residual: 7 },
  'real/whisper_like_enc.onnx': { prunable: 5, of: 6, residual: 5 },
  'real/yolo_c2f-dynamo.onnx': { prunable: 19, of: 23, residual: 22 },
  'real/yolo_c2f.onnx': { prunable: 19, of: 23, residual: 22 },
};

const engine = await openEngine({ threads: 1 });

test('every model that lies there is in the list, and every one in the list lies there', () => {
  const there = ['models', 'real'].flatMap((folder) =>
    readdirSync(shared(folder)).map((name) => `${folder}/${name}`),
  );
  expect(there.filter((name) => name.endsWith('.onnx')).sort()).toEqual(Object.keys(MODELS).sort());
});

test.each(Object.entries(MODELS))('what can be pruned of %s', async (name, { size, seqlen, ...expected }) => {
  const file = new File([readFileSync(shared(name))], 'model.onnx');
  const structuresOf = async (residual: boolean) =>
    (await inspect(file, { engine, size, seqlen, residual })).file!.structures;
  const prunableOf = (structures: Awaited<ReturnType<typeof structuresOf>>) =>
    structures.filter(({ prunable }) => prunable).length;
  const structures = await structuresOf(false);
  const found = { prunable: prunableOf(structures), of: structures.length };
  expect({ ...found, residual: prunableOf(await structuresOf(true)) }).toEqual(expected);
});
