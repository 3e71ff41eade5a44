// The files of a language model's folder that say what it is and hold its weights.

import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { blobFolder, openCheckpoint } from '../../src/checkpoint/index.ts';
import { describeFolder } from '../../src/pipeline/index.ts';
import { Pickle, pickleTensors, rowMajor, torchFile } from '../../test/support/torch.ts';
import { damaged, jsonBytes, oddJson } from '../mutate.ts';
import { fixture, jsonInputs, type Targets } from './target.ts';

export const safetensorsOf = (header: Uint8Array, data: number) => {
  const out = new Uint8Array(8 + header.length + data);
  new DataView(out.buffer).setBigUint64(0, BigInt(header.length), true);
  out.set(header, 8);
  return out;
};
const HEADER = {
  __metadata__: { format: 'pt' },
  'layer.weight': { dtype: 'F32', shape: [8, 16], data_offsets: [0, 512] },
  'layer.bias': { dtype: 'F16', shape: [3], data_offsets: [512, 518] },
  scalar: { dtype: 'I64', shape: [], data_offsets: [518, 526] },
};
const SAFETENSORS = safetensorsOf(jsonBytes(HEADER), 526);
const TENSORS = [
  { name: 'w', kind: 'Float', storage: '0', length: 6, shape: [2, 3], strides: rowMajor([2, 3]) },
  { name: 'v', kind: 'Half', storage: '1', length: 6, shape: [3, 2], strides: [1, 3] },
];
const STORAGES = { 0: new Uint8Array(24), 1: new Uint8Array(12) };
const OPCODES = [...'(.NJKMXhjqrcRQb)}tsu'].map((char) => char.charCodeAt(0));
const opcode = fc.oneof(
  fc.constantFrom(...OPCODES, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x8d, 0x93, 0x94, 0x95),
  fc.nat(8),
);

async function readAll(files: Record<string, Uint8Array>): Promise<void> {
  const checkpoint = await openCheckpoint(
    blobFolder(Object.entries({ 'config.json': jsonBytes({}), ...files }), 'm'),
  );
  for (const name of checkpoint.tensors.keys()) await checkpoint.readRaw(name);
}

const CONFIGS = [
  JSON.parse(readFileSync('test/fixtures/opt-kjv/config.json', 'utf8')),
  {
    model_type: 'llama',
    hidden_size: 16,
    intermediate_size: 12,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    head_dim: 4,
    vocab_size: 32,
    max_position_embeddings: 16,
    rms_norm_eps: 1e-5,
    rope_scaling: {
      rope_type: 'llama3',
      factor: 8,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 8,
    },
  },
  {
    model_type: 'gpt2',
    n_embd: 8,
    n_head: 2,
    n_layer: 2,
    n_positions: 16,
    vocab_size: 32,
    activation_function: 'gelu_new',
  },
];

async function readConfig(bytes: Uint8Array): Promise<void> {
  const model = await describeFolder(blobFolder([['config.json', bytes]], 'm'));
  model.configOf(model.sizes);
  model.tensors({ tensors: new Map() });
}

const INDEX = { weight_map: { scalar: 'a.safetensors', 'layer.bias': 'a.safetensors' } };

export const checkpoint: Targets = {
  safetensors: {
    inputs: fc.oneof(
      damaged([SAFETENSORS]),
      oddJson([HEADER]).map((header) => safetensorsOf(jsonBytes(header), 526)),
    ),
    parse: (bytes) => readAll({ 'model.safetensors': bytes }),
  },
  index: {
    inputs: fc.oneof(damaged([jsonBytes(INDEX)]), oddJson([{ metadata: {}, ...INDEX }]).map(jsonBytes)),
    parse: (bytes) => readAll({ 'model.safetensors.index.json': bytes, 'a.safetensors': SAFETENSORS }),
  },
  torch: {
    inputs: fc.oneof(
      damaged([
        torchFile(pickleTensors(TENSORS), STORAGES, { zip64: true }),
        fixture('checkpoint/protocol5.bin'),
        fixture('checkpoint/deflated.bin'),
      ]),
      damaged([pickleTensors(TENSORS)]).map((pickle) => torchFile(pickle, STORAGES)),
      fc
        .array(opcode, { maxLength: 80 })
        .map((body) => torchFile(new Pickle().raw(Uint8Array.from(body)).end(), STORAGES)),
    ),
    parse: (bytes) => readAll({ 'pytorch_model.bin': bytes }),
  },
  config: { inputs: jsonInputs(...CONFIGS), parse: readConfig },
};
