// Folders as strangers would pack them, and outputs that would cost somebody a file.

import { execFileSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, test } from 'vitest';
import { readModel, writeModel } from '../../src/graph/index.ts';
import type * as Library from '../../src/index.ts';
import { npy } from '../cli/models.ts';
import {
  fixture,
  listing,
  MOBILENET,
  osscarJson,
  PREPROCESSING,
  refused,
  temporaryFolder,
} from '../cli/osscar.ts';
import { small } from './models.ts';

const { prune }: typeof Library = await import(new URL('../../dist/node.js', import.meta.url).href);

const folder = temporaryFolder();
const newFolder = (name: string) => mkdtempSync(join(folder, `${name}-`));

/** A folder with a model whose weights are at this location, and the bytes that belong there. */
async function external(location: string) {
  const path = newFolder('external');
  const { model, external = [] } = writeModel(await readModel(small()), {
    externalThreshold: 0,
    externalName: location,
  });
  writeFileSync(join(path, 'model.onnx'), model);
  return { path, model: join(path, 'model.onnx'), data: Buffer.concat(external) };
}

describe.concurrent('external data', () => {
  test('is not read through a link that leaves the folder', async () => {
    const elsewhere = newFolder('elsewhere');
    const { path, model, data } = await external('weights.bin');
    writeFileSync(join(elsewhere, 'secret'), data);
    symlinkSync(join(elsewhere, 'secret'), join(path, 'weights.bin'));
    await refused(['inspect', model], /cannot read "weights\.bin": .*leads out of its folder/);
    const inside = await external('dir/secret');
    symlinkSync(elsewhere, join(inside.path, 'dir'));
    await refused(['inspect', inside.model], /cannot read "dir\/secret": .*leads out of its folder/);
  });

  test('is read through a link within the folder, and where the model itself is a link, beside the real one', async () => {
    const { path, model, data } = await external('weights.bin');
    writeFileSync(join(path, 'real.bin'), data);
    symlinkSync('real.bin', join(path, 'weights.bin'));
    expect((await osscarJson('inspect', model)).structures).toHaveLength(3);
    const linked = newFolder('linked');
    symlinkSync(model, join(linked, 'model.onnx'));
    symlinkSync(join(path, 'real.bin'), join(linked, 'weights.bin'));
    expect((await osscarJson('inspect', join(linked, 'model.onnx'))).structures).toHaveLength(3);
  });

  test('is no pipe, which would be waited for', async () => {
    const { path, model } = await external('pipe');
    execFileSync('mkfifo', [join(path, 'pipe')]);
    await refused(['inspect', model], /cannot read "pipe": .*pipe": not a file/);
  });
});

describe.concurrent('a folder of a language model', () => {
  /** A copy of the fixture with one file replaced. */
  function changed(file: string, replace: (path: string) => void): string {
    const path = newFolder('language');
    cpSync(fixture('opt-kjv'), path, { recursive: true, filter: (from) => !from.endsWith(`/${file}`) });
    replace(join(path, file));
    return path;
  }

  test('is not read through links that leave it, whatever the file', async () => {
    for (const file of ['config.json', 'tokenizer.json', 'model.safetensors']) {
      const path = changed(file, (link) => symlinkSync(fixture(`opt-kjv/${file}`), link));
      await refused(
        ['eval', path, '--data', fixture('text/kjv-test.txt')],
        new RegExp(`${file}": leads out of its folder`),
      );
    }
  });

  test('is read from the Hugging Face cache, whose folders link to its blobs', async () => {
    const cache = newFolder('cache');
    const snapshot = join(cache, 'snapshots/0123');
    mkdirSync(snapshot, { recursive: true });
    cpSync(fixture('opt-kjv'), join(cache, 'blobs'), { recursive: true });
    for (const file of listing(fixture('opt-kjv'))) symlinkSync(`../../blobs/${file}`, join(snapshot, file));
    expect((await osscarJson('inspect', snapshot)).architecture).toBe('opt');
  });

  test('is not read from a pipe, which is said to be one', async () => {
    for (const file of ['config.json', 'tokenizer.json', 'model.safetensors']) {
      const path = changed(file, (pipe) => execFileSync('mkfifo', [pipe]));
      await refused(
        ['eval', path, '--data', fixture('text/kjv-test.txt')],
        new RegExp(`${file}": not a file but a named pipe; put what is to be read into a file of that name`),
      );
    }
  });
});

test('what a pruned folder takes along is looked at before the long work', async () => {
  const path = newFolder('along');
  cpSync(fixture('opt-kjv'), path, { recursive: true });
  const expectRefused = async (message: string) => {
    const begun: string[] = [];
    const run = prune(path, {
      calibration: fixture('text/kjv-train.txt'),
      keep: 0.5,
      samples: 4,
      seqlen: 16,
      output: join(newFolder('out'), 'pruned'),
      onProgress: ({ stage }) => begun.push(stage),
    });
    await expect(run).rejects.toThrow(message);
    expect(begun).not.toContain('measuring');
  };
  execFileSync('mkfifo', [join(path, 'generation_config.json')]);
  await expectRefused('generation_config.json": not a file but a named pipe');
  rmSync(join(path, 'generation_config.json'));
  for (const file of ['special_tokens_map.json', 'osscar.json']) {
    symlinkSync('../blobs/gone', join(path, file));
    await expectRefused(`${file}": no such file or folder`);
    rmSync(join(path, file));
  }
  writeFileSync(join(path, 'merges.txt'), '');
  truncateSync(join(path, 'merges.txt'), 2 ** 32);
  await expectRefused('merges.txt": expected at most 67108864 bytes, got 4294967296');
});

test('nothing that a command is given is read from a pipe or a device', async () => {
  const pipe = (name: string) => {
    const path = join(newFolder('pipe'), name);
    execFileSync('mkfifo', [path]);
    return path;
  };
  const opt = ['eval', fixture('opt-kjv'), '--data'];
  for (const args of [
    ['inspect', pipe('model.onnx')],
    [...opt, pipe('text.txt')],
    [...opt, fixture('text/kjv-test.txt'), '--tokenizer', pipe('tokenizer.json')],
    ['eval', MOBILENET, '--data', pipe('x.npy')],
    ['eval', MOBILENET, '--data', fixture('test'), '--labels', pipe('labels.csv')],
  ])
    await refused(args, /": not a file but a named pipe; /);
  await refused([...opt, '/dev/zero'], '"/dev/zero": not a file but a device; ');
});

/** Calibration data for `small()`, and how to prune by it. */
function samplesIn(path: string) {
  const samples = join(path, 'x.npy');
  const data = Float32Array.from({ length: 4 * 784 }, (_, i) => Math.sin(i * i));
  writeFileSync(samples, npy([4, 1, 28, 28], data));
  const fixed = ['--calibrate', samples, '--method', 'magnitude', '--keep', '0.5'];
  const prune = (model: string, output: string, ...flags: string[]) => [
    ...['prune', model, ...fixed, '-o', output],
    ...flags,
  ];
  return { samples, prune };
}

test('a folder with an ONNX file is copied without links, or refused before the work', async () => {
  const cache = newFolder('cache');
  const snapshot = join(cache, 'snapshots/0123');
  mkdirSync(join(snapshot, 'onnx'), { recursive: true });
  mkdirSync(join(cache, 'blobs'));
  writeFileSync(join(cache, 'blobs/model'), small());
  writeFileSync(join(cache, 'blobs/config'), '{}');
  symlinkSync('../../../blobs/model', join(snapshot, 'onnx/model.onnx'));
  symlinkSync('../../blobs/config', join(snapshot, 'config.json'));
  symlinkSync('.', join(snapshot, 'around'));
  const output = join(cache, 'small');
  const { prune } = samplesIn(cache);
  await osscarJson(...prune(snapshot, output));
  expect(listing(output)).toEqual(['README.md', 'config.json', 'onnx']);
  expect(lstatSync(join(output, 'config.json')).isFile()).toBe(true);
  const again = prune(snapshot, output, '--overwrite');
  execFileSync('mkfifo', [join(snapshot, 'pipe')]);
  await refused(again, /pipe": not a file but a named pipe/);
  rmSync(join(snapshot, 'pipe'));
  symlinkSync(MOBILENET, join(snapshot, 'elsewhere.txt'));
  await refused(again, /elsewhere\.txt": leads out of its folder/);
});

test.runIf(existsSync('/proc/self'))(
  'an output on which a disk is mounted is refused before the work',
  async () => {
    const text = ['--calibrate', fixture('text/kjv-train.txt'), '--keep', '0.5', '--overwrite'];
    await refused(
      ['prune', fixture('opt-kjv'), ...text, '-o', '/proc'],
      /"\/proc": another disk is mounted there/,
    );
  },
);

test.runIf(existsSync('/proc/self'))(
  'a work folder where none can be made is refused, and not waited for',
  async () => {
    const args = ['prune', MOBILENET, '--calibrate', fixture('calib'), ...PREPROCESSING, '--keep', '0.5'];
    await refused(
      [...args, '-o', join(folder, 'o.onnx'), '--work', '/proc/a/b'],
      '"/proc/a/b": no such file or folder',
    );
  },
);

describe.concurrent('an output', () => {
  /** A folder with a model and its calibration data, and how to prune it. */
  function prepared() {
    const path = newFolder('output');
    const model = join(path, 'model.onnx');
    writeFileSync(model, small());
    const { samples, prune } = samplesIn(path);
    return {
      ...{ path, model, samples },
      prune: (output: string, ...flags: string[]) => prune(model, output, ...flags),
    };
  }

  test('that is there stays, unless --overwrite says otherwise', async () => {
    const { path, prune } = prepared();
    const output = join(path, 'small.onnx');
    writeFileSync(output, 'old');
    await refused(prune(output), /small\.onnx": exists already; .*\(--overwrite\)/);
    expect(readFileSync(output, 'utf8')).toBe('old');
    await osscarJson(...prune(output, '--overwrite'));
    expect((await osscarJson('inspect', output)).structures[0].groups).toBe(4);
    await refused(['latency', join(path, 'model.onnx'), '-o', output], /small\.onnx": exists already/);
  });

  test('is never what the run reads, by whatever name', async () => {
    const { path, model, samples, prune } = prepared();
    linkSync(model, join(path, 'hard.onnx'));
    symlinkSync(model, join(path, 'soft.onnx'));
    for (const output of [
      model,
      join(path, '.', 'model.onnx'),
      join(path, 'hard.onnx'),
      join(path, 'soft.onnx'),
      samples,
    ]) {
      await refused(
        prune(output, '--overwrite'),
        /is, or holds, ".*", which is read and kept; choose another output/,
      );
    }
    expect(readFileSync(model)).toEqual(Buffer.from(small()));
    const language = join(path, 'language');
    cpSync(fixture('opt-kjv'), language, { recursive: true });
    const text = ['--calibrate', fixture('text/kjv-train.txt'), '--keep', '0.5', '--overwrite'];
    await refused(['prune', language, ...text, '-o', language], /is, or holds, ".*", which is read/);
    const inside = join(language, 'small');
    await refused(
      ['prune', language, ...text, '-o', inside],
      /small": lies in ".*language", which is read and kept; choose/,
    );
  });

  test('is a file: address too, of which the path counts', async () => {
    const { path, model, samples, prune: line } = prepared();
    const at = (file: string) => pathToFileURL(file).href;
    const missing = `"${join(path, 'a')}": no such file or folder`;
    const kept = /is, or holds, ".*", which is read and kept; choose another output/;
    await refused(line(at(join(path, 'a/small.onnx'))), missing);
    await refused(line(at(samples), '--overwrite'), kept);
    await refused(line(join(path, 'small.onnx'), `--work=${at(model)}`), `"${model}": `);
    const settings = { calibration: at(samples), keep: 0.5, overwrite: true };
    const said = (output: string) => prune(at(model), { ...settings, output }).catch(String);
    expect(await said(at(join(path, 'a/small.onnx')))).toContain(missing);
    expect(await said(samples)).toMatch(kept);
  });

  test('is no device, no link to nowhere replaced unasked, in no missing folder', async () => {
    const { path, prune } = prepared();
    symlinkSync(join(path, 'nowhere'), join(path, 'link.onnx'));
    await refused(prune(join(path, 'link.onnx')), /link\.onnx": exists already/);
    execFileSync('mkfifo', [join(path, 'pipe.onnx')]);
    await refused(
      prune(join(path, 'pipe.onnx'), '--overwrite'),
      /pipe\.onnx": is no file, and is not overwritten/,
    );
    await refused(prune(join(path, 'a/b/small.onnx')), /a\/b": no such file or folder/);
  });
});

describe.concurrent('one calibration image', () => {
  test.each(['osscar', 'ziplm', 'magnitude-refit', 'magnitude'])(
    'is enough for %s, or the layer is named',
    async (method) => {
      const path = newFolder('one');
      const calibration = join(path, 'images');
      mkdirSync(calibration);
      const image = listing(fixture('calib/0-t-shirt'))[0];
      cpSync(fixture(`calib/0-t-shirt/${image}`), join(calibration, image));
      const model = join(path, 'model.onnx');
      writeFileSync(model, small());
      const args = [
        'prune',
        model,
        '--calibrate',
        calibration,
        ...PREPROCESSING,
        '--method',
        method,
        '--keep',
        '0.5',
      ];
      const run = osscarJson(...args, '-o', join(path, 'small.onnx'));
      const outcome = await run.then(
        () => undefined,
        (it) => it,
      );
      if (!outcome) return;
      await refused(
        [...args, '-o', join(path, 'small.onnx')],
        /model\.onnx: layer "\w+": 1 calibration row cannot determine its 8 inputs \(potrf.*\); 8 rows or more .*--samples/,
      );
    },
  );
});

test('a plan of heads of any width is arithmetic alone', async () => {
  const path = newFolder('wide');
  const config = {
    ...{ model_type: 'llama', hidden_size: 64, intermediate_size: 172, num_hidden_layers: 5 },
    ...{ num_attention_heads: 8, num_key_value_heads: 4, head_dim: 2 ** 31 - 2, vocab_size: 512 },
    ...{ max_position_embeddings: 512, rms_norm_eps: 1e-5, tie_word_embeddings: true },
  };
  writeFileSync(join(path, 'config.json'), JSON.stringify(config));
  // Tables of the rotations alone would have 2³² values.
  const plan = await osscarJson('prune', path, '--keep', '0.5', '--dry-run');
  expect(plan.parameters.after).toBeGreaterThan(1e12);
});
