// ALiBi (arXiv 2108.12409): scores fall with the distance of the key, in each head by a factor of its own. Models differ in the order of
// these where the number of heads is no power of two.

/** ratio, ratio², …: where the n-th of n is 2^−most. */
function falling(n: number, most: number): Float32Array {
  return Float32Array.from({ length: n }, (_, i) => 2 ** ((-most * (i + 1)) / n));
}

/** As BLOOM has them: those of the next smaller power of two, and between these every second one of the next larger. */
export function slopesBelow(heads: number): Float32Array {
  const whole = 2 ** Math.floor(Math.log2(heads));
  const others = falling(2 * whole, MOST).filter((_, i) => i % 2 === 0);
  return Float32Array.from([...falling(whole, MOST), ...others.subarray(0, heads - whole)]);
}

/** As MPT has them: of the next larger power of two every second one, and then those between. */
export function slopesAbove(heads: number, most: number): Float32Array {
  const all = falling(2 ** Math.ceil(Math.log2(heads)), most);
  if (all.length === heads) return all;
  const [odd, even] = [1, 0].map((first) => all.filter((_, i) => i % 2 === first));
  return Float32Array.from([...odd, ...even]).subarray(0, heads);
}

const MOST = 8;
