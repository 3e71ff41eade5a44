import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { CheckpointWriter, openCheckpoint, planSafetensors } from '../../src/checkpoint/index.ts';
import { createFolder, openFolder } from '../../src/disk/folder.ts';
import { shared } from './shared.ts';

test.each([
  ['opt-kjv', 68, 'float16', 957_440, 'model.decoder.embed_tokens.weight', [1024, 128]],
  ['stories260k', 47, 'float32', 260_032, 'model.embed_tokens.weight', [512, 64]],
])(
  '%s opens, reads, and is written again to the same tensors, whole and in shards',
  async (name, count, dtype, parameters, embedding, shape) => {
    const folder = await openFolder(shared(`models/${name}`));
    const checkpoint = await openCheckpoint(folder);
    expect(checkpoint.tensors.size).toBe(count);
    expect(checkpoint.tensors.get(embedding)).toMatchObject({ dtype, shape });
    expect(checkpoint.config.vocab_size).toBe(shape[0]);
    const specs = [...checkpoint.tensors.values()];
    const total = specs.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
    expect(total).toBe(parameters);

    const root = mkdtempSync(join(tmpdir(), 'osscar-checkpoint-'));
    try {
      for (const maxShardBytes of [5e9, 300_000]) {
        const target = join(root, `shards-of-${maxShardBytes}`);
        const writer = new CheckpointWriter(
          await createFolder(target),
          planSafetensors(specs, { maxShardBytes }),
        );
        expect(writer.plan.files.length > 1).toBe(maxShardBytes < 5e9);
        for (const { name } of specs.toReversed()) await writer.write(name, await checkpoint.read(name));
        await writer.copyFile(folder, 'config.json');
        await writer.copySideFiles(folder);
        await writer.finish();
        const written = await openCheckpoint(await openFolder(target));
        for (const { name } of specs) {
          const same = Buffer.compare(await written.readRaw(name), await checkpoint.readRaw(name)) === 0;
          expect(same, name).toBe(true);
        }
        expect(written.config).toEqual(checkpoint.config);
        expect(readFileSync(join(target, 'tokenizer.json'))).toEqual(
          readFileSync(shared(`models/${name}/tokenizer.json`)),
        );
        await written.close();
      }
    } finally {
      rmSync(root, { recursive: true });
      await checkpoint.close();
    }
  },
);
