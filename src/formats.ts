// Which formats files are in that are taken for others, and what to do then.

interface Format {
  readonly at?: number;
  readonly magic: string;
  /** Behind "it is". */
  readonly what: string;
}

const MODEL = 'a model is an ONNX file, or a Hugging Face folder';

/** Formats that are taken for ONNX, by their first bytes, and what to do. */
const FORMATS: readonly Format[] = [
  {
    magic: 'PK\x03\x04',
    what: 'a zip archive; unpack it, or where it is a .pt file of PyTorch, export it with torch.onnx.export',
  },
  {
    magic: '\x80\x02',
    what: 'a Python pickle, as PyTorch writes .pt files; export it with torch.onnx.export',
  },
  { at: 4, magic: 'TFL3', what: 'a TensorFlow Lite model; convert it with tf2onnx (--tflite)' },
  { magic: 'GGUF', what: 'a GGUF file; give the Hugging Face folder that it was made of' },
  { at: 8, magic: '{"', what: 'a safetensors file; give the folder that it is in, with its config.json' },
  { magic: '\x89HDF', what: 'an HDF5 file, as Keras writes .h5; export the model to ONNX with tf2onnx' },
  { at: 4, magic: 'ORTM', what: "in onnxruntime's own format; give the ONNX file that it was made of" },
  { magic: '\x93NUMPY', what: `a .npy file; ${MODEL}` },
  { magic: '\x89PNG', what: `a PNG image; ${MODEL}` },
  { magic: '\xff\xd8\xff', what: `a JPEG image; ${MODEL}` },
  { magic: '{', what: 'JSON; give the folder that it is in, where that is a Hugging Face model' },
];

/** Models whose first bytes say nothing. */
const ENDINGS: readonly (readonly [name: RegExp, what: string])[] = [
  [/\.mlmodel$/i, 'a Core ML model; export what it was made of to ONNX'],
  [/\.pb$/i, 'a graph of TensorFlow; convert it with tf2onnx'],
  [/\.pdmodel$/i, 'a model of PaddlePaddle; convert it with paddle2onnx'],
  [/\.(engine|plan|trt)$/i, 'a TensorRT engine; give the ONNX file that it was built from'],
  [/\.xml$/i, 'a model of OpenVINO; give the ONNX file that it was converted from'],
];

/** What is taken for text. */
const DOCUMENTS: readonly Format[] = [
  { magic: 'PAR1', what: 'a Parquet file; write its texts to .txt or .jsonl' },
  { magic: '%PDF', what: 'a PDF file; take the text out of it' },
  { magic: 'ARROW1', what: 'an Arrow file; write its texts to .txt or .jsonl' },
  {
    magic: 'PK\x03\x04',
    what: 'a zip archive, as .docx and .npz are; take the text out of it, or the ids as .npy',
  },
  { magic: '\x93NUMPY', what: 'a .npy file; write its numbers as text' },
  { magic: '\xff\xfe', what: 'UTF-16 text; save it as UTF-8' },
  { magic: '\xfe\xff', what: 'UTF-16 text; save it as UTF-8' },
];

/** What is taken for arrays. */
const ARRAYS: readonly Format[] = [
  { magic: 'PK\x03\x04', what: 'a zip archive; call it .npz, where numpy.savez wrote it' },
  { magic: '\x93NUMPY', what: 'a single array; call it .npy' },
  { magic: '\x80', what: 'a Python pickle; save its arrays with numpy.save' },
  { magic: '\x89HDF', what: 'an HDF5 file; save its arrays with numpy.save' },
];

/** Of data whose names say what they are: how they become samples. */
const DATA: readonly (readonly [name: RegExp, hint: string])[] = [
  [
    /\.(wav|flac|mp3|ogg|opus|m4a|aac)$/i,
    'of waveforms WAV files are read; where the model takes features of audio, save those with numpy.save',
  ],
  [/\.(mp4|mkv|avi|mov|webm)$/i, 'take the images out of the video, or save its frames with numpy.save'],
  [/\.([ct]sv|xlsx?|parquet|feather|arrow)$/i, 'save the numbers of the table with numpy.save'],
  [
    /\.(pkl|pickle|joblib|pt|pth|h5|hdf5|mat|tfrecords?|safetensors)$/i,
    'save its arrays with numpy.save, or several with numpy.savez',
  ],
  [/\.(zip|tar|tgz|t?[gx]z|7z|rar)$/i, 'unpack it, and give the folder'],
  [/\.json$/i, 'write an object for each sample in a line of its own, as .jsonl'],
];

/** What is taken for an image that is read, by its name. */
const IMAGES: readonly Format[] = [
  { magic: 'GIF8', what: 'a GIF; convert it' },
  { magic: 'BM', what: 'a BMP; convert it' },
  { magic: 'II*\0', what: 'a TIFF; convert it' },
  { magic: 'MM\0*', what: 'a TIFF; convert it' },
  { at: 4, magic: 'ftyphei', what: 'a HEIC photograph; convert it' },
  { at: 4, magic: 'ftypmif', what: 'a HEIC photograph; convert it' },
];

/** What downloads leave in the place of a file, of whatever kind that is, and what it may be packed into. */
const PLACEHOLDERS: readonly Format[] = [
  { magic: '\x1f\x8b', what: 'compressed by gzip; unpack it' },
  { magic: '\x28\xb5\x2f\xfd', what: 'compressed by zstd; unpack it' },
  { magic: '\xfd7zXZ', what: 'compressed by xz; unpack it' },
  { magic: 'BZh', what: 'compressed by bzip2; unpack it' },
  { magic: '7z\xbc\xaf', what: 'a 7z archive; unpack it' },
  { magic: 'Rar!', what: 'a RAR archive; unpack it' },
  { at: 257, magic: 'ustar', what: 'a tar archive; unpack it' },
  { magic: 'version https://git-lfs', what: 'a pointer of Git LFS; fetch the file with git lfs pull' },
  { magic: '<', what: 'a web page or XML; download the file itself' },
];

/** Bytes that tell all of them. */
export const TELLING = 300;

function whichOf(formats: readonly Format[], bytes: Uint8Array): string | undefined {
  const text = (from: number, length: number) => String.fromCharCode(...bytes.subarray(from, from + length));
  return formats.find(({ at = 0, magic }) => text(at, magic.length) === magic)?.what;
}

/** What the first bytes say that stands in the place of a file. */
export const placeholder = (bytes: Uint8Array): string | undefined =>
  bytes.length === 0 ? 'an empty file' : whichOf(PLACEHOLDERS, bytes);

/** The same of what holds no arrays as NumPy saves them. */
export const otherArray = (bytes: Uint8Array): string | undefined =>
  placeholder(bytes) ?? whichOf(ARRAYS, bytes);

/** What makes samples of data that are called so, behind a message. */
export function samplesHint(name: string): string {
  const [, hint] = DATA.find(([ending]) => ending.test(name)) ?? [];
  return hint === undefined ? '' : `; ${hint}`;
}

/** The same of what is none of the images that are read. */
export const otherImage = (bytes: Uint8Array): string | undefined =>
  placeholder(bytes) ?? whichOf(IMAGES, bytes);

/** The same of what is no UTF-8. */
export const otherDocument = (bytes: Uint8Array): string | undefined =>
  placeholder(bytes) ?? whichOf(DOCUMENTS, bytes) ?? (isBinary(bytes) ? 'no text' : undefined);

/** Whether there are more control characters than a text in another encoding has; zeros are half of UTF-16. */
const isBinary = (bytes: Uint8Array): boolean =>
  bytes.filter((byte) => byte > 0 && byte < 32 && !CONTROLS_OF_TEXT.includes(byte)).length >
  bytes.length / 20;

/** Tab, line feed, form feed, carriage return, escape. */
const CONTROLS_OF_TEXT = [9, 10, 12, 13, 27];

/** The format that a name or the first bytes tell, where it is not ONNX. */
export function otherFormat(bytes: Uint8Array, name: string): string | undefined {
  const isText = /^[\t\n\r -~]{8,}$/.test(String.fromCharCode(...bytes.subarray(0, 64)));
  const [, named] = ENDINGS.find(([ending]) => ending.test(name)) ?? [];
  return named ?? whichOf([...PLACEHOLDERS, ...FORMATS], bytes) ?? (isText ? `text; ${MODEL}` : undefined);
}
