// Chooses and compiles one of the two binaries. Both come from the same source; they differ in FMA. A third and
// fourth, for memory that several workers share, differ from these in a single bit and are derived here.

import deflated from '../../build/osscar.wasm.deflate';
import { InputError } from '../errors.ts';
import { inflate } from '../inflate.ts';

/**
 * `baseline` gives the same bits on every machine, `relaxed` is faster (FMA) where the engine has it, `auto`
 * takes the fastest that this engine accepts.
 */
export type SimdChoice = 'auto' | Simd;

/** Of what an instance imports as `env.memory`: its own, or one that several share. */
export type MemoryKind = 'own' | 'shared';

export const SIMDS = ['baseline', 'relaxed'] as const;
/** One of the two binaries: without and with fused multiply-add (relaxed SIMD). */
export type Simd = (typeof SIMDS)[number];

type Binaries = Readonly<Record<Simd, Uint8Array<ArrayBuffer>>>;

/** Filled at first use: inflated once, compiled once each, instantiated as often as wanted. */
let inflated: Promise<Binaries> | undefined;
const compiled = new Map<string, Promise<WebAssembly.Module>>();

/** @throws {InputError} if the engine cannot run the chosen binary */
export async function chooseSimd(choice: SimdChoice): Promise<Simd> {
  if (choice !== 'baseline' && WebAssembly.validate(await binary('relaxed'))) return 'relaxed';
  if (choice === 'relaxed') {
    throw new InputError(
      'openKernels: "simd" relaxed expected an engine with relaxed SIMD, got one without ' +
        '(Node 20 has it behind --experimental-wasm-relaxed-simd)',
    );
  }
  if (!WebAssembly.validate(await binary('baseline'))) {
    throw new InputError('openKernels: expected an engine with WebAssembly SIMD, got one without');
  }
  return 'baseline';
}

export function compile(simd: Simd, memory: MemoryKind = 'own'): Promise<WebAssembly.Module> {
  const key = `${simd} ${memory}`;
  let module = compiled.get(key);
  if (!module) {
    module = binary(simd).then((bytes) => WebAssembly.compile(memory === 'own' ? bytes : sharing(bytes)));
    compiled.set(key, module);
  }
  return module;
}

async function binary(simd: Simd): Promise<Uint8Array<ArrayBuffer>> {
  inflated ??= inflate(deflated).then(apart);
  return (await inflated)[simd];
}

/** The two as `both` of scripts/build.mjs has put them together. */
function apart(bytes: Uint8Array<ArrayBuffer>): Binaries {
  const [first, second, count] = new Uint32Array(bytes.buffer, 0, 3);
  const steps = new Int16Array(bytes.buffer, 12, count);
  let own = 12 + steps.byteLength + first;
  const baseline = bytes.slice(own - first, own);
  const relaxed = new Uint8Array(second);
  let [from, to] = [0, 0];
  for (let i = 0; i < count; i += 3) {
    const [fresh, ahead, alike] = steps.subarray(i, i + 3);
    relaxed.set(bytes.subarray(own, own + fresh), to);
    own += fresh;
    from += fresh + ahead;
    relaxed.set(baseline.subarray(from, from + alike), to + fresh);
    from += alike;
    to += fresh + alike;
  }
  return { baseline, relaxed };
}

/** Imported item "memory" of "env", a memory: names after their lengths, then the kind. Its limits follow. */
const ENV_MEMORY = new TextEncoder().encode('\x03env\x06memory\x02');
const HAS_MAXIMUM = 1;
const SHARED = 2;

/**
 * The same module importing a shared memory. The binaries have no data segments and no mutable globals, so that any number of
 * instances may live on one memory.
 */
function sharing(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const isThere = (_: number, at: number) => ENV_MEMORY.every((byte, i) => bytes[at + i] === byte);
  const found = bytes.findIndex(isThere);
  const limits = found + ENV_MEMORY.length;
  if (found < 0 || bytes[limits] !== HAS_MAXIMUM)
    throw new Error('expected a binary that imports one memory of limited size');
  const shared = bytes.slice();
  shared[limits] |= SHARED;
  return shared;
}
