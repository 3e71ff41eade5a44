import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { CheckpointWriter, openCheckpoint, planSafetensors } from '../../src/checkpoint/index.ts';
import { createFolder, openFolder } from '../../src/disk/folder.ts';
import { InputError } from '../../src/errors.ts';
import { bytesOf, json, safetensors, text } from './support.ts';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'osscar-folder-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const openHandles = () => readdirSync('/dev/fd').length;

describe('a folder on disk', () => {
  test('lists files, also behind links and where these lead nowhere, and reads their parts', async () => {
    const model = join(root, 'snapshots', '0123'); // as in a download cache
    mkdirSync(join(model, 'sub'), { recursive: true });
    mkdirSync(join(root, 'blobs'));
    writeFileSync(join(root, 'blobs', 'b'), 'hello');
    symlinkSync('../../blobs/b', join(model, 'a'));
    symlinkSync(join(root, 'gone'), join(model, 'dangling'));
    const folder = await openFolder(model);
    symlinkSync('../../../blobs/b', join(model, 'sub', 'c'));
    expect(await folder.list()).toEqual(['a', 'dangling']);
    expect(await folder.list('sub')).toEqual(['c']);
    expect(await folder.list('none')).toEqual([]);
    expect(await folder.read('sub/c', 1, 3)).toEqual(text('ell'));
    expect(await folder.size('a')).toBe(5);
    expect(await folder.read('a', 1, 3)).toEqual(text('ell'));
    await expect(folder.read('a', 3, 3)).rejects.toThrow(`"${join(model, 'a')}": expected bytes 3 to 6`);
    await folder.close();
  });

  test('opens as a checkpoint', async () => {
    writeFileSync(join(root, 'config.json'), json({ vocab_size: 7 }));
    const header = { w: { dtype: 'F32', shape: [2], data_offsets: [0, 8] } };
    writeFileSync(join(root, 'model.safetensors'), safetensors(header, bytesOf([1, 2])));
    const checkpoint = await openCheckpoint(await openFolder(root));
    expect(await checkpoint.read('w')).toEqual(Float32Array.of(1, 2));
    expect(checkpoint.config).toEqual({ vocab_size: 7 });
    await checkpoint.close();
  });

  test('reads and writes tensors that lie past 4 GiB, and those only', async () => {
    const bytes = 5 * 2 ** 30;
    const specs = [
      { name: 'a', dtype: 'int8', shape: [bytes] },
      { name: 'b', dtype: 'int8', shape: [2] },
    ] as const;
    const plan = planSafetensors(specs, { maxShardBytes: 2 * bytes });
    const { file, offset, bytes: length } = plan.tensors.get('b')!;
    expect(offset).toBeGreaterThan(2 ** 32);
    writeFileSync(join(root, 'config.json'), json({}));
    writeFileSync(join(root, file), plan.files[0].header);
    truncateSync(join(root, file), offset + length); // sparse: no disk is used
    const output = await createFolder(join(root, 'out'));
    await output.writeAt('big', offset, text('hi'));
    expect(await output.size('big')).toBe(offset + 2);
    expect(await output.read('big', offset, 2)).toEqual(text('hi'));
    await output.abort();
    const checkpoint = await openCheckpoint(await openFolder(root));
    const before = process.memoryUsage().arrayBuffers;
    expect(await checkpoint.readRaw('b')).toEqual(new Uint8Array(2));
    expect(await checkpoint.readRaw('a', bytes - 3)).toEqual(new Uint8Array(3));
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(2 ** 20);
    await checkpoint.close();
  });

  test('keeps a file open until it is closed, and reads nothing afterwards', async () => {
    writeFileSync(join(root, 'a'), 'abc');
    const before = openHandles();
    const folder = await openFolder(root);
    await Promise.all([folder.read('a', 0, 1), folder.read('a', 1, 1), folder.size('a')]);
    expect(openHandles()).toBe(before + 1);
    await folder.close();
    expect(openHandles()).toBe(before);
    await expect(folder.read('a', 0, 1)).rejects.toThrow('closed');
  });

  test('is of one time: a file that is written to is refused, one that another takes the place of is read on', async () => {
    const [file, other] = [join(root, 'a'), join(root, 'b')];
    writeFileSync(file, 'abc');
    const folder = await openFolder(root);
    expect(await folder.read('a', 0, 1)).toEqual(Uint8Array.of(97));
    writeFileSync(other, 'xyz');
    renameSync(other, file);
    expect(await folder.read('a', 1, 1)).toEqual(Uint8Array.of(98));
    await folder.close();
    const again = await openFolder(root);
    expect(await again.read('a', 0, 1)).toEqual(Uint8Array.of(120));
    writeFileSync(file, 'abc');
    utimesSync(file, 1, 1); // clocks of file systems are slow
    await expect(again.read('a', 1, 1)).rejects.toThrow(
      new InputError(`"${file}": was written to while it was read; start again on what it is now`),
    );
    await again.close();
  });

  test('is an error of one line where there is none, or a file, or one that cannot be read', async () => {
    writeFileSync(join(root, 'a'), '');
    await expect(openFolder(join(root, 'no'))).rejects.toThrow(
      `"${join(root, 'no')}": no such file or folder`,
    );
    await expect(openFolder(join(root, 'a'))).rejects.toThrow(`"${join(root, 'a')}": not a folder`);
    const folder = await openFolder(root);
    await expect(folder.size('no')).rejects.toThrow(`"${join(root, 'no')}": no such file or folder`);
    mkdirSync(join(root, 'sub'));
    await expect(folder.size('sub')).rejects.toThrow(`"${join(root, 'sub')}": not a file`);
    execFileSync('mkfifo', [join(root, 'pipe')]);
    await expect(folder.size('pipe')).rejects.toThrow('not a file');
  });

  test('does not leave the folder', async () => {
    mkdirSync(join(root, 'model'));
    writeFileSync(join(root, 'secret'), 'secret');
    const folder = await openFolder(join(root, 'model'));
    for (const name of ['../secret', join(root, 'secret'), '..', 'sub/../../secret']) {
      await expect(folder.read(name, 0, 1), name).rejects.toThrow('expected the plain name of a file');
    }
    await expect(folder.list('..')).rejects.toThrow('expected the plain name of a file');
    mkdirSync(join(root, 'other'));
    writeFileSync(join(root, 'other', 'secret'), 'secret');
    symlinkSync('../other', join(root, 'model', 'link'));
    await expect(folder.read('link/secret', 0, 1)).rejects.toThrow('leads out of its folder');
  });
});

describe('a folder made on disk', () => {
  const plan = planSafetensors([{ name: 'w', dtype: 'float32', shape: [2] }]);
  const target = () => join(root, 'out');

  async function write(options?: { overwrite?: boolean }): Promise<CheckpointWriter> {
    const writer = new CheckpointWriter(await createFolder(target(), options), plan);
    await writer.writeFile('config.json', json({ new: true }));
    await writer.write('w', Float32Array.of(1, 2));
    return writer;
  }

  test('appears when it is finished, and not before', async () => {
    const before = openHandles();
    const writer = await write();
    expect(existsSync(target())).toBe(false);
    await writer.finish(async (written) => {
      expect(existsSync(target())).toBe(false);
      expect(await (await openCheckpoint(written)).read('w')).toEqual(Float32Array.of(1, 2));
    });
    expect(readdirSync(root)).toEqual(['out']);
    const checkpoint = await openCheckpoint(await openFolder(target()));
    expect(await checkpoint.read('w')).toEqual(Float32Array.of(1, 2));
    await checkpoint.close();
    await writer.abort();
    expect(readdirSync(target()).sort()).toEqual(['config.json', 'model.safetensors']);
    expect(openHandles()).toBe(before);
  });

  test('leaves nothing when it is aborted, or its check fails', async () => {
    const before = openHandles();
    await (await write()).abort();
    expect(readdirSync(root)).toEqual([]);
    const failing = (await write()).finish(async () => {
      throw new Error('not as predicted');
    });
    await expect(failing).rejects.toThrow('not as predicted');
    expect(readdirSync(root)).toEqual([]);
    expect(openHandles()).toBe(before);
  });

  test('takes no bytes once it is aborted', async () => {
    const folder = await createFolder(target());
    await folder.writeAt('a', 0, text('a'));
    await folder.abort();
    await expect(folder.writeAt('a', 1, text('b'))).rejects.toThrow('it is aborted');
    expect(readdirSync(root)).toEqual([]);
  });

  test('does not take the place of what is there', async () => {
    mkdirSync(target());
    await expect(createFolder(target())).rejects.toThrow(`"${target()}": exists already`);
    rmSync(target(), { recursive: true });
    const writer = await write();
    mkdirSync(target()); // meanwhile
    await expect(writer.finish()).rejects.toThrow('exists already');
    expect(readdirSync(root)).toEqual(['out']);
    expect(readdirSync(target())).toEqual([]);
  });

  test('takes the place of a model’s folder when it may, and only when it is finished', async () => {
    mkdirSync(target());
    writeFileSync(join(target(), 'config.json'), 'old');
    writeFileSync(join(target(), 'old.bin'), 'old');
    const aborted = await write({ overwrite: true });
    expect(readFileSync(join(target(), 'config.json'), 'utf8')).toBe('old');
    await aborted.abort();
    expect(readdirSync(target())).toEqual(['config.json', 'old.bin']);
    await (await write({ overwrite: true })).finish();
    expect(readdirSync(root)).toEqual(['out']);
    expect(readdirSync(target())).toEqual(['config.json', 'model.safetensors']);
  });

  test('never takes the place of a file, a link or a folder that holds something else', async () => {
    writeFileSync(target(), 'a file');
    await expect(createFolder(target(), { overwrite: true })).rejects.toThrow('is not a folder');
    rmSync(target());
    mkdirSync(join(root, 'home'));
    symlinkSync(join(root, 'home'), target());
    await expect(createFolder(target(), { overwrite: true })).rejects.toThrow('is not a folder');
    writeFileSync(join(root, 'home', 'thesis.tex'), '');
    await expect(createFolder(join(root, 'home'), { overwrite: true })).rejects.toThrow('no config.json');
    expect(readdirSync(root).sort()).toEqual(['home', 'out']);
  });

  test('is an error of one line where none can be made', async () => {
    const error = await createFolder(join(root, 'no', 'out')).catch((it) => it);
    expect(error).toBeInstanceOf(InputError);
    expect(error.message).toBe(
      `"${join(root, 'no')}": no such file or folder; make it first, then what goes into it`,
    );
    const folder = await createFolder(target());
    await expect(folder.writeAt('../escaped', 0, text('a'))).rejects.toThrow('plain name of a file');
    await folder.abort();
    expect(readdirSync(root)).toEqual([]);
  });

  test('leaves both folders as they were when it cannot be put in place', async () => {
    mkdirSync(target());
    writeFileSync(join(target(), 'config.json'), 'old');
    const writer = await write({ overwrite: true });
    // The hidden folder is gone when it comes to the rename.
    const failing = writer.finish(async () => {
      const hidden = readdirSync(root).find((name) => name.startsWith('.osscar-'))!;
      rmSync(join(root, hidden), { recursive: true });
    });
    await expect(failing).rejects.toThrow(InputError);
    expect(readdirSync(root)).toEqual(['out']);
    expect(readFileSync(join(target(), 'config.json'), 'utf8')).toBe('old');
  });
});
