// Faults at every operation that writes: afterwards there is the old output or the new one, whole.

import fs, {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, join, relative } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import { CheckpointWriter, openCheckpoint, planSafetensors } from '../../src/checkpoint/index.ts';
import { externalReader } from '../../src/disk/files.ts';
import { createFolder, openFolder } from '../../src/disk/folder.ts';
import { openFileOutput, openModelFolderOutput } from '../../src/disk/output.ts';
import { scratchFile } from '../../src/disk/scratch.ts';
import { folderStore } from '../../src/disk/store.ts';
import { InputError } from '../../src/errors.ts';
import { readModel, toFloat32, writeModel } from '../../src/graph/index.ts';
import type { PruneResult } from '../../src/pipeline/index.ts';
import { node } from '../../src/pool/platform.node.ts';
import { temporaryFolder } from '../cli/osscar.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { Disk, type Fault } from './disk.ts';

const folder = temporaryFolder();
const FAULTS: readonly Fault[] = ['ENOSPC', 'EIO', 'killed'];
const temporaries = (path: string) => readdirSync(path).filter((name) => name.startsWith('.osscar-'));

/**
 * Writes over what `before` has written, once for each operation that can fail, in a folder of its own.
 *
 * @returns how many faults there were
 */
async function failEverywhere(
  fault: Fault,
  before: (path: string) => Promise<unknown>,
  write: (path: string) => Promise<unknown>,
  check: (path: string, wasWritten: boolean) => Promise<void>,
): Promise<number> {
  for (let at = 0; ; at++) {
    const path = mkdtempSync(join(folder, 'fault-'));
    await before(path);
    const { count, error } = await Disk.run(fault, at, () => write(path));
    await check(path, error === undefined);
    if (fault !== 'killed') {
      // Named as a fault of the disk, and nothing left behind.
      if (error !== undefined) expect(error).toBeInstanceOf(InputError);
      if (error !== undefined) expect(temporaries(path)).toEqual([]);
    }
    rmSync(path, { recursive: true });
    if (at >= count) return at;
  }
}

describe('two runs on one output', () => {
  const written = (externalName?: string) =>
    ({
      written: { model: new Uint8Array(9), external: [new Uint8Array(5)], externalName },
    }) as never as PruneResult;

  test('do not mix: the second to end is refused, and the first is whole', async () => {
    for (const overwrite of [false, true]) {
      const path = mkdtempSync(join(folder, 'two-'));
      const [first, second] = [
        await openFileOutput(join(path, 'm.onnx'), { overwrite }),
        await openFileOutput(join(path, 'm.onnx'), { overwrite }),
      ];
      await first.save(written(first.externalName), () => false, '');
      await expect(second.save(written(second.externalName), () => false, '')).rejects.toThrow(
        /exists already/,
      );
      expect(readdirSync(path).sort()).toEqual(['m.onnx', 'm.onnx.data']);
    }
  });

  test('do not replace each other’s model without a data file, unless they may', async () => {
    const path = join(mkdtempSync(join(folder, 'two-')), 'm.onnx');
    const small = (byte: number) =>
      ({ written: { model: new Uint8Array(3).fill(byte) } }) as never as PruneResult;
    const [first, second, third] = [
      await openFileOutput(path, {}),
      await openFileOutput(path, {}),
      await openFileOutput(path, { overwrite: true }),
    ];
    await first.save(small(1), () => false, '');
    await expect(second.save(small(2), () => false, '')).rejects.toThrow(/exists already/);
    expect([...readFileSync(path)]).toEqual([1, 1, 1]);
    await third.save(small(3), () => false, '');
    expect([...readFileSync(path)]).toEqual([3, 3, 3]);
  });

  test('in a file whose name no data file may have, there are no weights lost', async () => {
    const path = mkdtempSync(join(folder, 'name-'));
    const { externalName, save } = await openFileOutput(join(path, 'm:0.5.onnx'), {});
    const b = new OnnxBuilder();
    const model = await readModel(b.output(b.gemm(b.input([64]), 64)).build());
    expect(writeModel(model, { externalName, externalThreshold: 0 }).external).toBeDefined();
    await save(written(externalName), () => false, '');
    expect(readdirSync(path).sort()).toEqual(['m:0.5.onnx', 'm_0.5.onnx.data']);
  });

  test('one after the other, the data file of the first goes, and what the run reads stays', async () => {
    const path = mkdtempSync(join(folder, 'next-'));
    const save = async (read?: string) => {
      const output = await openFileOutput(relative('', join(path, 'm.onnx')), { overwrite: true });
      await output.save(written(output.externalName), (file) => file === read, '');
      return readdirSync(path).sort();
    };
    expect(await save()).toEqual(['m.onnx', 'm.onnx.data']);
    expect(await save(join(path, 'm.onnx.data'))).toEqual(['m.onnx', 'm.onnx.1.data', 'm.onnx.data']);
    expect(await save()).toEqual(['m.onnx', 'm.onnx.2.data']);
    expect(await save()).toEqual(['m.onnx', 'm.onnx.data']);
    for (const own of ['m.onnx.b.data', 'm.onnx.data.txt', 'am.onnx.data'])
      writeFileSync(join(path, own), 'own');
    expect(await save()).toEqual([
      'am.onnx.data',
      'm.onnx',
      'm.onnx.1.data',
      'm.onnx.b.data',
      'm.onnx.data.txt',
    ]);
  });

  test('take no file for data of a model that is not there', async () => {
    const path = mkdtempSync(join(folder, 'own-'));
    writeFileSync(join(path, 'm.onnx.data'), 'own');
    const output = await openFileOutput(join(path, 'm.onnx'), {});
    await output.save(written(output.externalName), () => false, '');
    expect(readdirSync(path).sort()).toEqual(['m.onnx', 'm.onnx.1.data', 'm.onnx.data']);
  });

  test('do not take the file of another for what they have written', async () => {
    const path = join(mkdtempSync(join(folder, 'back-')), 'm.onnx');
    writeFileSync(`${path}.data`, 'old');
    const output = await openFileOutput(path, { overwrite: true });
    const other = () => {
      writeFileSync(path, 'other');
      return true;
    };
    await expect(output.save(written(output.externalName), other, '')).rejects.toThrow(
      `${path} does not hold what was written to it`,
    );
  });
});

test('of a folder with a model everything is taken along but models and their data', async () => {
  const [source, target] = [mkdtempSync(join(folder, 'source-')), join(folder, 'target')];
  mkdirSync(join(source, 'onnx'));
  const files = [
    'config.json',
    ...['model.onnx', 'model.onnx_data', 'model_fp16.onnx'].map((it) => `onnx/${it}`),
  ];
  for (const file of files) writeFileSync(join(source, file), file);
  symlinkSync('..', join(source, 'onnx/around')); // has all of it again
  const output = await openModelFolderOutput(target, source, join(source, 'onnx/model.onnx'), {});
  const written = { model: new Uint8Array([1, 2]), external: [new Uint8Array([3])] };
  const { path } = await output.save({ written } as never as PruneResult, () => false, 'card');
  const there = readdirSync(target, { recursive: true, encoding: 'utf8' }).sort();
  expect(there).toEqual(['README.md', 'config.json', 'onnx', 'onnx/model.onnx', 'onnx/model.onnx_data']);
  expect([...readFileSync(path), ...readFileSync(`${path}_data`)]).toEqual([1, 2, 3]);
});

test('nor are the data of a model that has none any more', async () => {
  const [source, target] = [mkdtempSync(join(folder, 'source-')), join(folder, 'target-2')];
  for (const file of ['m.onnx', 'm.onnx_data']) writeFileSync(join(source, file), file);
  const output = await openModelFolderOutput(target, source, join(source, 'm.onnx'), {});
  await output.save({ written: { model: new Uint8Array(2) } } as never as PruneResult, () => false, '');
  expect(readdirSync(target).sort()).toEqual(['README.md', 'm.onnx']);
});

test('a folder with a model takes the place of no other, even of one that came meanwhile', async () => {
  const [source, target] = [mkdtempSync(join(folder, 'source-')), join(folder, 'target-3')];
  writeFileSync(join(source, 'm.onnx'), 'm');
  const open = () => openModelFolderOutput(target, source, join(source, 'm.onnx'), { overwrite: true });
  const output = await open();
  mkdirSync(target);
  writeFileSync(join(target, 'letter.txt'), 'own');
  const result = { written: { model: new Uint8Array(2) } } as never as PruneResult;
  await expect(output.save(result, () => false, '')).rejects.toThrow("is not a model's folder");
  await expect(open()).rejects.toThrow("is not a model's folder");
  await output.close();
  expect(readdirSync(target)).toEqual(['letter.txt']);
});

describe.each(FAULTS)('%s at every operation', (fault) => {
  test.each([
    ['a model with a data file', 0],
    ['a model in one file', 2 ** 30],
  ])('leaves the old or the new of %s', async (_, externalThreshold) => {
    const save = async (path: string, seed: number) => {
      const output = await openFileOutput(join(path, 'm.onnx'), { overwrite: true });
      const b = new OnnxBuilder({ seed });
      const bytes = b.output(b.gemm(b.input([40]), 40)).build();
      const written = writeModel(await readModel(bytes), {
        externalThreshold,
        externalName: output.externalName,
      });
      await output.save({ written } as PruneResult, () => false, '');
    };
    const weightsOf = async (path: string) => {
      const file = join(path, 'm.onnx');
      const model = await readModel(new Uint8Array(readFileSync(file)), { external: externalReader(file) });
      const [weight] = model.tensors.values();
      return toFloat32(weight);
    };
    const [old, fresh] = await Promise.all(
      [1, 2].map(async (seed) => {
        const path = mkdtempSync(join(folder, 'whole-'));
        await save(path, seed);
        return weightsOf(path);
      }),
    );
    expect(old).not.toEqual(fresh);
    const seen = { old: 0, fresh: 0 };
    const points = await failEverywhere(
      fault,
      (path) => save(path, 1),
      (path) => save(path, 2),
      async (path, wasWritten) => {
        const weights = await weightsOf(path);
        const isFresh = weights.every((value, i) => value === fresh[i]);
        if (!isFresh) expect(weights).toEqual(old);
        if (wasWritten) expect(isFresh).toBe(true);
        seen[isFresh ? 'fresh' : 'old']++;
        // The model, its data, and what could not be removed of the other one's: of the new one where there was no time to.
        const names = readdirSync(path).filter((name) => !name.startsWith('.osscar-'));
        const most = isFresh || fault === 'killed' ? 3 : 2;
        expect(names.length).toBeLessThanOrEqual(externalThreshold === 0 ? most : 1);
      },
    );
    expect(points).toBeGreaterThan(externalThreshold === 0 ? 8 : 4);
    expect(seen.old).toBeGreaterThan(2);
    expect(seen.fresh).toBeGreaterThan(0);
  });

  test('leaves the old or the new of a folder', async () => {
    const save = async (path: string, value: number) => {
      const output = await createFolder(join(path, 'model'), { overwrite: true });
      const writer = new CheckpointWriter(
        output,
        planSafetensors([{ name: 'w', dtype: 'float32', shape: [300] }]),
      );
      try {
        await writer.write('w', new Float32Array(300).fill(value));
        await writer.writeFile('config.json', new TextEncoder().encode(JSON.stringify({ value })));
        await writer.finish();
      } finally {
        await output.abort().catch(() => {});
      }
    };
    const valueIn = async (path: string) => {
      const checkpoint = await openCheckpoint(await openFolder(path));
      const values = new Set(await checkpoint.read('w'));
      await checkpoint.close();
      expect([...values]).toEqual([checkpoint.config.value]);
      return checkpoint.config.value;
    };
    const seen = [0, 0, 0];
    const points = await failEverywhere(
      fault,
      (path) => save(path, 1),
      (path) => save(path, 2),
      async (path, wasWritten) => {
        // Killed between the two renames, the old folder waits beside it for the next run, which puts it back.
        const kept = temporaries(path).find((name) => name.endsWith('.old-model'));
        const there = existsSync(join(path, 'model')) ? 'model' : kept!;
        if (there === kept) expect(fault).toBe('killed');
        const value = Number(await valueIn(join(path, there)));
        if (wasWritten) expect([basename(there), value]).toEqual(['model', 2]);
        seen[value]++;
      },
    );
    expect(points).toBeGreaterThan(8);
    expect(seen[1]).toBeGreaterThan(4);
    expect(seen[2]).toBeGreaterThan(0);
  });

  test('leaves the old or the new of what a work folder keeps', async () => {
    const put = async (path: string, value: number) => {
      const store = await folderStore(join(path, 'work'));
      try {
        await store.write('a', new Uint8Array(1000).fill(value));
      } finally {
        await store.close().catch(() => {});
      }
    };
    const points = await failEverywhere(
      fault,
      (path) => put(path, 1),
      (path) => put(path, 2),
      async (path, wasWritten) => {
        // A lock of this very process would be one of a living run.
        for (const name of readdirSync(join(path, 'work')))
          if (name.endsWith('-lock')) rmSync(join(path, 'work', name));
        const store = await folderStore(join(path, 'work'));
        const [value, ...others] = new Set(await store.read('a'));
        await store.close();
        expect(others).toEqual([]);
        expect(wasWritten ? [2] : [1, 2]).toContain(value);
      },
    );
    expect(points).toBeGreaterThan(4);
  });
});

test('a scratch file on a disk that is full says which one, and goes', async () => {
  for (let at = 0; ; at++) {
    const path = mkdtempSync(join(folder, 'scratch-'));
    const file = scratchFile(path);
    const { count, error } = await Disk.run('ENOSPC', at, () => file.write(0, new Float32Array(9)));
    if (at >= count) {
      await file.close();
      expect([at, temporaries(path)]).toEqual([2, []]);
      return;
    }
    expect(error).toBeInstanceOf(InputError);
    expect((error as Error).message).toMatch(/\.osscar-[^"]+": no space left$/);
    await file.close().catch((cause) => expect(cause).toBe(error));
    expect(temporaries(path)).toEqual([]);
  }
});

test('the file of a layer in tiles too', async () => {
  await expect(node.scratch(join(folder, 'missing'))).rejects.toThrow(
    /osscar-tiles-[^"]+": no such file or folder$/,
  );
  const write = vi.spyOn(fs, 'writeSync').mockImplementationOnce(() => 3);
  write.mockImplementationOnce(() => {
    throw Object.assign(new Error('full'), { code: 'ENOSPC' });
  });
  const file = await node.scratch(folder);
  expect(() => file.write(new Uint8Array(9), { at: 0 })).toThrow(/osscar-tiles-[^"]+": no space left$/);
  write.mockRestore();
  file.close();
});
