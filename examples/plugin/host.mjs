// A plug-in host in JavaScript with no library at all: prunes the layer of a .safetensors file by osscar.wasm.
//
//   node host.mjs osscar.wasm layer.safetensors groupSize keep
//
// The file holds W (p × m) and either X (calibration inputs, n × p) or XtX (their Gram matrix, p × p), all F32.

import { readFileSync } from 'node:fs';

const [module, file, groupSize, keep] = process.argv.slice(2);
const { instance } = await WebAssembly.instantiate(readFileSync(module));
const { memory, ...osscar } = instance.exports;

const bytes = readFileSync(file);
const data = 8 + Number(bytes.readBigUInt64LE(0));
const header = JSON.parse(bytes.toString('utf8', 8, data));
const floats = (name) => {
  const [from, to] = header[name].data_offsets;
  return new Float32Array(Uint8Array.from(bytes.subarray(data + from, data + to)).buffer);
};
/** Passes a result on, or throws the module's own words. */
const checked = (result) => {
  const text = new Uint8Array(memory.buffer, osscar.osscar_last_error(), osscar.osscar_last_error_length());
  if (osscar.osscar_last_status() !== 0) throw new Error(new TextDecoder().decode(text));
  return result >>> 0; // addresses are unsigned
};
const alloc = (size) => checked(osscar.osscar_alloc(size));
const put = (values) => {
  const at = alloc(values.byteLength);
  new values.constructor(memory.buffer, at, values.length).set(values);
  return at;
};

const [p, m] = header.W.shape;
const statistics = alloc(osscar.osscar_statistics_bytes(p, 0));
if (header.X) {
  checked(osscar.osscar_accumulate(statistics, p, 0, header.X.shape[0], put(floats('X')), 0));
} else {
  const sums = new Float64Array(memory.buffer, statistics, 2 + p + p * p);
  sums[0] = 1; // rows; no bias is refitted, so their sums may stay 0
  sums.set(floats('XtX'), 2 + p);
}
const W0 = put(floats('W'));
const problem = checked(osscar.osscar_problem(p, m, Number(groupSize), statistics, W0, 0, 1e-2, 0));
const [kept, W, report] = [alloc(4 * keep), alloc(8 * p * m), alloc(64)];
checked(osscar.osscar_prune(problem, Number(keep), kept, W, 0, report));
const [objective, dense, swaps] = new Float64Array(memory.buffer, report, 3);
console.log(
  JSON.stringify({ kept: [...new Int32Array(memory.buffer, kept, keep)], objective, dense, swaps }),
);
