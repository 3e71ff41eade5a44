// Files of torch.save: a zip archive with a pickle of the tensors' shapes and one entry for each storage.

import { FormatError } from '../errors.ts';
import { placeholder } from '../formats.ts';
import { bitsOf, type DataType } from '../graph/dtype.ts';
import { elements } from '../graph/tensor.ts';
import { limits } from '../limits.ts';
import { type Folder, pathIn } from './folder.ts';
import { type PickleGlobal, unpickle } from './pickle.ts';
import { elementCount, type StoredTensor } from './tensor.ts';
import { openZip, type ZipEntry } from './zip.ts';

const STORAGES: readonly { name: string; dtype: DataType }[] = [
  { name: 'torch.FloatStorage', dtype: 'float32' },
  { name: 'torch.HalfStorage', dtype: 'float16' },
  { name: 'torch.BFloat16Storage', dtype: 'bfloat16' },
  { name: 'torch.DoubleStorage', dtype: 'float64' },
  { name: 'torch.LongStorage', dtype: 'int64' },
  { name: 'torch.IntStorage', dtype: 'int32' },
  { name: 'torch.ShortStorage', dtype: 'int16' },
  { name: 'torch.CharStorage', dtype: 'int8' },
  { name: 'torch.ByteStorage', dtype: 'uint8' },
  { name: 'torch.BoolStorage', dtype: 'bool' },
];

class Storage {
  constructor(
    readonly dtype: DataType,
    readonly length: number, // elements
    readonly entry: ZipEntry,
  ) {}
}

/** A tensor as pickled: a view into a storage. Lengths count elements. */
class View {
  constructor(
    readonly storage: Storage,
    readonly offset: number,
    readonly shape: readonly number[],
    readonly strides: readonly number[],
  ) {}

  get length(): number {
    return elementCount(this.shape)!;
  }

  /** One past the last element of the storage that it reaches. */
  get end(): number {
    if (this.length === 0) return this.offset;
    return this.shape.reduce((sum, d, i) => sum + (d - 1) * this.strides[i], this.offset + 1);
  }

  get isContiguous(): boolean {
    const { length, shape, strides } = this;
    return length === 0 || shape.every((d, i) => d === 1 || strides[i] === elements(shape.slice(i + 1)));
  }
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

/** `torch._utils._rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks[, metadata])` */
function rebuildTensor(args: readonly unknown[], path: string): View {
  const [storage, offset, shape, strides] = args;
  const valid =
    storage instanceof Storage &&
    isCount(offset) &&
    Array.isArray(shape) &&
    Array.isArray(strides) &&
    shape.length === strides.length &&
    elementCount(shape) !== undefined &&
    strides.every(isCount);
  if (!valid)
    throw new FormatError(`"${path}": a tensor whose storage, offset, shape or strides make no sense`);
  return new View(storage, offset, shape, strides);
}

/** Gathers elements `from` to `to` (in row-major order) of a view that lies in its storage in another order. */
async function gather(view: View, from: number, to: number, size: number): Promise<Uint8Array<ArrayBuffer>> {
  const { storage, offset, shape, strides } = view;
  const source = await storage.entry.read(offset * size, (view.end - offset) * size);
  const out = new Uint8Array((to - from) * size);
  const index = shape.map((d, i) => Math.floor(from / elements(shape.slice(i + 1))) % d);
  let position = index.reduce((sum, i, d) => sum + i * strides[d], 0);
  for (let i = 0; i < to - from; i++) {
    for (let b = 0; b < size; b++) out[i * size + b] = source[position * size + b];
    for (let d = shape.length - 1; d >= 0; d--) {
      position += strides[d];
      if (++index[d] < shape[d]) break;
      position -= strides[d] * shape[d];
      index[d] = 0;
    }
  }
  return out;
}

function toTensor(name: string, view: View, folder: Folder, file: string): StoredTensor {
  const { storage, offset, shape, length } = view;
  const fail = (problem: string) => new FormatError(`"${pathIn(folder, file)}": tensor "${name}" ${problem}`);
  const { dtype, entry } = storage;
  const size = bitsOf(dtype) / 8;
  if (entry.size !== storage.length * size) {
    throw fail(`has a storage of ${storage.length} × ${size} bytes, and ${entry.size} bytes are stored`);
  }
  if (!(view.end <= storage.length)) {
    throw fail(`reaches element ${view.end - 1} of a storage of ${storage.length}`);
  }
  // Or a few bytes could claim to be terabytes.
  if (length > storage.length) throw fail(`is an expanded view; save a contiguous copy of it`);
  const strided = !view.isContiguous;
  const readBytes = (from: number, to: number) =>
    strided ? gather(view, from / size, to / size, size) : entry.read(offset * size + from, to - from);
  const inOne = strided || entry.isDeflated;
  return { name, dtype, shape, bytes: length * size, file, readBytes, inOne };
}

/** Bytes that are inflated, for each of the tensors'; and those that are no matter. torch.save deflates nothing. */
const INFLATED = { each: 16, least: 2 ** 26 };

/** What is wrong with storages that are deflated: a few bytes could take hours, of tensors at the end of one that is large. */
function problemOfDeflated(views: readonly View[]): string | undefined {
  const deflated = views.filter(({ storage }) => storage.entry.isDeflated);
  const bytes = (of: (view: View) => number) =>
    deflated.reduce((sum, view) => sum + (of(view) * bitsOf(view.storage.dtype)) / 8, 0);
  const [inflated, read] = [bytes(({ end }) => end), bytes(({ length }) => length)];
  if (inflated <= INFLATED.each * read + INFLATED.least) return undefined;
  return `its storages are deflated, and ${inflated} bytes of them lie before the ends of tensors of ${read}; save it again with torch.save`;
}

/** The first bytes tell PyTorch's own two formats before 1.6 (a pickle, a tar archive) from a zip archive. */
async function checkZip(folder: Folder, file: string): Promise<void> {
  const path = pathIn(folder, file);
  const head = await folder.read(file, 0, Math.min(512, await folder.size(file)));
  if (head[0] === 0x50 && head[1] === 0x4b) return;
  const isTar = new TextDecoder('latin1').decode(head.subarray(257, 262)) === 'ustar';
  const other = placeholder(head);
  if (head[0] !== 0x80 && !isTar)
    throw new FormatError(`"${path}": ${other ? `it is ${other}` : 'not a file of torch.save'}`);
  throw new FormatError(
    `"${path}": in the format of PyTorch before 1.6; convert it with ` +
      'python -c "import sys, torch; f = sys.argv[1]; torch.save(torch.load(f, weights_only=True), f)" FILE',
  );
}

/**
 * The tensors of a `pytorch_model.bin`: a dict of them, and nothing else.
 *
 * @throws {FormatError} naming the file, and the tensor, opcode or global that is at fault
 */
export async function readTorch(folder: Folder, file: string): Promise<StoredTensor[]> {
  const path = pathIn(folder, file);
  const fail = (problem: string) => new FormatError(`"${path}": ${problem}`);
  await checkZip(folder, file);
  const entries = await openZip(folder, file);
  const pickles = [...entries.keys()].filter((name) => /^[^/]+\/data\.pkl$/.test(name));
  if (pickles.length !== 1) throw fail(`expected one data.pkl, got ${pickles.length}`);
  const root = pickles[0].slice(0, -'data.pkl'.length);
  const byteOrder = entries.get(`${root}byteorder`); // since torch 2.1
  const order = byteOrder && new TextDecoder().decode(await byteOrder.read(0, Math.min(byteOrder.size, 16)));
  if (byteOrder && order !== 'little') throw fail(`expected byte order "little", got "${order}"`);
  const pickle = entries.get(pickles[0])!;
  if (pickle.size > limits.pickleBytes) {
    throw fail(`its pickle has ${pickle.size} bytes, at most ${limits.pickleBytes} are read`);
  }

  const storages = new Map<string, Storage>();
  /** `('storage', type, key, device, length)` */
  function persistentLoad(id: unknown): Storage {
    const [tag, type, key, , length] = Array.isArray(id) ? id : [];
    const dtype = STORAGES.find((it) => it === type)?.dtype;
    if (tag !== 'storage' || !dtype || typeof key !== 'string' || !isCount(length)) {
      throw fail('a persistent id that is no storage');
    }
    const entry = entries.get(`${root}data/${key}`);
    if (!entry) throw fail(`storage "${key}" is missing`);
    const storage = storages.get(key) ?? new Storage(dtype, length, entry);
    const agrees = storage.dtype === dtype && storage.length === length;
    if (!agrees) throw fail(`storage "${key}" is described in two ways`);
    storages.set(key, storage);
    return storage;
  }

  const globals: PickleGlobal[] = [
    ...STORAGES,
    { name: 'collections.OrderedDict', call: () => new Map() },
    { name: 'torch._utils._rebuild_tensor_v2', call: (args) => rebuildTensor(args, path) },
    { name: 'torch._utils._rebuild_parameter', call: ([tensor]) => tensor },
  ];
  const state = unpickle(await pickle.read(0, pickle.size), { where: path, globals, persistentLoad });
  if (!(state instanceof Map)) throw fail('expected a dict of tensors');
  const tensors = [...state].map(([name, view]) => {
    if (typeof name !== 'string' || !(view instanceof View)) {
      throw fail(`expected a dict of tensors, but "${name}" is none`);
    }
    return toTensor(name, view, folder, file);
  });
  const problem = problemOfDeflated([...state.values()]);
  if (problem) throw fail(problem);
  return tensors;
}
