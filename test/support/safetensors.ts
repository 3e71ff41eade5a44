// Just enough of the safetensors format to read the golden layers.

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
    if (dtype !== 'F32') continue;
    const [from, to] = data_offsets;
    tensors.set(name, { shape, data: new Float32Array(copy(from, to).buffer) });
  }
  return tensors;
}
