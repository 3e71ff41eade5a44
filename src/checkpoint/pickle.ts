// A restricted unpickler: a stack machine with the opcodes that torch.save emits (pickle protocols 2 to 5) and no
// others. Nothing is imported or called except what the caller lists; values are data.
//
// Opcodes: https://github.com/python/cpython/blob/main/Lib/pickletools.py

import { FormatError } from '../errors.ts';

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

const isTuple = (value: unknown): value is readonly unknown[] => Array.isArray(value);

/**
 * The value of a pickle: null, booleans, numbers, strings, tuples as arrays, dicts as `Map`s with keys that are
 * strings or numbers, and what `globals` and `persistentLoad` return. Time and memory are linear in its length.
 *
 * @throws {FormatError} naming the opcode or global that is not allowed, or where the pickle is broken
 */
export function unpickle(bytes: Uint8Array, { where, globals, persistentLoad }: UnpickleOptions): unknown {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const text = new TextDecoder('utf-8', { fatal: true });
  const allowed = new Map(globals.map((it) => [it.name, it]));
  const markers = new Set<unknown>(globals);
  const memo = new Map<number, unknown>();
  const stack: unknown[] = [];
  const marks: number[] = [];
  let at = 0;

  const fail = (problem: string) => new FormatError(`"${where}": pickle byte ${at}: ${problem}`);

  function take(length: number): number {
    if (!(length <= bytes.length - at)) throw fail('truncated');
    const start = at;
    at += length;
    return start;
  }
  const u8 = () => bytes[take(1)];
  const u32 = () => view.getUint32(take(4), true);
  function u64(): number {
    const value = Number(view.getBigUint64(take(8), true));
    if (!Number.isSafeInteger(value)) throw fail('a length beyond 2^53');
    return value;
  }
  function string(length: number): string {
    const start = take(length);
    try {
      return text.decode(bytes.subarray(start, at));
    } catch (cause) {
      throw new FormatError(`"${where}": pickle byte ${start}: a string that is not UTF-8`, { cause });
    }
  }
  function line(): string {
    const end = bytes.indexOf(0x0a, at);
    if (end < 0) throw fail('truncated');
    const value = string(end - at);
    at++;
    return value;
  }
  /** LONG1: two's complement, as long as it says. */
  function long(): number {
    const length = u8();
    if (length > 8) throw fail('an integer of more than 64 bits');
    const start = take(length);
    let value = 0n;
    for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[start + i]);
    const number = Number(BigInt.asIntN(8 * length, value));
    if (!Number.isSafeInteger(number)) throw fail('an integer beyond 2^53');
    return number;
  }

  function pop(): unknown {
    if (stack.length <= (marks.at(-1) ?? 0)) throw fail('the stack is empty');
    return stack.pop();
  }
  function popMany(count: number): unknown[] {
    const values: unknown[] = [];
    for (let i = 0; i < count; i++) values.unshift(pop());
    return values;
  }
  function popMark(): unknown[] {
    const mark = marks.pop();
    if (mark === undefined) throw fail('there is no mark');
    return stack.splice(mark);
  }
  function top(): unknown {
    const value = pop();
    stack.push(value);
    return value;
  }
  function recall(index: number): void {
    if (!memo.has(index)) throw fail(`nothing is memoised as ${index}`);
    stack.push(memo.get(index));
  }
  function setItems(items: readonly unknown[]): void {
    const dict = top();
    if (!(dict instanceof Map)) throw fail('items are set of something that is no dict');
    if (items.length % 2 !== 0) throw fail('a key without a value');
    for (let i = 0; i < items.length; i += 2) {
      const key = items[i];
      if (typeof key !== 'string' && typeof key !== 'number') throw fail('a key that is no string or number');
      if (dict.has(key)) throw fail(`the key "${key}" comes twice`);
      dict.set(key, items[i + 1]);
    }
  }
  function pushGlobal(module: unknown, name: unknown): void {
    const global = allowed.get(`${module}.${name}`);
    if (typeof module !== 'string' || typeof name !== 'string' || !global) {
      throw fail(`it refers to "${module}.${name}", and only tensors are read`);
    }
    stack.push(global);
  }
  function reduce(): void {
    const args = pop();
    const callee = pop() as PickleGlobal;
    if (!markers.has(callee) || !callee.call) throw fail('it calls what is no known function');
    if (!isTuple(args)) throw fail(`${callee.name} is called without a tuple`);
    stack.push(callee.call(args));
  }
  /** The attributes of an OrderedDict (torch's `_metadata`) say nothing about tensors. */
  function build(): void {
    const state = pop();
    if (!(top() instanceof Map && state instanceof Map)) throw fail('it sets the state of what is no dict');
  }

  if (bytes[0] !== 0x80) throw fail('it does not begin with a protocol');
  for (;;) {
    const opcode = u8();
    switch (opcode) {
      case 0x80: {
        const protocol = u8();
        if (protocol < 2 || protocol > 5) throw fail(`protocol ${protocol}, expected 2 to 5`);
        break;
      }
      case 0x95: // FRAME: a hint for readers of streams
        take(8);
        break;
      case 0x2e: // STOP
        return pop();
      case 0x28: // MARK
        marks.push(stack.length);
        break;
      case 0x4e: // NONE
        stack.push(null);
        break;
      case 0x88: // NEWTRUE
        stack.push(true);
        break;
      case 0x89: // NEWFALSE
        stack.push(false);
        break;
      case 0x4a: // BININT
        stack.push(view.getInt32(take(4), true));
        break;
      case 0x4b: // BININT1
        stack.push(u8());
        break;
      case 0x4d: // BININT2
        stack.push(view.getUint16(take(2), true));
        break;
      case 0x8a: // LONG1
        stack.push(long());
        break;
      case 0x47: // BINFLOAT
        stack.push(view.getFloat64(take(8), false));
        break;
      case 0x8c: // SHORT_BINUNICODE
        stack.push(string(u8()));
        break;
      case 0x58: // BINUNICODE
        stack.push(string(u32()));
        break;
      case 0x8d: // BINUNICODE8
        stack.push(string(u64()));
        break;
      case 0x29: // EMPTY_TUPLE
        stack.push([]);
        break;
      case 0x85: // TUPLE1
      case 0x86: // TUPLE2
      case 0x87: // TUPLE3
        stack.push(popMany(opcode - 0x84));
        break;
      case 0x74: // TUPLE
        stack.push(popMark());
        break;
      case 0x7d: // EMPTY_DICT
        stack.push(new Map());
        break;
      case 0x73: // SETITEM
        setItems(popMany(2));
        break;
      case 0x75: // SETITEMS
        setItems(popMark());
        break;
      case 0x71: // BINPUT
        memo.set(u8(), top());
        break;
      case 0x72: // LONG_BINPUT
        memo.set(u32(), top());
        break;
      case 0x94: // MEMOIZE
        memo.set(memo.size, top());
        break;
      case 0x68: // BINGET
        recall(u8());
        break;
      case 0x6a: // LONG_BINGET
        recall(u32());
        break;
      case 0x63: // GLOBAL
        pushGlobal(line(), line());
        break;
      case 0x93: {
        // STACK_GLOBAL
        const [module, name] = popMany(2);
        pushGlobal(module, name);
        break;
      }
      case 0x51: // BINPERSID
        stack.push(persistentLoad(pop()));
        break;
      case 0x52: // REDUCE
        reduce();
        break;
      case 0x62: // BUILD
        build();
        break;
      default: {
        const name = REFUSED[opcode] ?? 'unknown';
        at--;
        throw fail(`opcode 0x${opcode.toString(16).padStart(2, '0')} (${name}), which no tensor needs`);
      }
    }
  }
}
