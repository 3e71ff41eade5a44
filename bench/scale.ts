// A checkpoint with the shapes of OPT-1.3B through `osscar prune`: peak memory against the plan of --dry-run, and time.
// Two blocks (random weights) are enough: blocks are pruned one at a time. Random weights say nothing about perplexity.
// With `--format onnx`, which holds one block's weights at a time too.
//   npm run bench -- scale [blocks] [samples] [seqlen]

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { text } from 'node:stream/consumers';
import { describe } from '../src/checkpoint/architectures/index.ts';
import { CheckpointWriter, planSafetensors } from '../src/checkpoint/index.ts';
import { createFolder } from '../src/disk/folder.ts';
import type { Plan, PruneReport } from '../src/pipeline/index.ts';
import { random } from '../test/support/random.ts';

const [blocks = 2, samples = 8, seqlen = 512] = process.argv.slice(2).map(Number);
const FOLDER = 'build/scale';
const MODEL = `${FOLDER}/opt-1.3b-shape`;
const TOKENS = `${FOLDER}/tokens.npy`;
const MAX_BYTES = 6 * 2 ** 30;
const MAX_RATIO = 1.5;

/** facebook/opt-1.3b, with fewer blocks. */
const CONFIG = {
  model_type: 'opt',
  architectures: ['OPTForCausalLM'],
  activation_function: 'relu',
  do_layer_norm_before: true,
  ffn_dim: 8192,
  hidden_size: 2048,
  max_position_embeddings: 2048,
  num_attention_heads: 32,
  num_hidden_layers: blocks,
  torch_dtype: 'float16',
  vocab_size: 50272,
  word_embed_proj_dim: 2048,
};
/** Spread of the weights before training. */
const INIT_STD = 0.02;
const ROWS_AT_A_TIME = 1024;

async function writeCheckpoint(): Promise<void> {
  const shapes = describe(CONFIG).tensors({ tensors: new Map() });
  const specs = Array.from(shapes, ([name, { shape }]) => ({ name, shape, dtype: 'float16' as const }));
  const writer = new CheckpointWriter(await createFolder(MODEL, { overwrite: true }), planSafetensors(specs));
  const next = random(1);
  const spread = INIT_STD * Math.sqrt(12);
  for (const { name, shape } of specs) {
    const [rows, columns = 1] = shape;
    const isScale = name.endsWith('layer_norm.weight');
    for (let row = 0; row < rows; row += ROWS_AT_A_TIME) {
      const values = new Float32Array(Math.min(ROWS_AT_A_TIME, rows - row) * columns);
      await writer.write(name, isScale ? values.fill(1) : values.map(() => spread * (next() - 0.5)), row);
    }
  }
  await writer.writeFile('config.json', new TextEncoder().encode(JSON.stringify(CONFIG)));
  await writer.finish();
}

async function writeTokens(): Promise<void> {
  const next = random(2);
  const ids = Int32Array.from({ length: samples * seqlen }, () => Math.floor(next() * CONFIG.vocab_size));
  const header = `{'descr': '<i4', 'fortran_order': False, 'shape': (${samples}, ${seqlen}), }`.padEnd(117);
  const magic = Uint8Array.from([0x93, ...new TextEncoder().encode('NUMPY'), 1, 0, 118, 0]);
  await writeFile(TOKENS, [magic, new TextEncoder().encode(`${header}\n`), new Uint8Array(ids.buffer)]);
}

/** In a process of its own, which says at its end how much it had resident at most. */
async function osscar(...args: string[]) {
  const report =
    'process.on("exit",()=>process.stderr.write("\\npeak "+process.resourceUsage().maxRSS+"\\n"))';
  const start = performance.now();
  const child = spawn(
    process.execPath,
    [
      ...['--experimental-wasm-relaxed-simd', '--import', `data:text/javascript,${report}`],
      ...[
        'build/bench/profile.mjs',
        'prune',
        MODEL,
        '--keep',
        '0.5',
        '--target',
        'residual',
        '--format',
        'onnx',
        '--json',
      ],
      // Random weights answer worse than by chance.
      ...['--force', '--samples', String(samples), '--seqlen', String(seqlen), ...args],
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  const [out, err, [status]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'exit'),
  ]);
  if (status !== 0) throw new Error(`osscar prune ended with ${status}: ${err}`);
  return {
    result: JSON.parse(out),
    peak: 1024 * Number(/^peak (\d+)$/m.exec(err)![1]),
    profile: err.trimEnd().split('\n').at(-1),
    seconds: (performance.now() - start) / 1000,
  };
}

await mkdir(FOLDER, { recursive: true });
try {
  await writeCheckpoint();
  await writeTokens();
  const mib = (bytes: number) => `${(bytes / 2 ** 20).toFixed(0)} MiB`;
  const plan = (await osscar('--dry-run')).result as Plan & { readonly seconds: number };
  const parts = Object.entries(plan.bytes).map(([name, bytes]) => `${name} ${mib(bytes)}`);
  console.log(`${cpus()[0].model}, Node ${process.version}; ${blocks} blocks, ${samples} × ${seqlen} tokens`);
  console.log(`plan: ${parts.join(', ')}; ${plan.seconds.toFixed(0)} s`);

  const { result, peak, seconds, profile } = await osscar(
    '--calibrate',
    TOKENS,
    '--output',
    `${FOLDER}/pruned`,
  );
  const report = result as PruneReport;
  const ratio = peak / plan.bytes.total;
  console.log(
    `${report.stages.map(({ stage, seconds }) => `${stage} ${seconds.toFixed(0)} s`).join(', ')}; the whole run ${seconds.toFixed(0)} s, ${report.threads} threads`,
  );
  console.log(profile);
  console.log(`peak resident memory: ${mib(peak)}, ${ratio.toFixed(2)} of the plan`);
  if (ratio > MAX_RATIO || peak >= MAX_BYTES) {
    console.error(`expected at most ${MAX_RATIO} of the plan and less than ${mib(MAX_BYTES)}`);
    process.exitCode = 1;
  }
} finally {
  await rm(FOLDER, { recursive: true, force: true });
}
