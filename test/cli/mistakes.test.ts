// What new users type: every mistake is one line that names the flag or the file and what to do, before any long work, with
// nothing written.

import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { encode as encodePng } from 'fast-png';
import { describe, expect, test } from 'vitest';
import { npy } from './models.ts';
import {
  fixture,
  listing,
  MOBILENET,
  osscar,
  osscarIn,
  osscarJson,
  osscarUnder,
  PREPROCESSING,
  PROGRESS,
  refused,
  temporaryFolder,
} from './osscar.ts';

const folder = temporaryFolder();
const newFolder = (name: string) => mkdtempSync(join(folder, `${name}-`));
const FAST = ['--samples', '40', '--method', 'magnitude'];
const TEXT = fixture('text/kjv-train.txt');

/** `osscar prune`, which must be refused and leave nothing. */
async function pruneRefused(
  args: readonly string[],
  message: string | RegExp,
  output = 'small.onnx',
): Promise<void> {
  const out = newFolder('out');
  await refused(['prune', ...args, '-o', join(out, output)], message);
  expect(listing(out)).toEqual([]);
}

/** Some of the calibration images in a folder, without labels. */
function photos(count: number, add: (path: string) => void = () => {}): string {
  const path = newFolder('photos');
  const classes = readdirSync(fixture('calib'));
  for (let i = 0; i < count; i++) {
    const from = join(fixture('calib'), classes[i % classes.length]);
    cpSync(join(from, readdirSync(from)[Math.floor(i / classes.length)]), join(path, `${i}.png`));
  }
  add(path);
  return path;
}

describe.concurrent('preprocessing that the model was not trained with', () => {
  test.each([
    ['none', []],
    ['of another data set', ['--mean', '0.9', '--std', '0.01']],
    ['of pixels in 0…255', ['--mean', '73', '--std', '90']],
  ])('is refused, with the usual that does better: %s', async (_, flags) => {
    await pruneRefused(
      [MOBILENET, '--calibrate', fixture('calib'), '--keep', '0.5', ...FAST, ...flags],
      /^osscar: dense accuracy is 0\.\d{3} on 40 samples, chance is 0\.100: on 40 of the images accuracy is 0\.\d{3}, with --mean 0\.286 --std 0\.353 0\.9\d{2} \(--force goes on\)\n$/,
    );
  });

  test('that does better than by chance goes on, and is told of what does better still', async () => {
    const flags = ['--mean', '0.5', '--std', '0.5', '--keep', '0.5', ...FAST];
    const out = join(newFolder('out'), 'a.onnx');
    const { code, stderr } = await osscar(
      'prune',
      MOBILENET,
      '--calibrate',
      fixture('calib'),
      ...flags,
      '-o',
      out,
    );
    expect(code, stderr).toBe(0);
    expect(stderr).toMatch(
      /^osscar: warning: on 40 of the images accuracy is 0\.\d{3}, with --mean 0\.286 --std 0\.353 0\.9\d{2}$/m,
    );
  });

  test('is not what is asked about of a model that remembers it, and has been pruned to chance', async () => {
    const out = join(newFolder('out'), 'a.onnx');
    const flags = ['--mean', '0.286', '--std', '0.353', '--keep', '0.05', '--method', 'magnitude', ...FAST];
    const pruned = await osscar('prune', MOBILENET, '--calibrate', fixture('calib'), ...flags, '-o', out);
    expect(pruned.code, pruned.stderr).toBe(0);
    const { code, stderr } = await osscar('eval', out, '--data', fixture('test'), '--samples', '100');
    expect(code, stderr).toBe(0);
    expect(stderr).toMatch(
      /^osscar: warning: .*: preprocessing is as the model remembers it: has pruning left too little of it/m,
    );
  });

  test.each([
    [[], 'none are given'],
    [['--mean', '0.286', '--std', '0.353'], 'they are 0.286 and 0.353'],
  ])('or labels are refused where nothing usual does better', async (flags, given) => {
    const rows = readdirSync(fixture('calib')).flatMap((name, label) =>
      readdirSync(join(fixture('calib'), name)).map((file) => `${name}/${file},${(label + 5) % 10}\n`),
    );
    const labels = join(newFolder('labels'), 'labels.csv');
    writeFileSync(labels, `file,label\n${rows.join('')}`);
    await pruneRefused(
      [MOBILENET, '--calibrate', fixture('calib'), '--labels', labels, '--keep', '0.5', ...FAST, ...flags],
      `chance is 0.100: are --mean and --std right (${given}), and the classes in the model's order (--labels, --label-offset)? (--force goes on)`,
    );
  });

  test('is not what is asked about where arrays are the inputs', async () => {
    const path = join(newFolder('array'), 'zeros.npy');
    writeFileSync(path, npy([4, 1, 28, 28], new Float32Array(4 * 784)));
    await pruneRefused(
      [MOBILENET, '--calibrate', path, '--keep', '0.5', '--method', 'magnitude'],
      /^osscar: dense outputs hardly vary: .*: does ".*zeros\.npy" hold inputs as the model was trained with\?/,
    );
  });

  test('says nothing of arrays, which is said', async () => {
    const path = join(newFolder('array'), 'zeros.npy');
    writeFileSync(path, npy([4, 1, 28, 28], new Float32Array(4 * 784)));
    const { stderr } = await osscar('eval', MOBILENET, '--data', path, ...PREPROCESSING, '--threads', '1');
    expect(stderr).toContain(
      `osscar: warning: "${path}" holds inputs as they are; --mean, --std changed nothing in it\n`,
    );
  });

  test('is refused where there are no labels to tell, by outputs that hardly vary', async () => {
    const flags = ['--mean', '73', '--std', '90', '--keep', '0.5', '--method', 'magnitude'];
    await pruneRefused(
      [MOBILENET, '--calibrate', photos(20), ...flags],
      /^osscar: dense outputs hardly vary: from sample to sample by [\d.]+ % of their size: --mean 73/,
    );
  });

  test.each([
    [['--macs', '0.001'], /^osscar: --macs: at most \d+ .* cannot be reached/],
    [['--macs', '100%'], /^osscar: --macs: 1 is all of the dense model/],
    [['--keep-layer', 'none=0.5'], /^osscar: --keep-layer: there is no prunable structure "none"/],
    [
      ['--keep', '0.5', '--memory', '1MiB'],
      /^osscar: fashion-mobilenet\.onnx: takes \d+ bytes at its peak, more than/,
    ],
  ])('is asked about after what cannot be in any case: %s', async (flags, message) => {
    const preprocessing = ['--mean', '0.5', '--std', '0.5'];
    const data = ['--calibrate', fixture('calib'), '--samples', '40', ...preprocessing];
    const { code, stderr } = await osscar(
      'prune',
      MOBILENET,
      ...data,
      ...flags,
      '-o',
      join(folder, 'no.onnx'),
    );
    expect(code, stderr).toBe(2);
    expect(stderr.replace(PROGRESS, '')).toMatch(message);
  });

  test('is refused by analyze, and said by eval, which has nothing to lose', async () => {
    await refused(
      ['analyze', MOBILENET, '--calibrate', fixture('calib'), '--samples', '40'],
      'chance is 0.100',
    );
    const { code, stdout, stderr } = await osscar(
      'eval',
      MOBILENET,
      '--data',
      fixture('test'),
      '--samples',
      '40',
    );
    expect(code).toBe(0);
    expect(stdout).toMatch(/^accuracy 0\.\d{4} on 40 samples\n$/);
    expect(stderr).toMatch(
      /^osscar: warning: accuracy is 0\.\d{3} on 40 samples, chance is 0\.100: .*--mean.*\n$/,
    );
  });

  test('goes through with --force, said beforehand and in the report', async () => {
    const args = ['prune', MOBILENET, '--calibrate', fixture('calib'), '--keep', '0.5', '--force', ...FAST];
    const { code, stdout, stderr } = await osscar(...args, '-o', join(newFolder('out'), 'a.onnx'), '--json');
    expect(code, stderr).toBe(0);
    expect(stderr.replace(PROGRESS, '')).toMatch(
      /^osscar: warning: dense accuracy is 0\.\d{3} on 40 samples, .*\n/,
    );
    expect(JSON.parse(stdout).warnings[0]).toMatch(
      /^dense accuracy is 0\.\d{3} on 40 samples, chance is 0\.100$/,
    );
  });

  test('is none where the flags are right: nothing is said', async () => {
    const args = [
      'prune',
      MOBILENET,
      '--calibrate',
      fixture('calib'),
      ...PREPROCESSING,
      '--keep',
      '0.5',
      ...FAST,
    ];
    const { code, stderr } = await osscar(...args, '-o', join(newFolder('out'), 'a.onnx'));
    expect([code, stderr.replace(PROGRESS, '')]).toEqual([0, '']);
  });
});

describe.concurrent('preprocessor_config.json', () => {
  const CONFIG = {
    do_rescale: true,
    rescale_factor: 0.00392156862745098,
    do_normalize: true,
    image_mean: [0.286],
    image_std: [0.353],
    do_resize: true,
    size: { height: 28, width: 28 },
  };

  /** The model and what lies beside it; in a folder `onnx` below, as Hugging Face has it, where asked for. */
  function beside(config: object | string, below = ''): string {
    const root = newFolder('model');
    mkdirSync(join(root, below), { recursive: true });
    cpSync(MOBILENET, join(root, below, 'model.onnx'));
    writeFileSync(
      join(root, 'preprocessor_config.json'),
      typeof config === 'string' ? config : JSON.stringify(config),
    );
    return join(root, below, 'model.onnx');
  }

  test.each(['', 'onnx'])('is read where it lies beside the model: "%s"', async (below) => {
    const model = beside(CONFIG, below);
    const data = ['--data', fixture('test'), '--samples', '40'];
    const { value } = await osscarJson('eval', model, ...data);
    expect(value).toBe((await osscarJson('eval', MOBILENET, ...data, ...PREPROCESSING)).value);
    // A flag counts more.
    expect((await osscarJson('eval', model, ...data, '--mean', '30')).value).toBeLessThan(value);
  });

  test('is refused where it is broken', async () => {
    const data = ['--data', fixture('test')];
    await refused(['eval', beside('{'), ...data], /preprocessor_config\.json": not valid JSON/m);
    await refused(
      ['eval', beside({ image_mean: [1, 2], image_std: [1] }), ...data],
      /"image_mean" expected 1 or 3/,
    );
  });
});

describe.concurrent('a folder of images', () => {
  const prune = (data: string, ...flags: string[]) =>
    osscar(
      ...[
        'prune',
        MOBILENET,
        '--calibrate',
        data,
        ...PREPROCESSING,
        '--keep',
        '0.5',
        '--method',
        'magnitude',
      ],
      ...['-o', join(newFolder('out'), 'a.onnx'), '--threads', '1', ...flags],
    );

  test('is said to hold files that are ignored', async () => {
    const data = photos(20, (path) => {
      for (const name of ['a.gif', 'b.gif', 'notes.txt', '.hidden']) writeFileSync(join(path, name), '');
      mkdirSync(join(path, 'sub', 'deeper'), { recursive: true });
      for (const name of ['a.png', 'sub/b.png', '.c.png']) symlinkSync('nowhere', join(path, name));
    });
    const { code, stdout, stderr } = await prune(data, '--data', data);
    expect(code, stderr).toBe(0);
    expect(stdout).toContain(
      'file checked: its outputs are exactly those of the network that was solved for\n',
    );
    expect(stderr).toContain(
      'osscar: warning: --data is what --calibrate is: what is measured there says little of other data\n',
    );
    expect(stderr).toContain(
      `osscar: "${data}": ignored 3 files (2 .gif, 1 .txt) and 1 folder within its sub-folders and 2 links to what is not there; only PNG, JPEG, WebP or AVIF is read (20 images)\n`,
    );
  });

  test('of few images is warned of, with the number that layers need', async () => {
    const { code, stdout, stderr } = await prune(photos(3), '--method', 'osscar', '--target', 'self');
    expect(code, stderr).toBe(0);
    expect(stderr).toMatch(
      /^osscar: warning: 3 calibration samples are few: 1 of \d+ layers has fewer rows than inputs; 128 samples or more fit better \(--samples\)$/m,
    );
    expect(stdout).toMatch(/^warning: layer ".*": 3 calibration rows for 128 inputs/m);
  });

  test('is refused: without images, with what is there, and where they may be', async () => {
    const empty = newFolder('empty');
    writeFileSync(join(empty, 'a.heic'), '');
    await pruneRefused(
      [MOBILENET, '--calibrate', empty, '--keep', '0.5'],
      /no PNG, JPEG, WebP or AVIF images in the folder, but 1 \.heic: convert them$/m,
    );
    const models = newFolder('models');
    writeFileSync(join(models, 'a.onnx'), '');
    await pruneRefused(
      [MOBILENET, '--calibrate', models, '--keep', '0.5'],
      /images in the folder, but 1 \.onnx$/m,
    );
    const links = newFolder('links');
    symlinkSync(join(links, 'gone'), join(links, 'a.png'));
    await pruneRefused(
      [MOBILENET, '--calibrate', links, '--keep', '0.5'],
      /images in the folder, but 1 link to what is not there$/m,
    );
    const above = newFolder('above');
    cpSync(photos(2), join(above, 'train', 'class'), { recursive: true });
    await pruneRefused(
      [MOBILENET, '--calibrate', above, '--keep', '0.5'],
      new RegExp(
        `no PNG, JPEG, WebP or AVIF images in the folder; its sub-folders hold folders: is "${join(above, 'train')}" meant\\?`,
      ),
    );
  });
});

describe.concurrent('a flag', () => {
  const images = [MOBILENET, '--calibrate', fixture('calib'), '--keep', '0.5'];
  const text = [fixture('opt-kjv'), '--calibrate', TEXT, '--keep', '0.5'];
  test.each([
    [
      'of text for images',
      [...images, '--sampling', 'random'],
      /^osscar: --sampling is for text, and ".*" is a model of images or audio/,
    ],
    [
      'of images for text',
      [...text, '--mean', '0.5'],
      /^osscar: --mean is for images and audio, and ".*opt-kjv" is a model of text/,
    ],
    [
      'of images for text, before a dry run',
      [...text, '--mean', '0.5', '--dry-run'],
      /^osscar: --mean is for images and audio, and/,
    ],
    [
      'of text for images, before a dry run',
      [...images, '--sampling', 'random', '--dry-run'],
      /^osscar: --sampling is for text, and/,
    ],
    ['of views for text', [...text, '--augment', '2'], /^osscar: --augment is for images and audio, and/],
    [
      'of labels for nothing',
      [...images, '--data-labels', 'a.csv'],
      '--data-labels are of --data, which is missing; those of --calibrate are --labels',
    ],
    ['of labels for text', [...text, '--labels', TEXT], /^osscar: --labels is for images/],
    [
      'of folders for an ONNX file',
      [...images, '--loadable'],
      '--loadable is of folders of safetensors; leave it out',
    ],
    [
      'a format of folders for an ONNX file',
      [...images, '--format', 'transformers.js'],
      '--format transformers.js is of folders of safetensors; leave it out',
    ],
    [
      'another format of folders for an ONNX file',
      [...images, '--format', 'safetensors'],
      '--format safetensors is of folders of safetensors; leave it out',
    ],
    [
      'of weights in ONNX files, where none are written',
      [...text, '--weights', 'int8'],
      '--weights is of ONNX files, and safetensors are written; --format onnx adds one',
    ],
    [
      'the same, before a dry run',
      [...text, '--weights', 'int4', '--dry-run'],
      'opt-kjv: --weights is of ONNX files, and safetensors are written; --format onnx adds one',
    ],
    [
      'speeds of machines that are not asked about',
      [...images, '--dry-run', '--network', '10'],
      '--network is of --machines, which is missing; give both',
    ],
    [
      'the method itself to compare with',
      [...images, '--compare', 'magnitude', 'osscar'],
      '--compare: osscar is what the model is pruned by; name others, or leave it out',
    ],
    [
      'narrow heads of a model that has none',
      [MOBILENET, '--calibrate', fixture('calib'), '--keep', '0.5', '--heads', 'narrow'],
      /no attention of it can lose features.* \(osscar inspect says why\); leave it out/,
    ],
    [
      'heads that config.json cannot say',
      [fixture('opt-kjv'), '--calibrate', TEXT, '--loadable', '--keep-heads', '0.5'],
      '--keep-heads: config.json of opt can say no fewer; leave it out, or take sizes that it cannot say (--no-loadable)',
    ],
    [
      'another file for the tokenizer',
      [...text, '--tokenizer', fixture('opt-kjv/config.json')],
      'config.json": a tokenizer has a "model", and there is none; give tokenizer.json',
    ],
    [
      'a tokenizer that is not downloaded',
      [...text, '--tokenizer', 'facebook/opt-125m'],
      '"facebook/opt-125m": no such file or folder; nothing is downloaded from huggingface.co: first hf download',
    ],
    [
      'a search where sizes are the same in every block',
      [fixture('opt-kjv'), '--calibrate', TEXT, '--params', '0.7', '--loadable', '--effort', 'low'],
      '--effort is of the search for sizes that differ, and these are the same in every block (--loadable)',
    ],
    [
      'multiples of a size that is fixed',
      [...images, '--multiple', '16'],
      '--multiple is for images that keep their own sizes, and here all have one; leave it out',
    ],
    ['of ONNX files for a folder', [...text, '--residual'], '--residual is of ONNX files only; leave it out'],
    [
      'of the outputs of files, for a folder',
      [...text, '--output-names', 'logits'],
      '--output-names is of ONNX files only; leave it out',
    ],
    [
      'an output that there is not',
      [...images, '--output-names', 'classes'],
      '--output-names: expected some of its outputs (logits) or of the values of its nodes, got "classes"',
    ],
    [
      'an input of ONNX files for a folder, which is not run',
      [...text, '--input', 'x=1', '--dry-run'],
      '--input is of ONNX files only; leave it out of a folder of safetensors',
    ],
    [
      'a time for a folder',
      [fixture('opt-kjv'), '--calibrate', TEXT, '--latency', '0.5'],
      '--latency is of ONNX files only; of a folder, give --params or --macs',
    ],
    [
      'heads of a model that has none',
      [MOBILENET, '--calibrate', fixture('calib'), '--keep-heads', '0.5'],
      '--keep-heads: there are no heads that can be pruned',
    ],
    [
      'a pattern of other names',
      [MOBILENET, '--calibrate', fixture('calib'), '--macs', '0.5', '--exclude', 'x*'],
      '--exclude: no prunable structure matches "x*"; there are "/0/0.0/Conv", "/2/2.2/2.2.0/Conv", "/3/3.2/3.2.0/Conv" and 3 more (osscar inspect lists them)',
    ],
    [
      'a layout that the model does not have',
      [...images, '--layout', 'nhwc'],
      'has 28 (is --layout nchw meant?)',
    ],
    ['two means', [...images, '--mean', '0.4,0.5'], '--mean: expected one number or one per channel'],
    [
      'three means for gray',
      [...images, '--mean', '0.4,0.5,0.6'],
      "--mean: expected one value for the model's 1 channel, got 3",
    ],
    [
      'a size against the model',
      [...images, '--size', '64', '--resize', 'fit'],
      '--size 64x64: input "input" is of a fixed size, [1, 28, 28]',
    ],
    [
      'a file for a work folder',
      [...images, '--work', MOBILENET],
      /fashion-mobilenet\.onnx": not a folder$/m,
    ],
    [
      'a structure that is not there',
      [...images, '--keep-layer', 'foo=0.5'],
      '--keep-layer: there is no prunable structure "foo"; there are "/0/0.0/Conv", "/2/2.2/2.2.0/Conv", "/3/3.2/3.2.0/Conv" and 3 more (osscar inspect lists them)',
    ],
    [
      'labels of other files',
      [...images, '--labels', fixture('README.md')],
      'README.md" line 1: expected file,label',
    ],
    [
      'text for images',
      [MOBILENET, '--calibrate', TEXT, '--keep', '0.5'],
      /expected a folder of images or a \.npy file, or arrays by the names of the inputs/,
    ],
    [
      'images for text',
      [fixture('opt-kjv'), '--calibrate', fixture('calib'), '--keep', '0.5'],
      /calib": is a folder; expected a file of text \(\.txt, \.jsonl\) or of token ids \(\.npy\)$/m,
    ],
    [
      'an effort beside a ratio',
      [...images, '--effort', 'high'],
      '--effort is for budgets, and says nothing beside --keep; leave it out',
    ],
    [
      'what is made small, without a loss',
      [...images, '--of', 'params'],
      '--of is for --max-loss, and says nothing beside what is given; leave it out',
    ],
    [
      'structures that stay whole beside a ratio',
      [...images, '--exclude', '*'],
      '--exclude is for budgets, and says nothing beside --keep; of single structures, give --keep-layer',
    ],
    ['a negative damping', [...images, '--damping', '-1'], '--damping must be at least 0, got -1'],
    [
      'too little memory',
      [...images, '--memory', '1kB'],
      '--memory: expected bytes such as 8GiB, at least 1MiB, got "1kB"',
    ],
    [
      'a value for what images are given to',
      [...images, '--input', 'input=1'],
      '--input input=VALUE: that input is what samples are given to; leave it out',
    ],
    [
      'a folder for labels',
      [...images, '--labels', fixture('calib')],
      /calib": is a folder; --labels are a \.csv file of lines file,label$/m,
    ],
    [
      'data for a model, and a model for data',
      [fixture('calib'), '--calibrate', MOBILENET, '--keep', '0.5'],
      /calib": there is no config\.json in it; expected an ONNX file/,
    ],
    [
      'a ratio with a comma',
      [...images, '--keep', '0,5'],
      "'--keep <ratio>' argument '0,5' is invalid. expected a number, as 0.5",
    ],
    [
      'a percentage above all',
      [...images, '--keep', '150%'],
      '--keep must be in (0, 1], as 0.5 for half of them, got 1.5',
    ],
  ])('is refused: %s', async (_, args, message) => {
    await pruneRefused(args, message, args[0] === fixture('opt-kjv') ? 'small' : 'small.onnx');
  });

  test.each(['small.onnx', 'small.safetensors', 'small.zip'])(
    'is refused: a file where a folder is written: %s',
    async (output) => {
      await pruneRefused(
        text,
        /small\.\w+": a folder is written; give it another name \(--format onnx adds model\.onnx to it\)$/m,
        output,
      );
    },
  );

  test.each(['small.pt', 'v1.5.safetensors'])('is refused: %s for an ONNX file', async (output) => {
    await pruneRefused(images, /": an ONNX file is written; give it a name that ends in \.onnx$/m, output);
  });

  test.runIf(existsSync('/dev/null'))('is refused: a device, which is not to be overwritten', async () => {
    await refused(['prune', ...images, '-o', '/dev/null'], '"/dev/null": is no file, and is not overwritten');
  });

  test.each([
    ['--data', 'nowhere'],
    ['--labels', 'nowhere.csv'],
    ['--data-labels', 'nowhere.csv', '--data', TEXT],
  ])('is refused before the model is read: %s that is not there', async (flag, path, ...others) => {
    const model = join(newFolder('broken'), 'broken.onnx');
    writeFileSync(model, '');
    await pruneRefused(
      [model, ...images.slice(1), flag, path, ...others],
      `osscar: "${path}": no such file or folder\n`,
    );
  });

  test('is refused: colour images for a gray model, as they are', async () => {
    const data = newFolder('colour');
    writeFileSync(
      join(data, 'a.png'),
      encodePng({ width: 28, height: 28, channels: 3, data: new Uint8Array(3 * 784) }),
    );
    await pruneRefused(
      [MOBILENET, '--calibrate', data, '--keep', '0.5'],
      /3 channels, the model expected 1 \(--color gray converts\)/,
    );
  });

  test('takes a percentage', async () => {
    const args = [MOBILENET, '--dry-run', '--samples', '12', '--keep'];
    expect(await osscarJson('prune', ...args, '50%')).toMatchObject({
      parameters: (await osscarJson('prune', ...args, '0.5')).parameters,
    });
  });

  test('of eval draws windows of text', async () => {
    const args = ['eval', fixture('opt-kjv'), '--data', TEXT, '--seqlen', '16', '--samples'];
    const [four, sixteen] = [await osscarJson(...args, '4'), await osscarJson(...args, '16')];
    expect([four.samples, sixteen.samples]).toEqual([4, 16]);
    expect(four.value).not.toBe(sixteen.value);
  });
});

describe.concurrent('a configuration', () => {
  const write = (content: unknown) => {
    const path = join(newFolder('config'), 'osscar.config.json');
    writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
    return path;
  };
  const SETTINGS = {
    model: MOBILENET,
    calibrate: fixture('calib'),
    data: fixture('test'), // of eval
    keep: 0.5,
    'keep-layer': { '/2/2.2/2.2.0/Conv': 0.75 },
    mean: [0.286],
    std: 0.353,
    samples: 40,
    method: 'magnitude',
    correct: false,
  };

  test('says what flags would, flags count more, and the report gives it back', async () => {
    const output = join(newFolder('out'), 'a.onnx');
    const config = write({ ...SETTINGS, output, overwrite: true });
    const report = await osscarJson('prune', '--config', config, '--keep', '0.25');
    expect(report.recipe).toMatchObject({
      method: 'magnitude',
      correct: false,
      keep: { all: 0.25, layers: { '/2/2.2/2.2.0/Conv': 0.75 } },
    });
    expect(report.samples).toBe(40);
    const again = await osscarJson('prune', '--config', write(report.settings));
    expect(again.model.sha256).toBe(report.model.sha256);
    expect(again.settings).toEqual(report.settings);
    const { samples } = await osscarJson('eval', '--config', config);
    expect(samples).toBe(40);
  });

  test.each([
    ['{', 'not valid JSON: '],
    ['[]', 'expected a JSON object'],
    ['{"keep": 0.5, "keep": 0.1}', '"keep" comes twice'],
    [{ kepe: 1 }, 'unknown option "kepe"'],
    [{ constructor: 1 }, 'unknown option "constructor"; names are those of the flags, such as "keep"'],
    [{ keep: 'half' }, '"keep" cannot be "half": expected a number'],
    [{ method: 'random' }, '"method" cannot be "random": Allowed choices are'],
    [{ force: 1 }, '"force": expected true or false, got 1'],
    [{ keep: { a: 1 } }, '"keep": expected what --keep <ratio> takes'],
    [{ model: 3 }, '"model": expected a path'],
  ])('is refused: %j', async (content, message) => {
    const path = write(content);
    await refused(['prune', MOBILENET, '--config', path], `"${path}": ${message}`);
  });

  test('that is found in the working folder replaces nothing', async () => {
    const cwd = newFolder('stranger');
    const page = join(cwd, 'page.html');
    writeFileSync(page, 'old');
    const settings = {
      model: MOBILENET,
      calibrate: fixture('calib'),
      keep: 0.5,
      output: join(cwd, 'a.onnx'),
    };
    writeFileSync(join(cwd, 'osscar.config.json'), JSON.stringify({ ...settings, report: page }));
    const without = await osscarIn(cwd, 'prune');
    expect([without.code, without.stderr]).toEqual([2, expect.stringMatching(/page\.html": exists already/)]);
    writeFileSync(
      join(cwd, 'osscar.config.json'),
      JSON.stringify({ ...settings, report: page, overwrite: true }),
    );
    const { code, stderr } = await osscarIn(cwd, 'prune');
    expect([code, readFileSync(page, 'utf8')]).toEqual([2, 'old']);
    expect(stderr).toMatch(/"osscar\.config\.json": "overwrite" counts only where it is typed/);
  });

  test('says nothing of a model to commands that are about none', async () => {
    const cwd = newFolder('none');
    writeFileSync(join(cwd, 'osscar.config.json'), JSON.stringify({ model: MOBILENET }));
    const report = await osscarIn(cwd, 'report');
    expect([report.code, report.stderr]).toEqual([
      2,
      expect.stringContaining("missing required argument 'work'"),
    ]);
    const status = await osscarIn(cwd, 'status', '--queue', 'nowhere');
    expect([status.code, status.stderr]).toEqual([
      2,
      expect.stringMatching(/\nosscar: --queue: expected an address/),
    ]);
  });

  test('is refused: a file that is not there', async () => {
    await refused(['inspect', MOBILENET, '--config', join(folder, 'no.json')], /no\.json": no such file/);
  });
});

describe.concurrent('paths of one command that do not go together', () => {
  const vision = ['--calibrate', fixture('calib'), ...PREPROCESSING, '--keep', '0.5', ...FAST];
  const text = ['--calibrate', TEXT, '--keep', '0.5', ...FAST];

  test('what is for pipes and shells', async () => {
    await refused(['inspect', '-'], /"-": no such file or folder; standard input is not read: give a file$/m);
    await refused(['prune', MOBILENET, ...vision, '-o', '-'], '"-": nothing goes to standard output');
    const quoted = ['prune', MOBILENET, '--keep', '0.5', '-o', 'o.onnx', '--calibrate', '$DATA/photos'];
    await refused(quoted, /"\$DATA\/photos": no such file or folder; the shell puts in the value/);
  });

  test.each(['r.html', 'r.json'])('a report in the place of the model: %s', async (name) => {
    const out = newFolder('out');
    await refused(
      ['prune', MOBILENET, ...vision, '-o', join(out, name), '--report', join(out, '.', 'r.html')],
      `--report: "${join(out, name)}" is where the model goes; choose another name`,
    );
    expect(listing(out)).toEqual([]);
  });

  test.each(['small', 'small/run'])(
    'a work folder where the model goes, before it is made: %s',
    async (work) => {
      const out = newFolder('out');
      await refused(
        ['prune', fixture('opt-kjv'), ...text, '-o', join(out, 'small'), '--work', join(out, work)],
        /small": is, or holds, ".*", which is read and kept; choose another output/,
      );
      expect(listing(out)).toEqual([]);
    },
  );

  test.each([
    ['', "option '--scratch <dir>' argument is empty; is a variable of the shell unset?"],
    ['no', 'no": no such file or folder'],
    ['file', 'file": not a folder'],
  ])('a scratch folder that is none: "%s"', async (name, message) => {
    const out = newFolder('out');
    writeFileSync(join(out, 'file'), '');
    const scratch = name && join(out, name);
    await refused(
      ['prune', fixture('opt-kjv'), ...text, '-o', join(out, 'small'), '--scratch', scratch],
      message,
    );
    expect(listing(out)).toEqual(['file']);
  });
});

test('of a flag that is given again it is said which one counts, unless it is the same or is gathered', async () => {
  const given = ['--size', '28', '--size', '28', '--input', 'a=1', '--input', 'b=1'];
  const { stderr } = await osscar('inspect', MOBILENET, '--threads', '2', '--threads', '1', ...given);
  expect(stderr).toMatch(
    /^osscar: warning: --threads is given as 2 and as 1; the last counts\nosscar: (?!warning)/,
  );
});

test('a report that finds its disk full does not take the results along, and leaves no part of itself', async () => {
  const out = newFolder('out');
  const isPage = "String(to).endsWith('r.html')";
  const full = `import fs from 'node:fs/promises';
    import { syncBuiltinESMExports } from 'node:module';
    const { rename } = fs;
    const failure = Object.assign(new Error('full'), { code: 'ENOSPC', syscall: 'rename' });
    fs.rename = async (from, to) => { if (${isPage}) throw failure; return rename(from, to); };
    syncBuiltinESMExports();`;
  const { code, stdout, stderr } = await osscarUnder(
    ['--import', `data:text/javascript,${encodeURIComponent(full)}`],
    ...['prune', MOBILENET, '--calibrate', fixture('calib'), ...PREPROCESSING, '--keep', '0.5', ...FAST],
    ...['-o', join(out, 'a.onnx'), '--report', join(out, 'r.html'), '--json', '--threads', '1'],
  );
  expect([code, JSON.parse(stdout).model.path]).toEqual([2, join(out, 'a.onnx')]);
  expect(stderr).toMatch(/r\.html": no space left\n$/);
  expect(listing(out)).toEqual(['a.onnx']);
});
