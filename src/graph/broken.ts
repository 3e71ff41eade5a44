// What to say of bytes that are no ONNX model: which field is broken.

import type { DescField, DescMessage } from '@bufbuild/protobuf';
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';
import { limits } from '../limits.ts';
import { ModelProtoSchema } from './onnx_pb.ts';

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
