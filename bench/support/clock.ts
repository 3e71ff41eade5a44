// The clock the core runs at and what it does in a cycle, which the percentages of the peak rest on. The modules are
// written out here: one function f, a loop of straight-line code.

/** One turn of a loop: so many operations. A run: so many turns, some milliseconds. */
const OPERATIONS = 12;
const TURNS = 1_000_000;
const RUNS = 60;

const [I64, F32, V128] = [0x7e, 0x7d, 0x7b];
const get = (local: number) => [0x20, local];
const set = (local: number) => [0x21, local];

export interface Loop {
  run(): void;
}

/** What the core does in a nanosecond, given how many milliseconds a run of the loop takes. */
export function perNanosecond(ms: number): number {
  return (OPERATIONS * TURNS) / (ms * 1e6);
}

/**
 * A chain of dependent integer additions: one cycle each on all x86 and Arm cores of note, so GHz.
 * (func (param $n i64) (result i64) (local $x i64)): `do { 12 × x = x + n } while (n = n - 1)`
 */
export function cycles(): Loop {
  const add = [...get(1), ...get(0), 0x7c, ...set(1)];
  return loop(I64, [1, I64], Array(OPERATIONS).fill(add).flat(), get(1));
}

/**
 * Multiply-adds on 128 bits, operands in registers: twelve independent accumulators x ← x·a + b. Where they are two
 * instructions, some cores have fewer units for both than for fused ones: three for four on Intel's since 2021, hence at
 * most 1.5 a cycle.
 */
export function multiplyAdds(isFused: boolean): Loop {
  const [mul, add, madd, extract] = [
    [0xfd, 0xe6, 1],
    [0xfd, 0xe4, 1],
    [0xfd, 0x85, 2],
    [0xfd, 0x1f, 0],
  ];
  const [a, b] = [OPERATIONS + 1, OPERATIONS + 2];
  const step = (x: number) =>
    isFused
      ? [...get(x), ...get(a), ...get(b), ...madd, ...set(x)]
      : [...get(x), ...get(a), ...mul, ...get(b), ...add, ...set(x)];
  const accumulators = Array.from({ length: OPERATIONS }, (_, i) => i + 1);
  const sum = accumulators.flatMap((x, i) => [...get(x), ...(i > 0 ? add : [])]);
  const body = accumulators.flatMap(step);
  return loop(F32, [OPERATIONS + 2, V128], body, [...sum, ...extract]);
}

/** Of each loop the rate of its fastest run. They take turns: the clock rises and falls. */
export function loopRates(loops: readonly Loop[]): number[] {
  const least = loops.map(() => Number.POSITIVE_INFINITY);
  for (let run = 0; run < RUNS; run++) {
    loops.forEach((loop, i) => {
      const start = performance.now();
      loop.run();
      least[i] = Math.min(least[i], performance.now() - start);
    });
  }
  return least.map(perNanosecond);
}

/** `do { body } while (n = n - 1)` in (func (param $n i64) (result …) (local …)), then `result`. Locals are zero. */
function loop(type: number, locals: number[], body: number[], result: number[]): Loop {
  const countDown = [...get(0), 0x42, 1, 0x7d, 0x22, 0, 0x50, 0x45, 0x0d, 0]; // n - 1, tee, eqz, eqz, br_if 0
  const code = [1, ...locals, 0x03, 0x40, ...body, ...countDown, 0x0b, ...result, 0x0b];
  const sections = [
    [1, ...sized([1, 0x60, 1, I64, 1, type])],
    [3, ...sized([1, 0])],
    [7, ...sized([1, 1, 0x66, 0, 0])],
    [10, ...sized([1, ...sized(code)])],
  ];
  const bytes = Uint8Array.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, ...sections.flat()]);
  const f = new WebAssembly.Instance(new WebAssembly.Module(bytes)).exports.f as (n: bigint) => unknown;
  return { run: () => void f(BigInt(TURNS)) };
}

/** Bytes behind their number, a LEB128 of two bytes. */
function sized(bytes: number[]): number[] {
  return [(bytes.length & 127) | 128, bytes.length >> 7, ...bytes];
}
