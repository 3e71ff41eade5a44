// Linear memory: blocks that the host has asked for, from the heap's base up to `top`, and above them the scratch of
// the call under way. Blocks lie one behind the other, each led by a header; free ones are merged with their free
// neighbours, and the last one is never free. Dozens of blocks, not thousands: they are found by walking.
import { lines } from '../../src/solve/memory';

@unmanaged
class Block {
  /** Bytes to the next block, this header included. */
  bytes: u32;
  kind: i32;
  /** Bytes that were asked for. */
  asked: u32;
}

const FREE: i32 = 0;
/** A buffer of the host, which may read and write it. */
export const BUFFER: i32 = 1;
/** A problem: the host holds it by its address only. */
export const PROBLEM: i32 = 2;

/** A cache line: alignment of all blocks and scratch, and room for a header. */
const LINE: u32 = 64;
const PAGE: u64 = 65536;
/** One page below 4 GiB, so that no end of a block overflows an address. */
const ADDRESSABLE: u64 = 0xffff0000;

const base: usize = (__heap_base + LINE - 1) & ~(LINE - 1);
let top: usize = base;
let limit: u64 = ADDRESSABLE;

export function setLimit(bytes: u32): void {
  limit = min<u64>(bytes, ADDRESSABLE);
}

/** The block after this one. A header that a stray write of the host has destroyed ends the walk. */
function after(block: usize): usize {
  const bytes = changetype<Block>(block).bytes;
  return bytes < LINE || bytes % LINE != 0 || bytes > <u32>(top - block) ? top : block + bytes;
}

/** Grows the memory to `end` bytes. @returns whether that was possible */
function grow(end: u64): bool {
  if (end > limit) return false;
  const missing = <i64>((end + PAGE - 1) / PAGE) - <i64>memory.size();
  return missing <= 0 || memory.grow(<i32>missing) >= 0;
}

/** Bytes that linear memory would have to have for so many more in a block or in scratch. */
export function memoryFor(bytes: f64): f64 {
  return <f64>top + LINE + lines(bytes);
}

/** A block, 64-byte aligned, zeroed; 0 where the memory does not suffice. */
export function allocate(bytes: u32, kind: i32): usize {
  const wanted = LINE + <u64>lines(bytes);
  let block = base;
  while (block < top) {
    const here = changetype<Block>(block);
    if (here.kind == FREE && here.bytes >= wanted) break;
    block = after(block);
  }
  if (block < top) split(block, <u32>wanted);
  else {
    if (!grow(<u64>top + wanted)) return 0;
    changetype<Block>(block).bytes = <u32>wanted;
    top += <usize>wanted;
  }
  changetype<Block>(block).kind = kind;
  changetype<Block>(block).asked = bytes;
  memory.fill(block + LINE, 0, bytes);
  return block + LINE;
}

function split(block: usize, wanted: u32): void {
  const rest = changetype<Block>(block).bytes - wanted;
  if (rest == 0) return;
  changetype<Block>(block).bytes = wanted;
  const behind = changetype<Block>(block + wanted);
  behind.bytes = rest;
  behind.kind = FREE;
}

/** @returns whether there was a block at the address */
export function free(address: usize): bool {
  if (blockWith(address, 0, BUFFER) != address && blockWith(address, 0, PROBLEM) != address) return false;
  changetype<Block>(address - LINE).kind = FREE;
  let last = base;
  for (let block = base; block < top; ) {
    const next = after(block);
    const here = changetype<Block>(block);
    if (here.kind == FREE && next < top && changetype<Block>(next).kind == FREE) {
      here.bytes += changetype<Block>(next).bytes;
      continue;
    }
    last = block;
    block = next;
  }
  if (changetype<Block>(last).kind == FREE) top = last;
  return true;
}

/** The address of the block of the kind in which all of the bytes lie; 0 where there is none. */
export function blockWith(address: usize, bytes: u64, kind: i32): usize {
  for (let block = base; block < top; block = after(block)) {
    const start = block + LINE;
    const here = changetype<Block>(block);
    if (here.kind != kind || address < start) continue;
    if (<u64>address + bytes <= <u64>start + here.asked) return start;
  }
  return 0;
}

/**
 * So many bytes of scratch, 64-byte aligned, not zeroed, until the next call: every call states what it takes before it starts.
 * @returns the address, 0 where the memory does not suffice
 */
export function scratch(bytes: f64): usize {
  return bytes <= u32.MAX_VALUE && grow(<u64>top + <u64>bytes) ? top : 0;
}
