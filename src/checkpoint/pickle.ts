// A restricted unpickler: a stack machine with the opcodes that torch.save emits (pickle protocols 2 to 5) and no
// others. Nothing is imported or called except what the caller lists; values are data.
//
// Opcodes: https://github.com/python/cpython/blob/main/Lib/pickletools.py

import { FormatError } from '../errors.ts';
import { limits } from '../limits.ts';

/** Something a pickle may refer to by `module.name`. Without `call` it is only a marker. */
export interface PickleGlobal {
  readonly name: string;
  readonly call?: (args: readonly unknown[]) => unknown;
}

export interface UnpickleOptions {
  /** What messages call the pickle. */
  where: string;
  globals: readonly PickleGlobal[];
  /** Turns a persistent id into the object that it stands for. */
  persistentLoad(id: unknown): unknown;
}

/** Names for the messages: what tensors are never pickled with, and what attacks like to use. */
const REFUSED: Record<number, string> = {
  66: 'BINBYTES',
  67: 'SHORT_BINBYTES',
  73: 'INT',
  76: 'LONG',
  80: 'PERSID',
  83: 'STRING',
  84: 'BINSTRING',
  85: 'SHORT_BINSTRING',
  86: 'UNICODE',
  93: 'EMPTY_LIST',
  105: 'INST',
  111: 'OBJ',
  129: 'NEWOBJ',
  130: 'EXT1',
  131: 'EXT2',
  132: 'EXT4',
  139: 'LONG4',
  143: 'EMPTY_SET',
  146: 'NEWOBJ_EX',
  150: 'BYTEARRAY8',
};

/** What one opcode does. STOP is not among them: it ends the pickle. */
const OPCODES: Readonly<Record<number, (m: Machine) => void>> = {
  128: (m) => m.checkProtocol(), // PROTO
  149: (m) => m.take(8), // FRAME: a hint for readers of streams
  40: (m) => m.mark(), // MARK
  78: (m) => m.push(null), // NONE
  136: (m) => m.push(true), // NEWTRUE
  137: (m) => m.push(false), // NEWFALSE
  74: (m) => m.push(m.view.getInt32(m.take(4), true)), // BININT
  75: (m) => m.push(m.u8()), // BININT1
  77: (m) => m.push(m.view.getUint16(m.take(2), true)), // BININT2
  138: (m) => m.push(m.long()), // LONG1
  71: (m) => m.push(m.view.getFloat64(m.take(8), false)), // BINFLOAT
  140: (m) => m.push(m.string(m.u8())), // SHORT_BINUNICODE
  88: (m) => m.push(m.string(m.u32())), // BINUNICODE
  141: (m) => m.push(m.string(m.u64())), // BINUNICODE8
  41: (m) => m.push([]), // EMPTY_TUPLE
  133: (m) => m.push(m.popMany(1)), // TUPLE1
  134: (m) => m.push(m.popMany(2)), // TUPLE2
  135: (m) => m.push(m.popMany(3)), // TUPLE3
  116: (m) => m.push(m.popMark()), // TUPLE
  125: (m) => m.push(new Map()), // EMPTY_DICT
  115: (m) => m.setItems(m.popMany(2)), // SETITEM
  117: (m) => m.setItems(m.popMark()), // SETITEMS
  113: (m) => m.memoise(m.u8()), // BINPUT
  114: (m) => m.memoise(m.u32()), // LONG_BINPUT
  148: (m) => m.memoise(), // MEMOIZE
  104: (m) => m.recall(m.u8()), // BINGET
  106: (m) => m.recall(m.u32()), // LONG_BINGET
  99: (m) => m.pushGlobal([m.line(), m.line()]), // GLOBAL
  147: (m) => m.pushGlobal(m.popMany(2)), // STACK_GLOBAL
  81: (m) => m.push(m.options.persistentLoad(m.pop())), // BINPERSID
  82: (m) => m.reduce(), // REDUCE
  98: (m) => m.build(), // BUILD
};
const PROTO = 0x80;
const STOP = 0x2e;

/**
 * The value of a pickle: null, booleans, numbers, strings, tuples as arrays, dicts as `Map`s with keys that are
 * strings or numbers, and what `globals` and `persistentLoad` return. Time and memory are linear in its length, up to
 * `limits.pickleObjects` values.
 *
 * @throws {FormatError} naming the opcode or global that is not allowed, or where the pickle is broken or beyond a limit
 */
export function unpickle(bytes: Uint8Array, options: UnpickleOptions): unknown {
  const machine = new Machine(bytes, options);
  if (bytes[0] !== PROTO) throw machine.fail('it does not begin with a protocol');
  for (;;) {
    const opcode = machine.u8();
    if (opcode === STOP) return machine.pop();
    const operation = OPCODES[opcode];
    if (!operation) {
      const code = `0x${opcode.toString(16).padStart(2, '0')} (${REFUSED[opcode] ?? 'unknown'})`;
      throw machine.fail(`opcode ${code}, which no tensor needs`, machine.at - 1);
    }
    operation(machine);
  }
}

const UTF8 = new TextDecoder('utf-8', { fatal: true });

class Machine {
  readonly view: DataView;
  readonly memo = new Map<number, unknown>();
  at = 0;
  /** Values pushed and remembered so far: a byte of a pickle may make an object of a hundred. */
  #made = 0;
  readonly #stack: unknown[] = [];
  readonly #marks: number[] = [];

  constructor(
    readonly bytes: Uint8Array,
    readonly options: UnpickleOptions,
  ) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  fail(problem: string, at = this.at, cause?: unknown): FormatError {
    return new FormatError(`"${this.options.where}": pickle byte ${at}: ${problem}`, { cause });
  }

  /** Passes over bytes. @returns where they are */
  take(length: number): number {
    if (!(length <= this.bytes.length - this.at)) throw this.fail('truncated');
    this.at += length;
    return this.at - length;
  }

  u8(): number {
    return this.bytes[this.take(1)];
  }

  u32(): number {
    return this.view.getUint32(this.take(4), true);
  }

  u64(): number {
    const value = Number(this.view.getBigUint64(this.take(8), true));
    if (!Number.isSafeInteger(value)) throw this.fail('a length beyond 2^53');
    return value;
  }

  /** Two's complement, as long as it says. */
  long(): number {
    const length = this.u8();
    if (length > 8) throw this.fail('an integer of more than 64 bits');
    const start = this.take(length);
    let value = 0n;
    for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(this.bytes[start + i]);
    const number = Number(BigInt.asIntN(8 * length, value));
    if (!Number.isSafeInteger(number)) throw this.fail('an integer beyond 2^53');
    return number;
  }

  string(length: number): string {
    const start = this.take(length);
    try {
      return UTF8.decode(this.bytes.subarray(start, this.at));
    } catch (cause) {
      throw this.fail('a string that is not UTF-8', start, cause);
    }
  }

  line(): string {
    const end = this.bytes.indexOf(0x0a, this.at);
    if (end < 0) throw this.fail('truncated');
    const value = this.string(end - this.at);
    this.at++;
    return value;
  }

  checkProtocol(): void {
    const protocol = this.u8();
    if (protocol < 2 || protocol > 5) throw this.fail(`protocol ${protocol}, expected 2 to 5`);
  }

  push(value: unknown): void {
    this.#count();
    this.#stack.push(value);
  }

  #count(): void {
    if (++this.#made > limits.pickleObjects) {
      throw this.fail(`more than ${limits.pickleObjects} objects (limits.pickleObjects)`);
    }
  }

  pop(): unknown {
    if (this.#stack.length <= (this.#marks.at(-1) ?? 0)) throw this.fail('the stack is empty');
    return this.#stack.pop();
  }

  top(): unknown {
    const value = this.pop();
    this.#stack.push(value);
    return value;
  }

  /** Remembers the value on top, under the next number where none is given. */
  memoise(index = this.memo.size): void {
    this.#count();
    this.memo.set(index, this.top());
  }

  popMany(count: number): unknown[] {
    return Array.from({ length: count }, () => this.pop()).reverse();
  }

  mark(): void {
    if (this.#marks.length >= limits.pickleDepth) {
      throw this.fail(`more than ${limits.pickleDepth} marks are open (limits.pickleDepth)`);
    }
    this.#marks.push(this.#stack.length);
  }

  popMark(): unknown[] {
    const mark = this.#marks.pop();
    if (mark === undefined) throw this.fail('there is no mark');
    return this.#stack.splice(mark);
  }

  recall(index: number): void {
    if (!this.memo.has(index)) throw this.fail(`nothing is memoised as ${index}`);
    this.push(this.memo.get(index));
  }

  setItems(items: readonly unknown[]): void {
    const dict = this.top();
    if (!(dict instanceof Map)) throw this.fail('items are set of something that is no dict');
    if (items.length % 2 !== 0) throw this.fail('a key without a value');
    for (let i = 0; i < items.length; i += 2) {
      const key = items[i];
      if (typeof key !== 'string' && typeof key !== 'number')
        throw this.fail('a key that is no string or number');
      if (dict.has(key)) throw this.fail(`the key "${key}" comes twice`);
      dict.set(key, items[i + 1]);
    }
  }

  pushGlobal([module, name]: readonly unknown[]): void {
    // Of anything else the text may be endless: tuples hold tuples, and the same one twice.
    if (typeof module !== 'string' || typeof name !== 'string') {
      throw this.fail('it refers to something whose name is no string');
    }
    const global = this.options.globals.find((it) => it.name === `${module}.${name}`);
    if (!global) throw this.fail(`it refers to "${module}.${name}", and only tensors are read`);
    this.push(global);
  }

  reduce(): void {
    const args = this.pop();
    const callee = this.pop();
    const known = this.options.globals.find((global) => global === callee);
    if (!known?.call) throw this.fail('it calls what is no known function');
    if (!Array.isArray(args)) throw this.fail(`${known.name} is called without a tuple`);
    this.push(known.call(args));
  }

  /** The attributes of an OrderedDict (torch's `_metadata`) say nothing about tensors. */
  build(): void {
    const state = this.pop();
    if (!(this.top() instanceof Map && state instanceof Map))
      throw this.fail('it sets the state of what is no dict');
  }
}
