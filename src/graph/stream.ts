// Writing a model that is too large for memory: the file with the graph first, then the data file, weight by weight.

import { toBinary } from '@bufbuild/protobuf';
import { FormatError } from '../errors.ts';
import { checkLocation } from './external.ts';
import { copyMessage } from './message.ts';
import type { Model } from './model.ts';
import { ModelProtoSchema } from './onnx_pb.ts';
import { byteLength, elements, type Tensor } from './tensor.ts';
import { encodeTensor } from './wire.ts';

const ALIGNMENT = 4096; // as in write.ts

/** A model whose weights are still to come. */
export interface ModelOutline {
  /** Its constants without bytes are those to come. */
  readonly model: Model;
  /** In the order of the model's constants; to be gone through once. */
  readonly weights: AsyncIterable<Tensor>;
}

export interface StreamedModel {
  /** The ONNX file. */
  readonly model: Uint8Array;
  /** Where it says that the data file is, relative to itself. */
  readonly externalName: string;
  readonly externalBytes: number;
  /** The data file, in parts to be written one after the other. */
  readonly external: AsyncIterable<Uint8Array>;
}

/** @throws {InputError} if `externalName` leaves the folder */
export function streamModel(
  { model, weights }: ModelOutline,
  { externalName = 'model.onnx.data' }: { externalName?: string } = {},
): StreamedModel {
  checkLocation(externalName);
  const places = new Map<string, { offset: number; length: number }>();
  let end = 0;
  const proto = copyMessage(model.proto);
  proto.graph = copyMessage(model.graph);
  proto.graph.initializer = [...model.tensors.values()].map((tensor) => {
    const length = byteLength(tensor.type, elements(tensor.dims));
    if (tensor.bytes.length === length) return encodeTensor(tensor);
    const offset = Math.ceil(end / ALIGNMENT) * ALIGNMENT;
    places.set(tensor.name, { offset, length });
    end = offset + length;
    return encodeTensor(tensor, { location: externalName, offset, length });
  });
  return {
    model: toBinary(ModelProtoSchema, proto),
    externalName,
    externalBytes: end,
    external: inPlace(weights, places, model.name),
  };
}

async function* inPlace(
  weights: AsyncIterable<Tensor>,
  places: ReadonlyMap<string, { offset: number; length: number }>,
  model: string,
): AsyncGenerator<Uint8Array> {
  const expected = places.entries();
  let at = 0;
  for await (const { name, bytes } of weights) {
    const [next, place] = expected.next().value ?? [];
    if (next !== name || place?.length !== bytes.length) {
      throw new FormatError(
        `${model}: cannot be written: "${next}" expected, got "${name}", ${bytes.length} bytes`,
      );
    }
    if (place.offset > at) yield new Uint8Array(place.offset - at);
    yield bytes;
    at = place.offset + place.length;
  }
  const missing = expected.next().value;
  if (missing) throw new FormatError(`${model}: cannot be written: "${missing[0]}" never came`);
}
