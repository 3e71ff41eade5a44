// A Model to the bytes of an ONNX file and, for large models, of a data file beside it.

import { toBinary } from '@bufbuild/protobuf';
import { FormatError } from '../errors.ts';
import { checkLocation } from './external.ts';
import { copyMessage } from './message.ts';
import type { Model } from './model.ts';
import { ModelProtoSchema, type TensorProto } from './onnx_pb.ts';
import { encodeTensor } from './wire.ts';

// Readers refuse messages of 2 GiB; nodes and names need room too.
const DEFAULT_THRESHOLD = 2 ** 31 - 2 ** 26;
const ALIGNMENT = 4096; // what the specification recommends, so that files can be memory mapped
const MIN_EXTERNAL = 1024; // smaller tensors stay in the model, where shape inference can see them

export interface WriteOptions {
  /** Weights of more bytes than this go to a data file; 0 makes all do. Default: just below 2 GiB. */
  externalThreshold?: number;
  /** Name of the data file, relative to the model; default "model.onnx.data". */
  externalName?: string;
}

/** The bytes of an ONNX file, and of the data file beside it. */
export interface WrittenModel {
  model: Uint8Array;
  /** The data file, in parts to be written one after the other; absent if the model needs none. */
  external?: Uint8Array[];
  /** Where the model says that the data file is, relative to itself. */
  externalName?: string;
}

/** @throws {InputError} if `externalName` leaves the folder */
export function writeModel(model: Model, options: WriteOptions = {}): WrittenModel {
  const location = options.externalName ?? 'model.onnx.data';
  checkLocation(location);
  const tensors = [...model.tensors.values()];
  const total = tensors.reduce((sum, tensor) => sum + tensor.bytes.length, 0);
  const outside = total > (options.externalThreshold ?? DEFAULT_THRESHOLD);

  const parts: Uint8Array[] = [];
  let offset = 0;
  const initializer: TensorProto[] = [];
  for (const tensor of tensors) {
    const length = tensor.bytes.length;
    if (!outside || length < MIN_EXTERNAL) {
      initializer.push(encodeTensor(tensor));
      continue;
    }
    const padding = (ALIGNMENT - (offset % ALIGNMENT)) % ALIGNMENT;
    if (padding > 0) parts.push(new Uint8Array(padding));
    offset += padding;
    initializer.push(encodeTensor(tensor, { location, offset, length }));
    parts.push(tensor.bytes);
    offset += length;
  }
  const proto = copyMessage(model.proto);
  proto.graph = copyMessage(model.graph);
  proto.graph.initializer = initializer;
  const bytes = encode(proto, model.name);
  return parts.length > 0 ? { model: bytes, external: parts, externalName: location } : { model: bytes };
}

function encode(proto: Model['proto'], name: string): Uint8Array {
  try {
    return toBinary(ModelProtoSchema, proto);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new FormatError(`${name}: cannot be written: ${reason}`, { cause: error });
  }
}
