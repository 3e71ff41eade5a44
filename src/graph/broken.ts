// What to say of bytes that are no ONNX model: which other format they are in, or which field is broken.

import type { DescField, DescMessage } from '@bufbuild/protobuf';
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';
import { limits } from '../limits.ts';
import { ModelProtoSchema } from './onnx_pb.ts';

/** Formats that are taken for ONNX, by their first bytes, and what to do. */
const FORMATS: readonly { at?: number; magic: string; what: string }[] = [
  {
    magic: 'PK\x03\x04',
    what: 'a zip archive, as PyTorch writes .pt files; export it with torch.onnx.export',
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
  { magic: '\x93NUMPY', what: 'a .npy file' },
  { magic: '\x89PNG', what: 'a PNG image' },
  { magic: '\xff\xd8\xff', what: 'a JPEG image' },
  { magic: '\x1f\x8b', what: 'compressed by gzip; unpack it' },
  { at: 257, magic: 'ustar', what: 'a tar archive; unpack it' },
  { magic: 'version https://git-lfs', what: 'a pointer of Git LFS; fetch the file with git lfs pull' },
  { magic: '<', what: 'a web page or XML; download the model itself' },
  { magic: '{', what: 'JSON; give the folder that it is in, where that is a Hugging Face model' },
];

/** The format that the first bytes tell, where it is not ONNX. */
export function otherFormat(bytes: Uint8Array): string | undefined {
  const text = (from: number, length: number) => String.fromCharCode(...bytes.subarray(from, from + length));
  const format = FORMATS.find(({ at = 0, magic }) => text(at, magic.length) === magic);
  return format?.what ?? (/^[\t\n\r -~]{8,}$/.test(text(0, 64)) ? 'text' : undefined);
}

/** Names the first field whose bytes do not make sense, as `graph.node[3].attribute[0]`. */
export function brokenField(bytes: Uint8Array): string | undefined {
  return brokenIn(ModelProtoSchema, bytes, 0, '', limits.onnxDepth);
}

function brokenIn(
  message: DescMessage,
  bytes: Uint8Array,
  start: number,
  path: string,
  depth: number,
): string | undefined {
  const reader = new BinaryReader(bytes);
  const seen = new Map<number, number>();
  let place = path || 'the model';
  while (reader.pos < reader.len) {
    const at = start + reader.pos;
    try {
      const [number, type] = reader.tag();
      const field = message.fields.find((it) => it.number === number);
      const index = seen.get(number) ?? 0;
      seen.set(number, index + 1);
      place = nameOf(field, number, index, path);
      const inner = innerOf(field);
      if (!inner || type !== WireType.LengthDelimited) {
        reader.skip(type, number);
        continue;
      }
      const length = reader.uint32();
      const from = reader.pos;
      if (from + length > reader.len) return `${place} is cut short (byte ${at})`;
      reader.pos = from + length;
      const part = bytes.subarray(from, from + length);
      if (depth === 0)
        return `messages lie more than ${limits.onnxDepth} deep within each other (limits.onnxDepth)`;
      const broken = brokenIn(inner, part, start + from, place, depth - 1);
      if (broken) return broken;
    } catch (cause) {
      return `${place} ${cause instanceof RangeError ? 'is cut short' : 'is damaged'} (byte ${at})`;
    }
  }
  return undefined;
}

function nameOf(field: DescField | undefined, number: number, index: number, path: string): string {
  const name = field?.name ?? `field ${number}`;
  const place = field?.fieldKind === 'list' ? `${name}[${index}]` : name;
  return path ? `${path}.${place}` : place;
}

function innerOf(field: DescField | undefined): DescMessage | undefined {
  return field?.fieldKind === 'message' || (field?.fieldKind === 'list' && field.listKind === 'message')
    ? field.message
    : undefined;
}
