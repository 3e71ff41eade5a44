// Just enough of the safetensors format to read the golden layers and small models.

import { float16ToFloat32 } from '../../src/graph/index.ts';

const DECODERS: Readonly<Record<string, (bytes: ArrayBuffer) => Float32Array>> = {
  F32: (bytes) => new Float32Array(bytes),
  F16: (bytes) => Float32Array.from(new Uint16Array(bytes), float16ToFloat32),
  I64: (bytes) => Float32Array.from(new BigInt64Array(bytes), Number),
};

export function readSafetensors(bytes: Uint8Array): Map<string, { shape: number[]; data: Float32Array }> {
  const headerBytes = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
  // A Buffer's slice would share its memory, at any alignment.
  const copy = (from: number, to: number) =>
    Uint8Array.from(bytes.subarray(8 + headerBytes + from, 8 + headerBytes + to));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + headerBytes))) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >;
  const tensors = new Map<string, { shape: number[]; data: Float32Array }>();
  for (const [name, { dtype, shape, data_offsets }] of Object.entries(header).filter(
    ([name]) => name !== '__metadata__',
  )) {
    if (!DECODERS[dtype]) continue;
    tensors.set(name, { shape, data: DECODERS[dtype](copy(...data_offsets).buffer) });
  }
  return tensors;
}
