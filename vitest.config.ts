import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Inlines a wasm binary as a Uint8Array, as esbuild's `binary` loader does in the build. */
const inlineWasm = {
  name: 'inline-wasm',
  enforce: 'pre' as const,
  load(id: string) {
    if (!id.endsWith('.deflate')) return undefined;
    const base64 = readFileSync(id).toString('base64');
    return `export default Uint8Array.from(atob('${base64}'), (c) => c.charCodeAt(0));`;
  },
};

/**
 * Short files that take long: vitest begins with the largest where it knows no times, as in a
 * fresh clone, and at the end a core would wait for these.
 */
const LONG = [
  ...['fuzz', 'pipeline/correct', 'pool/pipeline', 'queue/pieces'],
  ...['shared/language-prune', 'shared/vision'],
];

class LongFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const isLong = ({ moduleId }: TestSpecification) =>
      LONG.some((name) => moduleId.endsWith(`/test/${name}.test.ts`));
    const sorted = await super.sort(files);
    return [...sorted.filter(isLong), ...sorted.filter((file) => !isLong(file))];
  }
}

export default defineConfig({
  plugins: [inlineWasm],
  test: {
    // Further suites: test/shared needs the models and golden layers beside the project (`npm run test:shared`),
    // test/browser needs Chromium (`npm run test:browser`).
    include: ['test/**/*.test.ts'],
    exclude: ['test/shared/**', 'test/browser/**'],
    // Against hangs alone: a busy machine changes nothing but the time that it takes.
    testTimeout: 600_000,
    hookTimeout: 600_000,
    pool: 'forks',
    // The files of a worker share its modules: a half of what short ones take is to load these and onnxruntime once more.
    isolate: false,
    sequence: { sequencer: LongFirst },
    // Vitest leaves a core free; of two that is half of the machine.
    maxWorkers: Math.max(2, availableParallelism() - 1),
    // As the command sets them (src/cli/main.ts), but for what puts optimising WebAssembly off: processes that load
    // thousands of sessions gain by it (three files: 197 CPU seconds, and 180 without). What newer versions of Node have
    // anyway they accept.
    execArgv: ['--experimental-wasm-relaxed-simd', '--no-incremental-marking'],
  },
});
