// What files from strangers may ask for. One object, so that whoever serves many users can narrow it, and whoever knows
// a file can widen it: `limits.imagePixels = 1e9`. docs/security.md has the table.

import { OutOfMemoryError } from './errors.ts';

/** Bounds of what is read, counted before anything is allocated. Changes count for what is read afterwards. */
export interface Limits {
  /** Bytes of a file behind an address, as they come out of what it is packed in on the way. */
  downloadBytes: number;
  /** Seconds in which a MiB of it comes, or its end. */
  downloadSeconds: number;
  /** Bytes of config.json and other small JSON files. */
  jsonBytes: number;
  /** Bytes of a model card that are looked at. */
  cardBytes: number;
  /** Arrays and objects within each other in JSON. */
  jsonDepth: number;
  /** Bytes of an index of shards. */
  indexBytes: number;
  /** Bytes of a tokenizer.json, and of any other file that a pruned folder takes along. */
  tokenizerBytes: number;
  /** Bytes of a safetensors header. */
  headerBytes: number;
  /** Tensors of a safetensors file. */
  headerTensors: number;
  /** Bytes of the pickle in a torch file, inflated. */
  pickleBytes: number;
  /** Objects that a pickle may make or remember. */
  pickleObjects: number;
  /** Marks of a pickle that are open at once. */
  pickleDepth: number;
  /** Bytes of a zip archive's directory. */
  directoryBytes: number;
  /** Entries of a zip archive. */
  zipEntries: number;
  /** Pixels of an image. */
  imagePixels: number;
  /** Bytes of the header of a .npy file. */
  npyHeaderBytes: number;
  /** Bytes of the arrays in a .npz file, inflated. */
  npzBytes: number;
  /** Arrays in a .npz file. */
  npzArrays: number;
  /** Values of one sample, of an image while it is resized, of the batch with which a model is probed, and of its sparse tensors. */
  sampleValues: number;
  /** Lines of a .csv, a .jsonl, or a text of which each is a sample, that are not empty; windows of audio. */
  textLines: number;
  /** Bytes of the windows that are drawn from a text. */
  windowBytes: number;
  /** Pieces of channels that an analysis goes through, of axes that are put together and taken apart. */
  channelPieces: number;
  /** Attributes, graphs and messages within each other in an ONNX file. */
  onnxDepth: number;
  /** Characters of a name in an ONNX file. */
  onnxName: number;
  /** Nodes that the functions of an ONNX file come to where they are called. */
  onnxNodes: number;
}

/** The limits in force. Sealed: one with a typing error in its name would bound nothing. */
export const limits: Limits = Object.seal({
  // All that a WebAssembly memory holds, and the engine has to be in it too.
  downloadBytes: 2 ** 32,
  // 9 kB/s
  downloadSeconds: 120,
  jsonBytes: 16 * 2 ** 20,
  // The parser of YAML takes a thousand times as much.
  cardBytes: 2 ** 17,
  jsonDepth: 64,
  indexBytes: 100 * 2 ** 20,
  // That of Gemma 3, with 262,144 tokens, has 33 MB.
  tokenizerBytes: 64 * 2 ** 20,
  // The reference implementation's limit.
  headerBytes: 100_000_000,
  // Twice those of Kimi K2 in all of its files, 384 experts in each of 60 blocks.
  headerTensors: 2 ** 18,
  // That of OPT-175B would be well below 1 MB.
  pickleBytes: 64 * 2 ** 20,
  // About 30 for each tensor: 35,000 tensors in one file.
  pickleObjects: 2 ** 20,
  pickleDepth: 1000,
  // About 100 bytes for each tensor; zip.js reads it in one piece.
  directoryBytes: 2 ** 26,
  zipEntries: 2 ** 17,
  // Above any phone's photograph.
  imagePixels: 40e6,
  // NumPy's own (`max_header_size`).
  npyHeaderBytes: 10_000,
  // Calibration data, not a disk. Values of one byte become four.
  npzBytes: 2 ** 30,
  // Ten times the inputs of a model with the caches of a hundred blocks. Each takes up to 0.3 ms.
  npzArrays: 2 ** 12,
  // 1 GiB of float32, a quarter of what the engine can address.
  sampleValues: 2 ** 28,
  // Three times the images of ImageNet. Each becomes an object, of a few hundred bytes.
  textLines: 2 ** 22,
  windowBytes: 2 ** 30,
  // Two seconds; DenseNet-264 goes through 200,000.
  channelPieces: 2 ** 21,
  // protobuf's own in other languages.
  onnxDepth: 100,
  // Ten times what nested modules come to. Each is told with every structure that a node has to do with.
  onnxName: 2 ** 12,
  onnxNodes: 2 ** 18,
});

/**
 * To be called before values of these dims are made.
 *
 * @throws {OutOfMemoryError} where they are more than `limits.sampleValues`
 */
export function checkValues(dims: readonly number[], what: string): void {
  const values = dims.reduce((product, dim) => product * dim, 1);
  if (values <= limits.sampleValues) return;
  throw new OutOfMemoryError(
    `${what} [${dims.join(', ')}] has ${values} values, more than ${limits.sampleValues} (limits.sampleValues)`,
    4 * values,
  );
}
