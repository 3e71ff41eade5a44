// What every run store must do, whatever keeps its bytes; and what is the folder's and the browser's own.

import { execFileSync, spawnSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { folderStore } from '../../src/disk/store.ts';
import { keptName, removeLeftovers, temporaryName } from '../../src/disk/temporary.ts';
import { InputError, OutOfMemoryError } from '../../src/errors.ts';
import { directoryStore } from '../../src/pipeline/store/opfs.ts';
import type { RunStore } from '../../src/pipeline/store/store.ts';
import { memoryStore } from '../../src/pipeline/store/store.ts';
import { fakeDirectory } from './directory.ts';

const root = mkdtempSync(join(tmpdir(), 'osscar-store-'));
afterAll(() => rmSync(root, { recursive: true }));
const newFolder = () => mkdtempSync(join(root, 'work-'));
const bytes = (text: string) => new TextEncoder().encode(text);
const text = (it?: Uint8Array) => it && new TextDecoder().decode(it);

describe.each<[string, () => Promise<RunStore> | RunStore]>([
  ['memory', memoryStore],
  ['a folder', () => folderStore(newFolder())],
  ['a browser folder with streams', () => directoryStore('run', fakeDirectory('stream'))],
  ['a browser folder with access handles', () => directoryStore('run', fakeDirectory('access'))],
])('a run store in %s', (_, open) => {
  test('keeps what is written until it is removed', async () => {
    const store = await open();
    expect(await store.read('a/b.c')).toBeUndefined();
    await store.write('a/b.c', bytes('long before'));
    await store.write('a/b.c', bytes('now'));
    await store.write('a', bytes(''));
    expect(text(await store.read('a/b.c'))).toBe('now');
    expect(text(await store.read('a'))).toBe('');
    await store.remove('a/b.c');
    await store.remove('a/b.c');
    expect(await store.read('a/b.c')).toBeUndefined();
    expect(await store.list()).toEqual(['a']);
  });

  test('lists the keys that begin as asked for, sorted', async () => {
    const store = await open();
    for (const key of ['b', 'run/2', 'run/10', 'run-1', 'a']) await store.write(key, bytes(key));
    expect(await store.list()).toEqual(['a', 'b', 'run-1', 'run/10', 'run/2']);
    expect(await store.list('run/')).toEqual(['run/10', 'run/2']);
    expect(await store.list('none')).toEqual([]);
  });

  test('shares no bytes with its callers', async () => {
    const store = await open();
    // Of a larger buffer: no more than the part is kept.
    const mine = Buffer.from('xabcx').subarray(1, 4);
    await store.write('a', mine);
    mine.fill(0);
    const read = await store.read('a');
    expect(text(read)).toBe('abc');
    read!.fill(0);
    expect(text(await store.read('a'))).toBe('abc');
  });

  test('refuses what is no key', async () => {
    const store = await open();
    for (const key of [
      '',
      '/',
      'a/',
      '/a',
      'a//b',
      '.',
      '..',
      'a/../b',
      '.hidden',
      'a/.b',
      'a.',
      'A',
      'ä',
      'a~b',
      'a\n',
    ]) {
      for (const action of [store.read, (it: string) => store.write(it, bytes('')), store.remove]) {
        await expect(action(key), key).rejects.toThrow(InputError);
      }
    }
    await expect(store.write('a'.repeat(201), bytes(''))).rejects.toThrow(InputError);
    await store.write('a'.repeat(200), bytes('longest'));
    expect(await store.list()).toHaveLength(1);
  });
});

/** A pid that no process has. */
const deadPid = () => spawnSync(process.execPath, ['--version']).pid;

describe('a run store in a folder', () => {
  test('makes the folder, and is found again by the next', async () => {
    const path = join(newFolder(), 'deep', 'er');
    const first = await folderStore(path);
    await first.write('a/b', bytes('kept'));
    await first.close();
    expect(readdirSync(path)).toEqual(['a~b']);
    const second = await folderStore(path);
    expect([second.name, text(await second.read('a/b'))]).toEqual([path, 'kept']);
    await second.close();
  });

  test('leaves the old artefact where a new one cannot be written', async () => {
    const path = newFolder();
    const store = await folderStore(path);
    await store.write('a', bytes('old'));
    mkdirSync(join(path, 'b'));
    await expect(store.write('b', bytes('new'))).rejects.toThrow(`"${join(path, 'b')}": is a folder`);
    await expect(store.read('b')).rejects.toThrow(`"${join(path, 'b')}": is a folder`);
    expect(readdirSync(path).filter((name) => !name.endsWith('-lock'))).toEqual(['a', 'b']);
    writeFileSync(join(path, 'file'), '');
    await expect(folderStore(join(path, 'file'))).rejects.toThrow(InputError);
  });

  test('says what is in the way of an artefact, and never waits for it', async () => {
    const path = newFolder();
    const store = await folderStore(path);
    execFileSync('mkfifo', [join(path, 'pipe')]);
    await expect(store.read('pipe')).rejects.toThrow(`"${join(path, 'pipe')}": not a file but a named pipe`);
    symlinkSync('/dev/zero', join(path, 'zero'));
    await expect(store.read('zero')).rejects.toThrow(`"${join(path, 'zero')}": not a file but a device`);
    writeFileSync(join(path, 'large'), '');
    truncateSync(join(path, 'large'), 2 ** 43);
    await expect(store.read('large')).rejects.toThrow(OutOfMemoryError);
    await store.close();
  });

  test('is one process’s at a time, which is named', async () => {
    const path = newFolder();
    const store = await folderStore(path);
    await expect(folderStore(path)).rejects.toThrow(`"${path}": in use by process ${process.pid}; `);
    await store.write('a', bytes('goes on'));
    await store.close();
    await (await folderStore(path)).close();
    expect(readdirSync(path)).toEqual(['a']);
  });

  test('takes over what a dead process held, with its unfinished files, and nothing of a living one', async () => {
    const path = newFolder();
    const held = await folderStore(path);
    const [lock] = readdirSync(path);
    await held.close();
    const ofDead = (name: string) => name.replace(`-${process.pid}-`, `-${deadPid()}-`);
    for (const name of [ofDead(lock), ofDead(basename(temporaryName(path)))])
      writeFileSync(join(path, name), '');
    await (await folderStore(path)).close();
    expect(readdirSync(path)).toEqual([]);

    // Its parent lives longer than this process; of a process elsewhere nothing can be known.
    const ofParent = lock.replace(/-\d+-[0-9a-f]*-/, `-${process.ppid}--`);
    const elsewhere = ofDead(lock).replace(/\.osscar-\w+/, '.osscar-00000000');
    for (const [name, pid] of [
      [ofParent, process.ppid],
      [elsewhere, /osscar-\w+-(\d+)/.exec(elsewhere)![1]],
    ]) {
      writeFileSync(join(path, `${name}`), '');
      await expect(folderStore(path)).rejects.toThrow(`in use by process ${pid}; `);
      expect(readdirSync(path)).toEqual([name]);
      rmSync(join(path, `${name}`));
    }
  });
});

describe('what processes leave behind', () => {
  test('is removed if they are dead: files, folders and those of a recycled pid', async () => {
    const path = newFolder();
    const mine = basename(temporaryName(path));
    const dead = mine.replace(`-${process.pid}-`, `-${deadPid()}-`);
    const recycled = mine.replace(/-[0-9a-f]*-(?=[0-9a-z]+\.tmp$)/, '-00000000-');
    mkdirSync(join(path, dead));
    for (const name of [join(dead, 'in it'), mine, recycled, 'other.tmp', '.osscar-notes.tmp']) {
      writeFileSync(join(path, name), '');
    }
    await removeLeftovers(path);
    const kept = [mine, 'other.tmp', '.osscar-notes.tmp'];
    // Other systems do not say when a process was started.
    if (process.platform !== 'linux') kept.push(recycled);
    expect(readdirSync(path).sort()).toEqual(kept.sort());
    await removeLeftovers(join(path, 'no such folder'));
  });

  test('is put back if it was about to be replaced, and was not', async () => {
    const path = newFolder();
    const old = keptName(join(path, 'model')).replace(`-${process.pid}-`, `-${deadPid()}-`);
    const keep = () => {
      mkdirSync(old);
      writeFileSync(join(old, 'config.json'), 'old');
    };
    keep();
    await removeLeftovers(path);
    expect(readFileSync(join(path, 'model', 'config.json'), 'utf8')).toBe('old');
    writeFileSync(join(path, 'model', 'config.json'), 'new');
    keep();
    await removeLeftovers(path);
    expect(readdirSync(path)).toEqual(['model']);
    expect(readFileSync(join(path, 'model', 'config.json'), 'utf8')).toBe('new');
  });
});

describe('a run store in a browser', () => {
  test.each(['stream', 'access'] as const)('has nothing of what was written by half: %s', async (way) => {
    const directory = fakeDirectory(way);
    const store = directoryStore('run', directory);
    await store.write('a', bytes('before'));
    directory.failing = true;
    await expect(store.write('a', bytes('new'))).rejects.toThrow();
    directory.failing = false;
    expect(await store.read('a')).toBeUndefined();
    expect(await store.list()).toEqual([]);
    await store.write('a', bytes('again'));
    expect(text(await store.read('a'))).toBe('again');
  });

  test('says where it cannot write', async () => {
    const store = directoryStore('run', fakeDirectory('none'));
    await expect(store.write('a', bytes(''))).rejects.toThrow(
      '"run/a": this browser writes files in web workers only',
    );
  });
});
