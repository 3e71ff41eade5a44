// The process of the `osscar` command.

import { setFlagsFromString } from 'node:v8';
import { inputError } from '../system.ts';
import { collectGarbage } from './collect.ts';
import { osscar, report } from './osscar.ts';

// For modules that are compiled after this. Node 20 keeps relaxed SIMD behind a flag.
if (Number(process.versions.node.split('.')[0]) < 22) setFlagsFromString('--experimental-wasm-relaxed-simd');
// Functions are optimised after 8 times (Node 20: 56 times) as much work as otherwise, which those that matter have done in a few
// hundredths of a second: one of onnxruntime's, which is run for each session, takes 1.4 CPU seconds and 300 MB, and the end of the
// process waits for it (`inspect` of a transformer: 2.4 s instead of 1.2).
setFlagsFromString('--wasm-tiering-budget=100000000');

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
