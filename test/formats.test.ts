// What stands in the place of a download is said, of whatever kind the file was to be.

import { expect, test } from 'vitest';
import { readConfig } from '../src/checkpoint/checkpoint.ts';
import { blobFolder } from '../src/checkpoint/folder.ts';
import { readSafetensors } from '../src/checkpoint/safetensors.ts';
import { readTorch } from '../src/checkpoint/torch.ts';
import { readModel } from '../src/graph/read.ts';
import { decodeUtf8, parseJsonObject } from '../src/json.ts';
import { decodeImage } from '../src/pipeline/data/images/image.ts';
import { parsePreprocessing } from '../src/pipeline/data/images/preprocessing.ts';
import { decodeNpy } from '../src/pipeline/data/npy.ts';
import { decodeNpz } from '../src/pipeline/data/npz.ts';
import { openDataset } from '../src/run/images.ts';
import { placeOf } from '../src/run/source.ts';

const bytes = (text: string) => new TextEncoder().encode(text);
const LFS = bytes(`version https://git-lfs.github.com/spec/v1\noid sha256:${'0'.repeat(64)}\nsize 1345\n`);
const PAGE = bytes('<!doctype html><title>Sign in</title>');
const latin1 = (text: string) => Uint8Array.from(text, (char) => char.charCodeAt(0));
const PACKED = [
  ['\x1f\x8b\x08', 'compressed by gzip'],
  ['\x28\xb5\x2f\xfd', 'compressed by zstd'],
  ['\xfd7zXZ', 'compressed by xz'],
  ['BZh9', 'compressed by bzip2'],
  ['7z\xbc\xaf', 'a 7z archive'],
  ['Rar!\x1a', 'a RAR archive'],
] as const;
const folderOf = (file: string, content: Uint8Array) =>
  blobFolder([[file, new Blob([content as BlobPart])]], 'm');

const READERS: readonly [string, (content: Uint8Array) => unknown][] = [
  ['m.onnx', (content) => readModel(content, { name: 'm.onnx' })],
  ['a.safetensors', (content) => readSafetensors(folderOf('a.safetensors', content), 'a.safetensors')],
  ['pytorch_model.bin', (content) => readTorch(folderOf('pytorch_model.bin', content), 'pytorch_model.bin')],
  ['tokenizer.json', async (content) => parseJsonObject(content, 'tokenizer.json')],
  ['a.npy', async (content) => decodeNpy(content, 'a.npy')],
  ['a.png', (content) => decodeImage(content, 'a.png')],
];

test.each(READERS)(
  'a pointer of Git LFS, a page or what is compressed, instead of %s',
  async (name, read) => {
    await expect(read(LFS)).rejects.toThrow(
      new RegExp(`${name.replace('.', '[.]')}.*a pointer of Git LFS; fetch the file with git lfs pull$`),
    );
    await expect(read(PAGE)).rejects.toThrow(/a web page or XML; download the file itself$/);
    for (const [magic, what] of PACKED)
      await expect(read(latin1(magic.padEnd(40, '\0\xff')))).rejects.toThrow(`${what}; unpack it`);
  },
);

test.each([
  ['PK\x03\x04', 'a zip archive; unpack it, or where it is a .pt file of PyTorch, export it'],
  ['\x93NUMPY', 'a .npy file; a model is an ONNX file, or a Hugging Face folder'],
  ['In the beginning', 'text; a model is an ONNX file, or a Hugging Face folder'],
])('other files instead of a model: %s', async (content, what) => {
  await expect(readModel(latin1(content), { name: 'm.onnx' })).rejects.toThrow(`it is ${what}`);
});

test.each([
  ['m.mlmodel', 'a Core ML model'],
  ['saved_model.pb', 'a graph of TensorFlow; convert it with tf2onnx'],
  ['m.engine', 'a TensorRT engine; give the ONNX file'],
  ['m.xml', 'a model of OpenVINO'],
])('other models, whose bytes say nothing: %s', async (name, what) => {
  await expect(readModel(bytes('<net/>'), { name })).rejects.toThrow(
    `${name}: no readable ONNX model: it is ${what}`,
  );
  // A known field, and no graph.
  await expect(readModel(Uint8Array.of(8, 7), { name })).rejects.toThrow(`it is ${what}`);
});

test.each([
  ['PAR1\x15\xff', 'a Parquet file; write its texts to .txt or .jsonl'],
  ['ARROW1\0\0\xff', 'an Arrow file; write its texts to .txt or .jsonl'],
  ['%PDF-1.4\xff', 'a PDF file; take the text out of it'],
  ['\xff\xfeI\0n\0', 'UTF-16 text; save it as UTF-8'],
  ['\x93NUMPY\x01\0v\0', 'a .npy file; write its numbers as text'],
  ['I\0n\0', 'UTF-16 text, or none; save it as UTF-8'],
  // As an ONNX file begins.
  ['\x08\x08\x12\x07pytorch\xff', 'no text'],
])('other files instead of text: %j', (content, what) => {
  expect(() => decodeUtf8(latin1(content), '"a.txt"')).toThrow(`"a.txt": it is ${what}`);
});

test.each([
  ['PK\x03\x04', 'a zip archive; call it .npz, where numpy.savez wrote it'],
  ['\x80\x04\x95', 'a Python pickle; save its arrays with numpy.save'],
  ['\x89HDF\r\n', 'an HDF5 file; save its arrays with numpy.save'],
])('other files instead of an array: %j', (content, what) => {
  expect(() => decodeNpy(latin1(content), 'a.npy')).toThrow(`"a.npy": expected a .npy file, got ${what}`);
});

test('what is no archive instead of arrays, and what is cut off', async () => {
  const decode = (content: string) => decodeNpz(latin1(content), 'a.npz');
  await expect(decode('\x93NUMPY\x01\0v\0')).rejects.toThrow(
    '"a.npz": expected a .npz file, got a single array; call it .npy',
  );
  await expect(decode('')).rejects.toThrow('"a.npz": expected a .npz file, got an empty file');
  await expect(decode(`PK\x03\x04${'\0'.repeat(90)}`)).rejects.toThrow(
    /broken zip archive: .*; it is cut off/,
  );
});

test.each([
  [
    'a.wav',
    'of waveforms WAV files are read; where the model takes features of audio, save those with numpy.save',
  ],
  ['a.parquet', 'save the numbers of the table with numpy.save'],
  ['a.csv', 'save the numbers of the table with numpy.save'],
  ['a.h5', 'save its arrays with numpy.save, or several with numpy.savez'],
  ['a.mp4', 'take the images out of the video, or save its frames with numpy.save'],
  ['a.tar.gz', 'unpack it, and give the folder'],
  ['a.json', 'write an object for each sample in a line of its own, as .jsonl'],
])('data of other kinds, by their names: %s', async (name, hint) => {
  const options = { inputShape: [1, 28, 28], preprocessing: parsePreprocessing({}) };
  await expect(openDataset(await placeOf(new File(['x'], name), name), options)).rejects.toThrow(
    new RegExp(`^"${name}": expected a folder of images or a .npy file, .*; ${hint}$`),
  );
  if (!/wav|parquet/.test(name)) return;
  const folder = await placeOf([[`clips/${name}`, new Uint8Array(1)]], 'calibration');
  await expect(openDataset(folder, options)).rejects.toThrow(`but 1 ${name.slice(1)}; ${hint}`);
});

test.each([
  ['adapter_config.json', 'it is an adapter (LoRA): merge it into its model first'],
  ['Manifest.json', 'it is a Core ML package'],
  ['modules.json', 'it is a model of sentence-transformers that has its transformer in a folder of it'],
])('folders of other kinds: with %s', async (file, what) => {
  await expect(readConfig(folderOf(file, bytes('{}')))).rejects.toThrow(
    `"m": there is no config.json in it; ${what}`,
  );
});
