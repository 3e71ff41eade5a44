// Fails where V8 keeps values of a microkernel's loop on the stack: a spilled accumulator halves the rate of
// everything. Reads the code that V8 prints, so that a busy machine changes nothing. `node scripts/spills.mjs`

import { spawnSync } from 'node:child_process';

/** f32, f32 whose sums go to f64, f64; f32 and f64 with one operand in place. */
const MICROKERNELS = 5;
/** Rows of the smaller tile: no other loop that is as short as a microkernel's splats as many elements from memory. */
const SPLATS = 5;
const SHORT = 80;

if (process.arch !== 'x64') {
  console.log(`spills: V8's code for ${process.arch} is not read, nothing checked`);
  process.exit(0);
}

let failed = false;
for (const binary of ['build/osscar.wasm', 'build/osscar.relaxed.wasm']) {
  const kernels = functions(optimised(binary))
    .flatMap(innermostLoops)
    .filter(({ length }) => length < SHORT)
    .filter((loop) => loop.filter((line) => /^v(broadcastss|movddup) xmm\d+,\[/.test(line)).length >= SPLATS);
  for (const kernel of kernels) {
    const type = kernel.some((line) => /^v(mul|fmadd\d+)ps\b/.test(line)) ? 'f32' : 'f64';
    const spills = kernel.filter((line) => /\[r[bs]p\b/.test(line));
    console.log(
      `${binary} ${type}: ${kernel.length} instructions a step, ${spills.length} of them on the stack`,
    );
    for (const line of spills) console.error(`  ${line}`);
    failed ||= spills.length > 0;
  }
  if (kernels.length !== MICROKERNELS) {
    console.error(`${binary}: expected ${MICROKERNELS} microkernels in V8's code, found ${kernels.length}`);
    failed = true;
  }
}
process.exit(failed ? 1 : 0);

/** What V8's optimising compiler makes of a module, as text. */
function optimised(binary) {
  const flags = [
    '--experimental-wasm-relaxed-simd',
    '--no-liftoff',
    '--no-wasm-lazy-compilation',
    '--print-wasm-code',
  ];
  const compile = `new WebAssembly.Module(require('fs').readFileSync(${JSON.stringify(binary)}))`;
  const { status, stdout, stderr } = spawnSync(process.execPath, [...flags, '-e', compile], {
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
  });
  if (status !== 0) throw new Error(`${binary}: V8 printed no code (${stderr.trim()})`);
  return stdout;
}

/** The instructions of every function. */
function functions(printed) {
  return printed.split('--- WebAssembly code ---').map((code) =>
    [...code.matchAll(/^0x[0-9a-f]+ +([0-9a-f]+) +[0-9a-f]+ +(.+)$/gm)].map(([, offset, text]) => ({
      offset: Number.parseInt(offset, 16),
      text: text.trim(),
    })),
  );
}

/** The bodies of the loops that hold no other loop: from the target of a conditional jump back to the jump. */
function innermostLoops(instructions) {
  const loops = instructions.flatMap(({ offset: end, text }) => {
    // An unconditional one may as well come from code that V8 has moved out of the way.
    const start = Number.parseInt(/^j(?!mp).*<\+0x([0-9a-f]+)>/.exec(text)?.[1], 16);
    return start <= end ? [{ start, end }] : [];
  });
  return loops
    .filter((a) => !loops.some((b) => b !== a && b.start >= a.start && b.end <= a.end))
    .map(({ start, end }) =>
      instructions.filter(({ offset }) => offset >= start && offset <= end).map(({ text }) => text),
    );
}
