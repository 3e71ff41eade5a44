// Checkpoints in memory.

import { blobFolder } from '../../src/checkpoint/folder.ts';
import { type Checkpoint, openCheckpoint } from '../../src/checkpoint/index.ts';

export const text = (value: string) => new TextEncoder().encode(value);
export const json = (value: unknown) => text(JSON.stringify(value));

/** A safetensors file from its header, as an object or as the text that it shall be, and its data. */
export function safetensors(header: unknown, data: Uint8Array | number): Uint8Array {
  const head = typeof header === 'string' ? text(header) : json(header);
  const body = typeof data === 'number' ? new Uint8Array(data) : data;
  const out = new Uint8Array(8 + head.length + body.length);
  new DataView(out.buffer).setBigUint64(0, BigInt(head.length), true);
  out.set(head, 8);
  out.set(body, 8 + head.length);
  return out;
}

export const bytesOf = (values: readonly number[]) => new Uint8Array(Float32Array.from(values).buffer);

/** Opens a folder of these files and an empty config.json. */
export function open(files: Readonly<Record<string, Uint8Array>>): Promise<Checkpoint> {
  return openCheckpoint(blobFolder(Object.entries({ 'config.json': json({}), ...files }), 'm'));
}
