// The process of the `osscar` command.

import { setFlagsFromString } from 'node:v8';
import { inputError } from '../system.ts';
import { collectGarbage } from './collect.ts';
import { osscar, report } from './osscar.ts';

// For modules that are compiled after this. Node 20 keeps relaxed SIMD behind a flag, and optimises functions that have run
// for a seventh of what Node 22 waits for: 200 of onnxruntime's before a run begins, 1.5 CPU seconds.
if (Number(process.versions.node.split('.')[0]) < 22) {
  setFlagsFromString('--experimental-wasm-relaxed-simd');
  setFlagsFromString('--wasm-tiering-budget=13000000');
}

// Arrays of activations lie outside a heap that is small, and V8 marks some of it whenever one is made: longer in all than at once.
setFlagsFromString('--no-incremental-marking');

// Who reads what is printed may be gone (`osscar inspect model.onnx | head`), which ends no run.
process.stderr.on('error', () => {});
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') return;
  process.exitCode = report(inputError('standard output', error));
});

const exitCode = await osscar(process.argv.slice(2));
if (exitCode !== 0) process.exitCode = exitCode;
collectGarbage();
// An engine that could not start may leave a thread behind that waits for ever (onnxruntime-web 1.30 without room for its memory).
if (process.exitCode) process.stdout.write('', () => process.stderr.write('', () => process.exit()));
