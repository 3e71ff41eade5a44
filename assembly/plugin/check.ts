// Arguments from outside are data: each check says what was expected, and false.
import { nonFiniteAt } from '../rows';
import { entry } from '../solve/array';
import { Problem } from '../solve/problem';
import { BUFFER, PROBLEM, blockWith, memoryFor, scratch as scratchOf } from './memory';
import { INVALID_ARGUMENT, NOT_FINITE, outOfMemory, refuse, say, sayNumber } from './status';

/** A whole number from low to high. */
export function range(name: string, value: i32, low: i32, high: i32): bool {
  if (value >= low && value <= high) return true;
  refuse(INVALID_ARGUMENT, value, name, high == i32.MAX_VALUE ? 'at least ' : '');
  sayNumber(low);
  if (high != i32.MAX_VALUE) {
    say(' to ');
    sayNumber(high);
  }
  say(', got ');
  sayNumber(value);
  return false;
}

/** A number from low to high; never NaN, never infinite. */
export function between(name: string, value: f64, low: f64, high: f64, expected: string): bool {
  if (value >= low && value <= high) return true;
  refuse(INVALID_ARGUMENT, value, name, expected);
  return false;
}

/** b divides p. */
export function shape(p: i32, m: i32, b: i32): bool {
  if (!(range('p', p, 1, i32.MAX_VALUE) && range('m', m, 1, i32.MAX_VALUE) && range('b', b, 1, p))) return false;
  if (p % b == 0) return true;
  refuse(INVALID_ARGUMENT, b, 'b', 'a divisor of p, got ');
  sayNumber(b);
  return false;
}

/** So many bytes inside one block of osscar_alloc. */
export function buffer(name: string, address: usize, bytes: f64): bool {
  if (bytes == 0 || (bytes <= u32.MAX_VALUE && blockWith(address, <u64>bytes, BUFFER) != 0)) return true;
  refuse(INVALID_ARGUMENT, address, name, '');
  sayNumber(bytes);
  say(' bytes inside one block of osscar_alloc, got the address ');
  sayNumber(address);
  return false;
}

/** As `buffer`, or none at all. */
export function optional(name: string, address: usize, bytes: f64): bool {
  return address == 0 || buffer(name, address, bytes);
}

/** count values of type T without NaN or infinity. */
export function finite<T>(name: string, address: usize, count: usize): bool {
  const at = nonFiniteAt<T>(<i32>count, address);
  if (at < 0) return true;
  refuse(NOT_FINITE, at, name, 'finite values, element ');
  sayNumber(at);
  say(' is not');
  return false;
}

/** What osscar_problem has returned and osscar_free has not taken back. */
export function problem(address: usize): bool {
  if (blockWith(address, 0, PROBLEM) == address && address != 0) return true;
  refuse(INVALID_ARGUMENT, address, 'problem', 'what osscar_problem returns, got the address ');
  sayNumber(address);
  return false;
}

/** The group numbers to keep: as many as `keep`, each once. The problem's from now on. */
export function support(layer: Problem, keep: i32, kept: usize): bool {
  memory.fill(layer.kept, 0, layer.groups);
  for (let i = 0; i < keep; i++) {
    const group = entry(kept, i);
    if (!range('kept', group, 0, layer.groups - 1)) return false;
    if (load<u8>(layer.kept + group)) {
      refuse(INVALID_ARGUMENT, group, 'kept', 'each group once, got twice ');
      sayNumber(group);
      return false;
    }
    store<u8>(layer.kept + group, 1);
  }
  return true;
}

/** So many bytes of scratch. @returns the address, or 0 */
export function scratch(bytes: f64): usize {
  const address = scratchOf(bytes);
  if (address == 0) outOfMemory(memoryFor(bytes));
  return address;
}
