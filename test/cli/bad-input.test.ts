import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { encode as encodePng } from 'fast-png';
import { describe, expect, test } from 'vitest';
import { readModel, toFloat32, writeModel } from '../../src/graph/index.ts';
import { edited } from '../pipeline/edit.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { npy, tiny } from './models.ts';
import {
  fixture,
  listing,
  MOBILENET,
  osscarJson,
  PREPROCESSING,
  refused,
  temporaryFolder,
} from './osscar.ts';

const folder = temporaryFolder();
const mobilenet = readFileSync(MOBILENET);

/** A new file with this content. */
function file(name: string, content: Uint8Array | string): string {
  const path = join(mkdtempSync(join(folder, 'in-')), name);
  writeFileSync(path, content);
  return path;
}

/** `osscar prune`, which must neither touch the file that is there nor leave another one beside it. */
async function pruneRefused(
  model: string,
  data: readonly string[],
  message: string | RegExp,
  flags: readonly string[] = ['--samples', '12', '--method', 'magnitude'],
): Promise<void> {
  const out = mkdtempSync(join(folder, 'out-'));
  const output = join(out, 'small.onnx');
  writeFileSync(output, 'old');
  const before = listing(join(model, '..'));
  const given = ['--keep', '0.5', '-o', output, '--overwrite', '--calibrate', ...data];
  await refused(['prune', model, ...given, ...flags], message);
  expect(listing(out)).toEqual(['small.onnx']);
  expect(readFileSync(output, 'utf8')).toBe('old');
  expect(listing(join(model, '..'))).toEqual(before);
}

const CALIBRATION = [fixture('calib'), ...PREPROCESSING];

test('a work folder that holds something else is refused before the model is opened', async () => {
  const work = join(file('notes.txt', 'mine'), '..');
  const model = file('model.onnx', 'no model');
  await pruneRefused(
    model,
    CALIBRATION,
    /^osscar: work folder ".*": is not empty, and holds no run; give another --work/,
    ['--work', work],
  );
  expect(listing(work)).toEqual(['notes.txt']);
});

describe.concurrent('a file that is no model', () => {
  const png = encodePng({ width: 2, height: 2, channels: 1, data: new Uint8Array(4) });
  test.each([
    ['empty', new Uint8Array(0), 'empty.onnx: the file is empty'],
    ['text', 'not a model at all\n', 'text.onnx: no readable ONNX model: it is text'],
    ['a web page', '<!DOCTYPE html>', 'a web page.onnx: no readable ONNX model: it is a web page or XML; '],
    ['JSON', '{"a": 1}', 'JSON.onnx: no readable ONNX model: it is JSON; give the folder'],
    ['an image', png, 'an image.onnx: no readable ONNX model: '],
    ['another message', Uint8Array.of(0x08, 0x08), 'another message.onnx: no ONNX model: it has no graph'],
    ['cut in the middle', mobilenet.subarray(0, mobilenet.length >> 1), 'cut in the middle.onnx: '],
    ['cut by a byte', mobilenet.subarray(0, -1), 'cut by a byte.onnx: '],
  ])('is refused: %s', async (name, bytes, message) => {
    const path = file(`${name}.onnx`, bytes);
    await pruneRefused(path, CALIBRATION, message);
  });

  test('is refused: a missing file, a folder', async () => {
    await refused(['inspect', join(folder, 'no.onnx')], /no\.onnx": no such file or folder$/m);
    await refused(
      ['eval', folder, '--data', fixture('test')],
      /osscar-cli-\w+": there is no config\.json in it; expected an ONNX file, or the folder of a Hugging Face model$/m,
    );
    const saved = join(file('saved_model.pb', 'x'), '..');
    await refused(['inspect', saved], /in it; it is a SavedModel of TensorFlow, which tf2onnx converts$/m);
  });
});

describe.concurrent('a model that cannot be worked with', () => {
  test('is refused: an element type that does not exist', async () => {
    const bytes = await edited(tiny(), ({ inputs }) => {
      const { value } = inputs[0].type!;
      if (value.case === 'tensorType') value.value.elemType = 77;
    });
    await refused(['inspect', file('type.onnx', bytes)], 'type.onnx: ');
    const weights = new OnnxBuilder();
    const w = weights.floats([1, 2, 3]);
    const model = weights.output(weights.add(weights.input([3]), w)).build();
    // dims 3, then data_type 1: field 2 as a varint.
    const at = Buffer.from(model).indexOf(Buffer.from([0x08, 0x03, 0x10, 0x01]));
    model[at + 3] = 77;
    await refused(['inspect', file('weight.onnx', model)], /weight\.onnx: tensor "w_0": .*77/);
  });

  test('is refused: an operator that does not exist, nothing to prune', async () => {
    const unknown = new OnnxBuilder();
    unknown.output(unknown.node('Bogus', [unknown.input([1, 28, 28])]));
    await refused(['inspect', file('unknown.onnx', unknown.build())], /unknown\.onnx: .*Bogus/);

    const flat = new OnnxBuilder();
    flat.output(flat.gemm(flat.flatten(flat.input([1, 28, 28]), 784), 10));
    const path = file('flat.onnx', flat.build());
    await pruneRefused(path, CALIBRATION, 'flat.onnx: no prunable structure');
  });

  test('is refused: what only fails on samples', async () => {
    const b = new OnnxBuilder();
    const x = b.input([1, 28, 28]);
    const y = b.gemm(b.flatten(b.globalAveragePool(b.relu(b.conv(x, 8, 3)))), 10);
    const most = b.node('ReduceMax', [x], { axes: [1, 2, 3], keepdims: 0 });
    const place = b.node('Cast', [b.mul(most, b.floats([100], []))], { to: 7 });
    const picked = b.node('Unsqueeze', [b.node('Gather', [b.floats([1, 2]), place]), b.integers([1])]);
    const path = file('picks.onnx', b.output(b.add(y, picked)).build());
    const message = /^osscar: picks\.onnx: engine: onnxruntime cannot run the model: .*out of data bounds/m;
    await pruneRefused(path, CALIBRATION, message);
    await refused(['eval', path, '--data', fixture('test'), '--samples', '4', ...PREPROCESSING], message);
  });

  test('is refused: external data that is missing, short or elsewhere', async () => {
    const model = await readModel(tiny());
    const write = (externalName: string) => writeModel(model, { externalThreshold: 0, externalName });
    const { model: bytes, external = [] } = write('weights.bin');
    const path = file('model.onnx', bytes);
    await refused(
      ['inspect', path],
      /tensor "\w+": cannot read "weights\.bin": .*no such file or folder; it belongs beside the model$/m,
    );
    writeFileSync(join(path, '..', 'weights.bin'), Buffer.concat(external).subarray(0, 1000));
    await refused(['inspect', path], /tensor "\w+": cannot read "weights\.bin": .*the file has 1000$/m);
    const elsewhere = Buffer.from(bytes);
    for (let at = elsewhere.indexOf('weights.bin'); at >= 0; at = elsewhere.indexOf('weights.bin', at))
      elsewhere.write('../eights.b', at);
    await refused(
      ['inspect', file('model.onnx', elsewhere)],
      /"\.\.\/eights\.b" is not inside the model's folder/,
    );
  });

  test('is refused: NaN and infinity in its weights, by any method', async () => {
    const named = /nan\.onnx: tensor "\w+" of layer "\w+" has NaN at element 0$/m;
    for (const [value, node, method, message] of [
      [Number.NaN, 'first', 'osscar', named],
      [Number.NaN, 'last', 'magnitude', named],
      // What overflows is told by the layers that read it.
      [
        3e38,
        'first',
        'magnitude',
        /nan\.onnx: layer "\w+": .*calibration inputs hold NaN or infinite values; tensor "\w+" has 3\S*e\+38 at element 0$/m,
      ],
    ] as const) {
      const bytes = await edited(tiny(), (model) => {
        const at = node === 'first' ? model.nodes[0] : model.nodes.at(-1)!;
        const tensor = model.tensors.get(at.input[1])!;
        const values = toFloat32(tensor).map(() => value);
        model.tensors.set(tensor.name, { ...tensor, bytes: new Uint8Array(values.buffer) });
      });
      const flags = ['--samples', '12', '--method', method, '--force'];
      await pruneRefused(file('nan.onnx', bytes), CALIBRATION, message, flags);
    }
  });
});

describe.concurrent('data that does not fit the model', () => {
  const image = (channels: 1 | 3, width = 28) =>
    encodePng({ width, height: 28, channels, data: new Uint8Array(width * 28 * channels).fill(9) });

  /** A folder of images, the last of them this one. */
  function images(last: Uint8Array): string {
    const path = mkdtempSync(join(folder, 'images-'));
    for (let i = 0; i < 3; i++) writeFileSync(join(path, `${i}.png`), image(1));
    writeFileSync(join(path, 'last.png'), last);
    return path;
  }

  test.each([
    ['images of another channel count', () => images(image(3)), /last\.png": .*3 channels/],
    ['images of another size', () => images(image(1, 30)), /last\.png": .*30/],
    ['a damaged image', () => images(image(1).subarray(0, 60)), /last\.png": /],
    [
      'an empty folder',
      () => mkdtempSync(join(folder, 'empty-')),
      /empty-\w+": no PNG, JPEG, WebP or AVIF images/,
    ],
    ['a missing folder', () => join(folder, 'nowhere'), /nowhere": no such file or folder/],
    [
      'a file that is no .npy file',
      () => MOBILENET,
      /mobilenet\.onnx": expected a folder of images or a \.npy/,
    ],
    [
      'a .npy file of another shape',
      () => file('shape.npy', npy([2, 3, 28, 28], new Float32Array(2 * 3 * 784))),
      /shape\.npy": expected an array of shape \[n, 1, 28, 28\], got \[2, 3, 28, 28\]/,
    ],
    [
      'NaN in a .npy file',
      () => file('nan.npy', npy([2, 1, 28, 28], new Float32Array(2 * 784).fill(Number.NaN, 800, 801))),
      /nan\.npy\[1\]": value 16 of the input is NaN/,
    ],
  ])('is refused: %s', async (_, data, message) => {
    await pruneRefused(MOBILENET, [data()], message);
  });

  test('is refused: labels that the model has no class for', async () => {
    await pruneRefused(
      MOBILENET,
      [...CALIBRATION, '--label-offset', '5'],
      /calib": label \d+ is outside the model's 10 classes, which are 0 to 9; see --label-offset/,
    );
    await refused(
      ['eval', MOBILENET, '--data', images(image(1))],
      /images-\w+": no labels; use sub-folders per class or --labels/,
    );
  });
});

describe.concurrent('an output that cannot be written', () => {
  const prune = (output: string, message: string | RegExp) =>
    refused(['prune', MOBILENET, '--keep', '0.5', '--calibrate', fixture('calib'), '-o', output], message);

  test('is refused: in a missing folder, in a file, a folder', async () => {
    const out = mkdtempSync(join(folder, 'out-'));
    await prune(join(out, 'no', 'small.onnx'), /\/no": no such file or folder; make it first/m);
    await prune('~/small.onnx', /^osscar: "~": no such file or folder; is ".+" meant\?$/m);
    expect(listing(out)).toEqual([]);
    writeFileSync(join(out, 'file'), 'old');
    await prune(join(out, 'file', 'small.onnx'), /\/file": not a folder$/m);
    await prune(out, /out-\w+": is a folder; expected the name of a file in it$/m);
    expect(listing(out)).toEqual(['file']);
  });

  test('is refused: in a read-only folder', async () => {
    // Permissions do not bind root, but nobody may make files in Linux's /sys.
    let locked = '/sys';
    if (process.getuid?.() !== 0) {
      locked = join(folder, 'locked');
      mkdirSync(locked);
      chmodSync(locked, 0o555);
    }
    const before = listing(locked);
    await prune(join(locked, 'small.onnx'), `"${locked}": permission denied`);
    expect(listing(locked)).toEqual(before);
  });
});

test('an empty output is not the working folder, and nothing is written to addresses', async () => {
  const text = ['--calibrate', fixture('text/kjv-train.txt'), '--keep', '0.5', '--overwrite'];
  const prune = ['prune', fixture('opt-kjv'), ...text];
  await refused([...prune, '-o', ''], "option '-o, --output <path>' argument is empty");
  await refused([...prune, '-o', 's3://a/b'], '--output: expected a path, got "s3://a/b"');
  const out = join(folder, 'not-made');
  await refused([...prune, '-o', out, '--work', 'gs://a'], '--work: expected a path, got "gs://a"');
  expect(existsSync('gs:')).toBe(false);
});

test.each([
  ['http://', '"http://": no valid address (URL)'],
  ['s3://bucket/a.onnx', '"s3://bucket/a.onnx": nothing is read from s3:// addresses; download it'],
  ['file://host/a.onnx', '"file://host/a.onnx": no path on this machine'],
  [
    'HTTP://127.0.0.1:59999/a.onnx',
    '"http://127.0.0.1:59999/a.onnx": cannot be fetched (connect ECONNREFUSED',
  ],
])('an address that nothing is read from is refused: %s', async (address, message) => {
  await refused(['inspect', address], message);
});

test('a file: address is a path', async () => {
  expect(await osscarJson('inspect', pathToFileURL(MOBILENET).href)).toHaveProperty('structures');
});

test('a type or an opset that the engine has no operators for is said to be the cause', async () => {
  const b = new OnnxBuilder({ type: 'float64' });
  const double = b.output(b.conv(b.input([1, 28, 28]), 8, 3)).build();
  await refused(
    ['inspect', file('double.onnx', double)],
    /Conv\(\d+\).*\(opset 7 and later, and float32, are what/,
  );
});
