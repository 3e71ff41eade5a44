// The clock the core runs at, which the percentages of the peak rest on.

/** One turn of the loop: so many additions, each waiting for the one before. */
const ADDITIONS = 8;

/**
 * GHz, from a chain of dependent integer additions: one cycle each on all x86 and Arm cores of note. The module is
 * written out here, (func (param $n i64) (result i64)): `do { 8 × x = x + n } while (n = n - 1)`.
 */
export function gigahertz(): number {
  const add = [0x20, 1, 0x20, 0, 0x7c, 0x21, 1]; // local.get x, local.get n, i64.add, local.set x
  const countDown = [0x20, 0, 0x42, 1, 0x7d, 0x22, 0, 0x50, 0x45, 0x0d, 0]; // n - 1, tee, eqz, eqz, br_if 0
  const loop = [0x03, 0x40, ...Array(ADDITIONS).fill(add).flat(), ...countDown, 0x0b];
  const code = [1, 1, 0x7e, ...loop, 0x20, 1, 0x0b];
  const sections = [
    [1, 6, 1, 0x60, 1, 0x7e, 1, 0x7e],
    [3, 2, 1, 0],
    [7, 5, 1, 1, 0x66, 0, 0],
    [10, code.length + 2, 1, code.length, ...code],
  ];
  const bytes = Uint8Array.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, ...sections.flat()]);
  const chain = new WebAssembly.Instance(new WebAssembly.Module(bytes)).exports.f as (n: bigint) => bigint;
  const turns = 1_000_000;
  let least = Number.POSITIVE_INFINITY;
  for (let run = 0; run < 100; run++) {
    const start = performance.now();
    chain(BigInt(turns));
    least = Math.min(least, performance.now() - start);
  }
  return (ADDITIONS * turns) / least / 1e6;
}
