// How a call ends: a status code, a sentence and a number. Text is UTF-8 in a buffer of the module's own.

export const OK: i32 = 0;
export const INVALID_ARGUMENT: i32 = 1;
export const NOT_POSITIVE_DEFINITE: i32 = 2;
export const OUT_OF_MEMORY: i32 = 3;
export const NOT_FINITE: i32 = 4;

const CAPACITY: i32 = 256;
export const text: usize = memory.data(CAPACITY);
export let length: i32 = 0;
export let status: i32 = OK;
export let detail: f64 = 0;
let operation: string = '';

/** Every export begins here: what the last call has left is forgotten. */
export function begin(name: string): void {
  operation = name;
  length = 0;
  status = OK;
  detail = 0;
  store<u8>(text, 0);
}

/** `operation: `, to which `say` adds. */
function fail(code: i32, number: f64): void {
  length = 0;
  status = code;
  detail = number;
  say(operation);
  say(': ');
}

/** Appends ASCII text; always ends in a zero byte. */
export function say(words: string): void {
  for (let i = 0; i < words.length && length < CAPACITY - 1; i++) {
    store<u8>(text + length++, <u8>load<u16>(changetype<usize>(words) + (<usize>i << 1)));
  }
  store<u8>(text + length, 0);
}

/** Appends a whole number, below 2⁶³. */
export function sayNumber(value: f64): void {
  if (value < 0) say('-');
  let rest = <u64>abs(value);
  let digits = 1;
  for (let n = rest; n >= 10; n /= 10) digits++;
  if (length + digits >= CAPACITY) return;
  for (let i = digits - 1; i >= 0; i--) {
    store<u8>(text + length + i, <u8>(48 + rest % 10));
    rest /= 10;
  }
  length += digits;
  store<u8>(text + length, 0);
}

/** `operation: "operand" expected …`, to which `say` adds. */
export function refuse(code: i32, number: f64, operand: string, expected: string): void {
  fail(code, number);
  say('"');
  say(operand);
  say('" expected ');
  say(expected);
}

/** @param pivot  1-based */
export function notPositiveDefinite(pivot: i32): i32 {
  fail(NOT_POSITIVE_DEFINITE, pivot);
  say('expected a positive definite H, pivot ');
  sayNumber(pivot);
  say(' is not positive; raise the damping');
  return status;
}

/** @param bytes  that linear memory would have to have */
export function outOfMemory(bytes: f64): i32 {
  fail(OUT_OF_MEMORY, bytes);
  say('expected ');
  sayNumber(bytes);
  say(' bytes of linear memory, more than there are to have');
  return status;
}
