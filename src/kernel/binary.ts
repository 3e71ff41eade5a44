// Chooses and compiles one of the two binaries. Both come from the same source; they differ in FMA.

import relaxed from '../../build/osscar.relaxed.wasm';
import baseline from '../../build/osscar.wasm';
import { InputError } from '../errors.ts';

export type Simd = 'baseline' | 'relaxed';

/**
 * `baseline` gives the same bits on every machine, `relaxed` is faster (FMA) where the engine has it, `auto`
 * takes the fastest that this engine accepts.
 */
export type SimdChoice = 'auto' | Simd;

const binaries = { baseline, relaxed };

/** Filled at the first use of each binary: compiled once, instantiated as often as wanted. */
const compiled = new Map<Simd, Promise<WebAssembly.Module>>();

/** @throws {InputError} if the engine cannot run the chosen binary */
export function chooseSimd(choice: SimdChoice): Simd {
  if (choice !== 'auto' && !Object.hasOwn(binaries, choice)) {
    throw new InputError(`openKernels: "simd" expected auto, baseline or relaxed, got ${choice}`);
  }
  if (choice !== 'baseline' && WebAssembly.validate(relaxed)) return 'relaxed';
  if (choice === 'relaxed') {
    throw new InputError(
      'openKernels: "simd" relaxed expected an engine with relaxed SIMD, got one without ' +
        '(Node 20 has it behind --experimental-wasm-relaxed-simd)',
    );
  }
  if (!WebAssembly.validate(baseline)) {
    throw new InputError('openKernels: expected an engine with WebAssembly SIMD, got one without');
  }
  return 'baseline';
}

export function compile(simd: Simd): Promise<WebAssembly.Module> {
  let module = compiled.get(simd);
  if (!module) {
    module = WebAssembly.compile(binaries[simd]);
    compiled.set(simd, module);
  }
  return module;
}
