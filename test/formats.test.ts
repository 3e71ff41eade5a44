// What stands in the place of a download is said, of whatever kind the file was to be.

import { expect, test } from 'vitest';
import { blobFolder } from '../src/checkpoint/folder.ts';
import { readSafetensors } from '../src/checkpoint/safetensors.ts';
import { readTorch } from '../src/checkpoint/torch.ts';
import { readModel } from '../src/graph/read.ts';
import { parseJsonObject } from '../src/json.ts';
import { decodeImage } from '../src/pipeline/data/image.ts';
import { decodeNpy } from '../src/pipeline/data/npy.ts';

const bytes = (text: string) => new TextEncoder().encode(text);
const LFS = bytes(`version https://git-lfs.github.com/spec/v1\noid sha256:${'0'.repeat(64)}\nsize 1345\n`);
const PAGE = bytes('<!doctype html><title>Sign in</title>');
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

test.each(READERS)('a pointer of Git LFS, or a page, instead of %s', async (name, read) => {
  await expect(read(LFS)).rejects.toThrow(
    new RegExp(`${name.replace('.', '[.]')}.*a pointer of Git LFS; fetch the file with git lfs pull$`),
  );
  await expect(read(PAGE)).rejects.toThrow(/a web page or XML; download the file itself$/);
});

test.each([
  ['PK\x03\x04', 'a zip archive; unpack it, or where it is a .pt file of PyTorch, export it'],
  ['\x93NUMPY', 'a .npy file; a model is an ONNX file, or a Hugging Face folder'],
  ['In the beginning', 'text; a model is an ONNX file, or a Hugging Face folder'],
])('other files instead of a model: %s', async (content, what) => {
  const latin1 = Uint8Array.from(content, (char) => char.charCodeAt(0));
  await expect(readModel(latin1, { name: 'm.onnx' })).rejects.toThrow(`it is ${what}`);
});
