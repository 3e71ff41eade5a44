// A checkpoint with the shapes of an OPT and random weights, and tokens for it. Random weights say nothing about perplexity.

import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe } from '../../src/checkpoint/architectures/index.ts';
import { CheckpointWriter, planSafetensors } from '../../src/checkpoint/index.ts';
import { createFolder } from '../../src/disk/folder.ts';
import { random } from '../../test/support/random.ts';

/** What facebook/opt-125m and facebook/opt-1.3b have in common. */
const CONFIG = {
  model_type: 'opt',
  architectures: ['OPTForCausalLM'],
  activation_function: 'relu',
  do_layer_norm_before: true,
  max_position_embeddings: 2048,
  torch_dtype: 'float16',
  vocab_size: 50272,
};
/** Spread of the weights before training. */
const INIT_STD = 0.02;
const ROWS_AT_A_TIME = 1024;

export interface Shape {
  readonly blocks: number;
  readonly samples: number;
  readonly seqlen: number;
  /** Default: OPT-1.3B's. */
  readonly hidden?: number;
  /** Of a block's MLP. */
  readonly neurons?: number;
}

/** Of an attention head. */
const HEAD_SIZE = 64;

/** Writes both into a folder. @returns where they are */
export async function writeShape(
  folder: string,
  { blocks, samples, seqlen, hidden = 2048, neurons = 4 * hidden }: Shape,
): Promise<{ readonly model: string; readonly tokens: string }> {
  await mkdir(folder, { recursive: true });
  const [model, tokens] = [join(folder, 'opt-shape'), join(folder, 'tokens.npy')];
  await writeCheckpoint(model, {
    ...CONFIG,
    num_hidden_layers: blocks,
    hidden_size: hidden,
    word_embed_proj_dim: hidden,
    num_attention_heads: hidden / HEAD_SIZE,
    ffn_dim: neurons,
  });
  await writeTokens(tokens, samples, seqlen);
  return { model, tokens };
}

async function writeCheckpoint(path: string, config: Parameters<typeof describe>[0]): Promise<void> {
  const shapes = (await describe(config)).tensors({ tensors: new Map() });
  const specs = Array.from(shapes, ([name, { shape }]) => ({ name, shape, dtype: 'float16' as const }));
  const writer = new CheckpointWriter(await createFolder(path, { overwrite: true }), planSafetensors(specs));
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
  await writer.writeFile('config.json', new TextEncoder().encode(JSON.stringify(config)));
  await writer.finish();
}

async function writeTokens(path: string, samples: number, seqlen: number): Promise<void> {
  const next = random(2);
  const ids = Int32Array.from({ length: samples * seqlen }, () => Math.floor(next() * CONFIG.vocab_size));
  const header = `{'descr': '<i4', 'fortran_order': False, 'shape': (${samples}, ${seqlen}), }`.padEnd(117);
  const magic = Uint8Array.from([0x93, ...new TextEncoder().encode('NUMPY'), 1, 0, 118, 0]);
  await writeFile(path, [magic, new TextEncoder().encode(`${header}\n`), new Uint8Array(ids.buffer)]);
}
