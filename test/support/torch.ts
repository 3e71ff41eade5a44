// Writes pytorch_model.bin files as torch.save does, and as it never would. Pickle opcodes are those that Python's
// Pickler emits at protocol 2 for torch's reductions (compare test/fixtures/checkpoint, which PyTorch wrote).

import { writeZip, type ZipFile } from './zip.ts';

/** A chain of opcodes. Every value that Python would memoise is, in the same order. */
export class Pickle {
  readonly #parts: Buffer[] = [Buffer.from([0x80, 2])];
  readonly #memo = new Map<string, number>();
  #next = 0;

  op(code: number | string, ...operands: number[]): this {
    this.#parts.push(Buffer.from([typeof code === 'string' ? code.charCodeAt(0) : code, ...operands]));
    return this;
  }

  raw(bytes: Uint8Array): this {
    this.#parts.push(Buffer.from(bytes));
    return this;
  }

  put(): this {
    const index = this.#next++;
    if (index < 256) return this.op('q', index);
    return this.op('r', index & 255, (index >> 8) & 255, index >> 16, 0);
  }

  #once(key: string, make: () => void): this {
    const known = this.#memo.get(key);
    if (known !== undefined) {
      if (known < 256) return this.op('h', known);
      return this.op('j', known & 255, (known >> 8) & 255, known >> 16, 0);
    }
    make();
    this.#memo.set(key, this.#next);
    return this.put();
  }

  global(module: string, name: string): this {
    return this.#once(`c${module} ${name}`, () => this.raw(Buffer.from(`c${module}\n${name}\n`)));
  }

  string(text: string): this {
    return this.#once(`X${text}`, () => {
      const bytes = Buffer.from(text);
      const length = Buffer.alloc(4);
      length.writeUInt32LE(bytes.length);
      this.op('X').raw(length).raw(bytes);
    });
  }

  int(value: number): this {
    if (value >= 0 && value < 256) return this.op('K', value);
    if (value >= 0 && value < 65536) return this.op('M', value & 255, value >> 8);
    const bytes = Buffer.alloc(8);
    bytes.writeBigInt64LE(BigInt(value));
    if (value >= -(2 ** 31) && value < 2 ** 31) return this.op('J').raw(bytes.subarray(0, 4));
    return this.op(0x8a, 8).raw(bytes);
  }

  tuple(values: readonly number[]): this {
    if (values.length === 0) return this.op(')');
    if (values.length > 3) this.op('(');
    for (const value of values) this.int(value);
    return (values.length > 3 ? this.op('t') : this.op(0x84 + values.length)).put();
  }

  orderedDict(): this {
    return this.global('collections', 'OrderedDict').op(')').op('R').put();
  }

  end(): Uint8Array {
    return new Uint8Array(Buffer.concat([...this.#parts, Buffer.from('.')]));
  }
}

/** A view of a storage, as it is pickled; every field can lie. */
export interface TorchTensor {
  name: string;
  /** `Float`, `Half`… */
  kind: string;
  storage: string;
  /** Elements that the storage is said to have. */
  length: number;
  offset?: number;
  shape: readonly number[];
  strides: readonly number[];
}

export function pickleTensors(tensors: readonly TorchTensor[]): Uint8Array {
  const pickle = new Pickle().orderedDict().op('(');
  for (const { name, kind, storage, length, offset = 0, shape, strides } of tensors) {
    pickle.string(name).global('torch._utils', '_rebuild_tensor_v2').op('(').op('(');
    pickle.string('storage').global('torch', `${kind}Storage`).string(storage).string('cpu').int(length);
    pickle.op('t').put().op('Q').int(offset).tuple(shape).tuple(strides).op(0x89).orderedDict();
    pickle.op('t').put().op('R').put();
  }
  return pickle.op('u').end();
}

export interface TorchFileOptions {
  zip64?: boolean;
  deflate?: boolean;
  byteorder?: string;
}

export function torchFile(
  pickle: Uint8Array,
  storages: Readonly<Record<string, Uint8Array>>,
  { zip64, deflate, byteorder }: TorchFileOptions = {},
): Uint8Array {
  const files: ZipFile[] = [{ name: 'archive/data.pkl', bytes: pickle, deflate }];
  if (byteorder !== undefined) files.push({ name: 'archive/byteorder', bytes: Buffer.from(byteorder) });
  for (const [key, bytes] of Object.entries(storages))
    files.push({ name: `archive/data/${key}`, bytes, deflate });
  files.push({ name: 'archive/version', bytes: Buffer.from('3\n') });
  return writeZip(files, { zip64 });
}

/** Strides of a tensor without gaps. */
export function rowMajor(shape: readonly number[]): number[] {
  return shape.map((_, i) => shape.slice(i + 1).reduce((product, d) => product * d, 1));
}
