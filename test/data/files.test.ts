import { chmod, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { encode as encodePng } from 'fast-png';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { checkWritable, externalReader, readFileBytes, writeAtomically } from '../../src/disk/files.ts';
import { onDisk } from '../../src/disk/place.ts';
import { InputError } from '../../src/errors.ts';
import type { Dataset } from '../../src/pipeline/data/dataset.ts';
import { DEFAULT_PREPROCESSING, parsePreprocessing } from '../../src/pipeline/data/images/preprocessing.ts';
import { type ImageOptions, openDataset as openAt } from '../../src/run/images.ts';

/** Of paths. */
const openDataset = (
  path: string,
  { labels, ...options }: Omit<ImageOptions, 'labels'> & { labels?: string },
) => openAt(onDisk(path), { ...options, labels: labels === undefined ? undefined : onDisk(labels) });

let root = '';
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'osscar-files-'));
});
afterEach(() => rm(root, { recursive: true, force: true }));

async function put(path: string, content: Uint8Array | string): Promise<string> {
  const full = join(root, path);
  await mkdir(dirname(full), { recursive: true });
  await writeFile(full, content);
  return full;
}

const pixel = (value: number) => encodePng({ width: 1, height: 1, channels: 1, data: Uint8Array.of(value) });
const options = { preprocessing: { ...DEFAULT_PREPROCESSING, scale: 1 }, inputShape: [1, 1, 1] };

async function read(dataset: Dataset) {
  const samples: { name: string; label?: number; value: number }[] = [];
  for await (const { inputs, labels, names } of dataset.batches(3)) {
    names.forEach((name, i) => {
      samples.push({
        name: name.slice(root.length + 1),
        value: inputs[i],
        ...(labels && { label: labels[i] }),
      });
    });
  }
  return samples;
}

describe('openDataset, folders', () => {
  test('takes sub-folders in sorted order for the classes, links and upper case included', async () => {
    await put('b/2.PNG', pixel(2));
    await put('a/1.png', pixel(1));
    await put('a/.hidden.png', 'x');
    await put('a/notes.txt', 'x');
    await put('.git/3.png', 'x');
    await put('elsewhere/4.png', pixel(4));
    const folder = join(root, 'set');
    await mkdir(folder);
    for (const name of ['a', 'b']) await symlink(join(root, name), join(folder, name));
    await symlink(join(root, 'nowhere'), join(folder, 'c'));
    const dataset = await openDataset(folder, options);
    expect(dataset.classes).toEqual(['a', 'b']);
    expect(await read(dataset)).toEqual([
      { name: 'set/a/1.png', label: 0, value: 1 },
      { name: 'set/b/2.PNG', label: 1, value: 2 },
    ]);
  });

  test('has no labels for files directly in the folder', async () => {
    await put('2.png', pixel(2));
    await put('1.png', pixel(1));
    await mkdir(join(root, 'unrelated'));
    const dataset = await openDataset(root, options);
    expect(dataset.classes).toBeUndefined();
    expect(await read(dataset)).toEqual([
      { name: '1.png', value: 1 },
      { name: '2.png', value: 2 },
    ]);
  });

  test('adds the label offset and then names no classes', async () => {
    await put('a/1.png', pixel(1));
    const dataset = await openDataset(root, { ...options, labelOffset: 1 });
    expect(dataset.classes).toBeUndefined();
    expect(await read(dataset)).toEqual([{ name: 'a/1.png', label: 1, value: 1 }]);
  });

  test('draws samples evenly and reproducibly', async () => {
    for (const label of ['a', 'b']) for (let i = 0; i < 9; i++) await put(`${label}/${i}.png`, pixel(i));
    const draw = async (seed: number) => read(await openDataset(root, { ...options, samples: 6, seed }));
    const drawn = await draw(1);
    expect(drawn.filter(({ label }) => label === 0)).toHaveLength(3);
    expect(drawn).toHaveLength(6);
    expect(await draw(1)).toEqual(drawn);
    expect(await draw(2)).not.toEqual(drawn);
  });

  test('reads the Fashion-MNIST fixtures', async () => {
    const dataset = await openDataset(join(import.meta.dirname, '../fixtures/test'), {
      preprocessing: parsePreprocessing({ mean: [0.286], std: [0.353] }),
      inputShape: [1, 28, 28],
      samples: 100,
    });
    expect(dataset).toMatchObject({ size: 100, shape: [1, 28, 28] });
    expect(dataset.classes).toHaveLength(10);
    const perClass = new Array(10).fill(0);
    let sum = 0;
    for await (const { inputs, labels } of dataset.batches(64)) {
      for (const label of labels!) perClass[label]++;
      for (const value of inputs) sum += value;
    }
    expect(perClass).toEqual(new Array(10).fill(10));
    // The values are normalised: their mean over 78,400 pixels of 100 images is near 0.
    expect(Math.abs(sum / (100 * 784))).toBeLessThan(0.1);
  });

  test.each<[string, Record<string, string | Uint8Array>, string]>([
    ['an empty folder', {}, 'no PNG, JPEG, WebP or AVIF images in the folder'],
    [
      'a folder without images',
      { 'a.txt': 'x', 'sub/b.txt': 'x' },
      'no PNG, JPEG, WebP or AVIF images in the folder',
    ],
    [
      'images on both levels',
      { '1.png': pixel(1), 'a/2.png': pixel(2) },
      'images both in the folder and in sub-folders',
    ],
  ])('refuses %s', async (_, files, message) => {
    for (const [path, content] of Object.entries(files)) await put(path, content);
    await expect(openDataset(root, options)).rejects.toThrow(InputError);
    await expect(openDataset(root, options)).rejects.toThrow(`"${root}": ${message}`);
  });

  test('refuses a missing path and another kind of file', async () => {
    const missing = join(root, 'missing');
    await expect(openDataset(missing, options)).rejects.toThrow(
      new InputError(`"${missing}": no such file or folder`),
    );
    const text = await put('a.txt', 'x');
    await expect(openDataset(text, options)).rejects.toThrow('expected a folder of images or a .npy file');
  });
});

describe('openDataset, labels', () => {
  const twoFiles = async () => {
    await put('img/1.png', pixel(1));
    await put('img/2.png', pixel(2));
  };
  const withLabels = async (csv: string, labelOffset = 0) =>
    openDataset(join(root, 'img'), { ...options, labels: await put('labels.csv', csv), labelOffset });

  test.each([
    ['a header', 'file,label\n1.png,5\n2.png,0\n'],
    ['no header', '2.png,0\n1.png,5'],
    [
      'CRLF, blank lines, spaces, quotes, ./ and a byte order mark',
      '\ufefffile,label\r\n\r\n"1.png", 5\r\n./2.png,"0"\r\n',
    ],
  ])('reads a file with %s', async (_, csv) => {
    await twoFiles();
    expect(await read(await withLabels(csv, 10))).toEqual([
      { name: 'img/1.png', label: 15, value: 1 },
      { name: 'img/2.png', label: 10, value: 2 },
    ]);
  });

  test('takes paths and base names in sub-folders', async () => {
    await put('img/a/1.png', pixel(1));
    await put('img/b/2.png', pixel(2));
    const dataset = await withLabels('a\\1.png,3\n2.png,4');
    expect((await read(dataset)).map(({ label }) => label)).toEqual([3, 4]);
    expect(dataset.classes).toBeUndefined();
  });

  test.each([
    ['1.png,1\n2.png,1\n3.png,1', 'line 3: there is no image "3.png" in'],
    ['1.png,1\nphotos/2.png,1', /line 2: there is no image "photos\/2[.]png" in ".*"; is "2[.]png" meant\?$/],
    ['/data/1.png,1\n2.png,1', 'is "1.png" meant?'],
    ['1,1\n2,1', 'line 1: there is no image "1" in'],
    ['1,1\n2,1', 'is "1.png" meant?'],
    ['1,1.png\n1,2.png', 'line 1: expected file,label, the file first, got "1,1.png"'],
    [',file,label\n0,1.png,1\n1,2.png,1', 'other column (pandas: index=False)'], // as DataFrame.to_csv writes it
    [
      'file,label,split\n1.png,1,train\n2.png,1,train',
      'got "train"; lines are file,label and no other column',
    ],
    ['1.png,1,7\n2.png,1,7', 'lines are file,label and no other column'],
    ['1.png,1\n2.png,cat', 'line 2: expected a class number as label, got "cat"'],
    ['1.png,1\nfile,label\n2.png,1', 'line 2: expected a class number as label, got "label"'],
    ['1.webp,cat\n2.png,1', 'line 1: expected a class number as label, got "cat"'],
    ['1.png,1.5\n2.png,1', 'line 1: expected a class number as label, got "1.5"'],
    ['1.png,-1\n2.png,1', 'line 1: expected a class number as label, got "-1"'],
    ['1.png,1\n2.png', 'line 2: expected file,label, got "2.png"'],
    ['1.png,1\n1.png,2\n2.png,1', 'line 2: "1.png" has label 1 already, got 2'],
    ['1.png,1', 'no label for "2.png"'],
    ['', 'expected lines file,label, and there are none'],
    ['[{"file": "1.png", "label": 1}]', 'expected lines file,label, and there are none'],
  ])('refuses %j', async (csv, message) => {
    await twoFiles();
    await expect(withLabels(csv)).rejects.toThrow(InputError);
    await expect(withLabels(csv)).rejects.toThrow(message);
    await expect(withLabels(csv)).rejects.toThrow(/labels\.csv"/);
  });

  test('refuses a base name in several folders, and a missing file of labels', async () => {
    await put('img/a/1.png', pixel(1));
    await put('img/b/1.png', pixel(2));
    await expect(withLabels('1.png,1')).rejects.toThrow('"1.png" is in several folders');
    const labels = join(root, 'no.csv');
    await expect(openDataset(join(root, 'img'), { ...options, labels })).rejects.toThrow(
      'no.csv": no such file',
    );
  });
});

describe('openDataset, .npy', () => {
  const npy = (values: number[]) => {
    const header = `${`{'descr': '<f4', 'fortran_order': False, 'shape': (${values.length}, 1, 1, 1), }`.padEnd(117)}\n`;
    const data = new Uint8Array(Float32Array.from(values).buffer);
    return Uint8Array.from([0x93, ...Buffer.from('NUMPY'), 1, 0, 118, 0, ...Buffer.from(header), ...data]);
  };

  test('reads the rows as they are, all or a draw in order', async () => {
    const path = await put('a.npy', npy([0.5, 1, 2, 3, 4]));
    expect((await read(await openDataset(path, options))).map(({ value }) => value)).toEqual([
      0.5, 1, 2, 3, 4,
    ]);
    const drawn = (await read(await openDataset(path, { ...options, samples: 3 }))).map(({ value }) => value);
    expect(new Set(drawn).size).toBe(3);
    expect([0.5, 1, 2, 3, 4].filter((value) => drawn.includes(value))).toEqual(drawn);
  });

  test('refuses labels and a damaged file', async () => {
    const path = await put('a.npy', npy([1]));
    await expect(openDataset(path, { ...options, labels: 'x.csv' })).rejects.toThrow(
      'labels go with a folder of images',
    );
    await expect(openDataset(await put('b.npy', 'x'), options)).rejects.toThrow(
      'b.npy": expected a .npy file',
    );
  });
});

describe('writeAtomically', () => {
  const part = (text: string) => new TextEncoder().encode(text);

  test('writes the parts in order and leaves nothing else behind', async () => {
    const path = join(root, 'out.onnx');
    await writeAtomically(path, [part('ab'), part(''), part('c')]);
    await writeAtomically(path, [part('new')]);
    expect(await readFile(path, 'utf8')).toBe('new');
    expect(await readdir(root)).toEqual(['out.onnx']);
  });

  test('keeps the old file and removes the temporary one if the parts fail', async () => {
    const path = await put('out.onnx', 'old');
    async function* parts() {
      yield part('half');
      throw new Error('no more');
    }
    await expect(writeAtomically(path, parts())).rejects.toThrow('no more');
    expect(await readFile(path, 'utf8')).toBe('old');
    expect(await readdir(root)).toEqual(['out.onnx']);
  });

  test('refuses a missing folder, a file as folder and a folder as file, naming it', async () => {
    await put('file', 'x');
    const missing = join(root, 'no');
    await expect(checkWritable(join(missing, 'out.onnx'))).rejects.toThrow(
      new InputError(`"${missing}": no such file or folder; make it first, then what goes into it`),
    );
    await expect(checkWritable(join(root, 'file', 'out.onnx'))).rejects.toThrow('file": not a folder');
    const expected = 'is a folder; expected the name of a file in it';
    await expect(checkWritable(root)).rejects.toThrow(new InputError(`"${root}": ${expected}`));
    await expect(writeAtomically(join(missing, 'out.onnx'), [])).rejects.toThrow(InputError);
  });

  test('refuses a folder without write permission', async () => {
    // Permissions do not bind root, but nobody may make files in Linux's /sys.
    const folder = process.getuid?.() === 0 ? '/sys' : join(root, 'locked');
    await mkdir(folder, { recursive: true });
    if (folder !== '/sys') await chmod(folder, 0o555);
    await expect(checkWritable(join(folder, 'out.onnx'))).rejects.toThrow(
      new InputError(`"${folder}": permission denied`),
    );
  });

  test.runIf(process.platform === 'linux')('refuses a folder that takes no files', async () => {
    await expect(checkWritable('/proc/out.onnx')).rejects.toThrow(
      new InputError('"/proc": no file can be made in this folder'),
    );
  });

  test('leaves nothing behind after a check', async () => {
    await checkWritable(join(root, 'out.onnx'));
    expect(await readdir(root)).toEqual([]);
  });
});

describe('reading files', () => {
  test('names what cannot be read', async () => {
    await expect(readFileBytes(join(root, 'no.onnx'))).rejects.toThrow('no.onnx": no such file or folder');
    await expect(readFileBytes(root)).rejects.toThrow(new InputError(`"${root}": is a folder`));
  });

  test('reads byte ranges of external data beside the model', async () => {
    await put('m/weights/a.bin', Uint8Array.of(0, 1, 2, 3, 4, 5));
    const external = externalReader(join(root, 'm', 'model.onnx'));
    expect([...(await external('weights/a.bin', 2, 3))]).toEqual([2, 3, 4]);
    expect([...(await external('./weights/a.bin', 4, 2))]).toEqual([4, 5]);
    expect([...(await external('weights/a.bin', 0, 6))]).toEqual([0, 1, 2, 3, 4, 5]);
    expect(await external('weights/a.bin', 6, 0)).toHaveLength(0);
  });

  test('refuses ranges past the end, missing files and locations outside the folder', async () => {
    await put('m/a.bin', Uint8Array.of(1, 2));
    await put('secret', 'x');
    const external = externalReader(join(root, 'm', 'model.onnx'));
    await expect(external('a.bin', 1, 2)).rejects.toThrow(
      'expected external data at bytes 1 to 3, the file has 2',
    );
    await expect(external('a.bin', -1, 1)).rejects.toThrow(InputError);
    await expect(external('no.bin', 0, 1)).rejects.toThrow('no.bin": no such file or folder');
    for (const location of ['../secret', 'x/../../secret', join(root, 'secret'), '', '.']) {
      await expect(external(location, 0, 1)).rejects.toThrow("is outside the model's folder");
    }
  });
});

describe('a path that leads nowhere', () => {
  const messageOf = (path: string) => readFileBytes(path).catch((error) => error.message);

  test.each([
    ['in other letters', 'Photos/A.PNG', 'Photos/a.png'],
    ['without its ending', 'Photos/m', 'Photos/m.onnx'],
    ['with the separators of Windows', 'Photos\\a.png', 'Photos/a.png'],
    ['with a blank', 'Photos/a.png ', 'Photos/a.png'],
    ['in quotes of print', '“Photos/a.png”', 'Photos/a.png'],
  ])('is asked about: %s', async (_, typed, meant) => {
    await put('Photos/a.png', '');
    await put('Photos/m.onnx', '');
    const at = (path: string) => path.replace('Photos', join(root, 'Photos'));
    expect(await messageOf(at(typed))).toBe(
      `"${at(typed)}": no such file or folder; is "${at(meant)}" meant?`,
    );
  });

  test('is not expanded: a home folder in quotes, and patterns', async () => {
    await put('photos/a.png', '');
    for (const name of ['HOME', 'USERPROFILE']) vi.stubEnv(name, root);
    expect(await messageOf('~/photos/a.png')).toBe(
      `"~/photos/a.png": no such file or folder; is "${join(root, 'photos/a.png')}" meant?`,
    );
    vi.unstubAllEnvs();
    expect(await messageOf(join(root, '*.png'))).toMatch(
      /no such file or folder; patterns are not read: give the folder$/,
    );
  });

  test('is no name of a data set, of which none is downloaded', async () => {
    expect(await messageOf('wikitext-2-raw-v1')).toMatch(
      /^"wikitext-2-raw-v1": no such file or folder; no data set is downloaded by its name: give a file of text, /,
    );
  });

  test('is nothing else where nothing is alike', async () => {
    expect(await messageOf(join(root, 'no'))).toBe(`"${join(root, 'no')}": no such file or folder`);
  });
});
