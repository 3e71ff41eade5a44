// Tensors whose data is in a file beside the model. Where that file is, is the caller's business:
// this module has no file system, it only decides what may be asked for.

import { clearField } from '@bufbuild/protobuf';
import { FormatError } from '../errors.ts';
import { type TensorProto, TensorProto_DataLocation, TensorProtoSchema } from './onnx_pb.ts';
import { describe } from './wire.ts';

/** Gives `length` bytes from `offset` of the file at `location`, relative to the folder of the model. */
export type ReadExternal = (
  location: string,
  offset: number,
  length: number,
) => Promise<Uint8Array> | Uint8Array;

/** Puts external data into the messages. @throws {FormatError} on a bad location, range or short data */
export async function loadExternal(
  tensors: Iterable<TensorProto>,
  file: string,
  read?: ReadExternal,
): Promise<void> {
  for (const tensor of tensors) {
    if (tensor.dataLocation !== TensorProto_DataLocation.EXTERNAL) continue;
    const where = `${file}: tensor "${tensor.name}"`;
    const entry = (key: string) => tensor.externalData.find((e) => e.key === key)?.value;
    const location = entry('location') ?? '';
    if (!isInside(location)) {
      throw new FormatError(
        `${where}: external location ${JSON.stringify(location)} is not inside the model's folder`,
      );
    }
    const { type, bytes: expected } = describe(tensor, where);
    if (type === 'string') throw new FormatError(`${where}: strings cannot be external`);
    const offset = Number(entry('offset') ?? 0);
    const length = Number(entry('length') ?? expected);
    if (!Number.isSafeInteger(offset) || offset < 0 || length !== expected) {
      throw new FormatError(
        `${where}: external range ${entry('offset')}+${entry('length')}, expected ${expected} bytes`,
      );
    }
    if (!read) throw new FormatError(`${where}: its data is in the file "${location}", which was not given`);
    let data: Uint8Array;
    try {
      data = await read(location, offset, length);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new FormatError(`${where}: cannot read "${location}": ${reason}`, { cause: error });
    }
    if (data.length !== length) {
      throw new FormatError(
        `${where}: "${location}" gave ${data.length} bytes at ${offset}, expected ${length}`,
      );
    }
    tensor.rawData = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    clearField(tensor, TensorProtoSchema.field.externalData);
    clearField(tensor, TensorProtoSchema.field.dataLocation);
  }
}

/** Relative, downwards only, and nothing that some system would read as a drive, a scheme or a stream. */
export function isInside(location: string): boolean {
  if (location === '' || /[\\:\0]/.test(location) || location.startsWith('/')) return false;
  return location.split('/').every((part) => part !== '..' && part !== '');
}
