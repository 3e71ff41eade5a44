// Which tensor goes where in safetensors files, decided before a byte is written.

import { InputError } from '../errors.ts';
import { byteCount, SAFETENSORS_TYPES, type TensorInfo } from './tensor.ts';

export type TensorSpec = Pick<TensorInfo, 'name' | 'dtype' | 'shape'>;

export interface PlannedTensor extends TensorInfo {
  /** In the file. */
  readonly offset: number;
}

export interface SafetensorsPlan {
  /** `header`: everything before the first tensor. */
  readonly files: readonly { readonly name: string; readonly header: Uint8Array }[];
  readonly tensors: ReadonlyMap<string, PlannedTensor>;
  /** `model.safetensors.index.json`, where there is more than one file. */
  readonly index?: { readonly name: string; readonly bytes: Uint8Array };
}

type SizedTensor = Omit<TensorInfo, 'file'>;

const NAMES = new Map(Array.from(SAFETENSORS_TYPES, ([name, dtype]) => [dtype, name]));
const ORDER = [...NAMES.keys()];

function checkSpecs(tensors: readonly TensorSpec[]): SizedTensor[] {
  const names = new Set<string>();
  return tensors.map((tensor) => {
    const { name, dtype, shape } = tensor;
    const fail = (problem: string) => new InputError(`planSafetensors: tensor "${name}" ${problem}`);
    if (names.has(name)) throw fail('comes twice');
    if (name === '__metadata__') throw new InputError(`planSafetensors: a tensor cannot be called "${name}"`);
    if (!NAMES.has(dtype)) throw fail(`has type ${dtype}, which the format has not`);
    const bytes = byteCount(shape, dtype);
    if (bytes === undefined) throw fail(`has the impossible shape [${shape}]`);
    names.add(name);
    return { ...tensor, bytes };
  });
}

/** In the given order, a new shard whenever the next tensor does not fit. */
function toShards(tensors: readonly SizedTensor[], maxShardBytes: number): SizedTensor[][] {
  const shards: SizedTensor[][] = [[]];
  let bytes = 0;
  for (const tensor of tensors) {
    if (bytes > 0 && bytes + tensor.bytes > maxShardBytes) {
      shards.push([]);
      bytes = 0;
    }
    shards[shards.length - 1].push(tensor);
    bytes += tensor.bytes;
  }
  return shards;
}

/** Of names, no two of which are the same. */
const compare = (a: string, b: string) => (a < b ? -1 : 1);

function planFile(file: string, tensors: readonly SizedTensor[]) {
  // The reference writer's order: larger elements first, so that all are aligned.
  const rank = ({ dtype }: SizedTensor) => ORDER.indexOf(dtype);
  const sorted = [...tensors].sort((a, b) => rank(b) - rank(a) || compare(a.name, b.name));
  let end = 0;
  // Joined by hand: an object would put names that look like integers first, and lose "__proto__".
  const entries = ['"__metadata__":{"format":"pt"}']; // transformers asks for it
  const offsets: number[] = [];
  for (const { name, dtype, shape, bytes } of sorted) {
    const entry = { dtype: NAMES.get(dtype), shape, data_offsets: [end, end + bytes] };
    entries.push(`${JSON.stringify(name)}:${JSON.stringify(entry)}`);
    offsets.push(end);
    end += bytes;
  }
  const text = new TextEncoder().encode(`{${entries.join(',')}}`);
  const header = new Uint8Array(8 + Math.ceil(text.length / 8) * 8).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(header.length - 8), true);
  header.set(text, 8);
  return {
    file: { name: file, header },
    tensors: sorted.map((tensor, i) => ({ ...tensor, file, offset: header.length + offsets[i] })),
  };
}

/** As transformers writes it: sorted, two spaces. */
function planIndex(tensors: readonly PlannedTensor[]) {
  const bytes = tensors.reduce((sum, tensor) => sum + tensor.bytes, 0);
  const sorted = [...tensors].sort((a, b) => compare(a.name, b.name));
  const lines = sorted.map(({ name, file }) => `    ${JSON.stringify(name)}: ${JSON.stringify(file)}`);
  const map = `  "weight_map": {\n${lines.join(',\n')}\n  }`;
  const text = `{\n  "metadata": {\n    "total_size": ${bytes}\n  },\n${map}\n}\n`;
  return { name: 'model.safetensors.index.json', bytes: new TextEncoder().encode(text) };
}

/**
 * Lays tensors out as `model.safetensors`, or as shards `model-00001-of-00003.safetensors` with an index.
 *
 * @param maxShardBytes  no shard gets more, unless a single tensor is larger; 5 GB as in transformers
 * @throws {InputError} naming the tensor whose name, type or shape the format cannot hold
 */
export function planSafetensors(
  tensors: readonly TensorSpec[],
  { maxShardBytes = 5e9 }: { maxShardBytes?: number } = {},
): SafetensorsPlan {
  if (!(maxShardBytes > 0)) {
    throw new InputError(`planSafetensors: "maxShardBytes" expected more than 0, got ${maxShardBytes}`);
  }
  const shards = toShards(checkSpecs(tensors), maxShardBytes);
  const number = (i: number) => String(i).padStart(5, '0');
  const planned = shards.map((shard, i) => {
    const part = shards.length === 1 ? '' : `-${number(i + 1)}-of-${number(shards.length)}`;
    return planFile(`model${part}.safetensors`, shard);
  });
  const all = planned.flatMap((it) => it.tensors);
  return {
    files: planned.map(({ file }) => file),
    tensors: new Map(all.map((tensor) => [tensor.name, tensor])),
    ...(shards.length > 1 && { index: planIndex(all) }),
  };
}
