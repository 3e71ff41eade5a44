// Names of temporary files and folders that say whose they are, so that what a dead process has left can be removed.

import { createHash } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { InputError } from '../errors.ts';

const attempt = (read: () => string) => {
  try {
    return read();
  } catch {
    return '';
  }
};
/** What is asked of the system when it is first needed, and not when the library is imported. */
function once(read: () => string): () => string {
  let found: string | undefined;
  return () => (found ??= read());
}
const short = (text: string) => createHash('sha256').update(text).digest('hex').slice(0, 8);

/** Whose pids these are: the machine's and, in Linux, the container's. Of other processes nothing can be known. */
const thisHost = once(() => short(hostname() + attempt(() => readlinkSync('/proc/self/ns/pid'))));

/** Tells a process from those that had its pid before it, or before the machine's last start; Linux only, else ''. */
function birth(pid: number): string {
  const status = attempt(() => readFileSync(`/proc/${pid}/stat`, 'utf8'));
  // After the program's name, which may hold anything: the state, and as the 20th the time in ticks since the start.
  const fields = status.slice(status.lastIndexOf(')') + 2).split(' ');
  if (fields.length < 20) return '';
  if ('ZX'.includes(fields[0])) return 'ended'; // its parent has not taken notice
  return short(attempt(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8')) + fields[19]);
}

const own = once(() => `.osscar-${thisHost()}-${process.pid}-${birth(process.pid)}`);
const OWNED = /^\.osscar-([0-9a-f]{8})-(\d+)-([0-9a-f]*)-(?:lock|[0-9a-z]+\.tmp|[0-9a-z]+\.old-(.+))$/;

function mayLive(pid: number, born: string): boolean {
  try {
    process.kill(pid, 0);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ESRCH') return false;
  }
  const now = birth(pid);
  return now === '' || born === '' || now === born;
}

const random = () => Math.random().toString(36).slice(2, 10);

/** Of a file or folder to be made in a folder; hidden. */
export const temporaryName = (folder: string) => join(folder, `${own()}-${random()}.tmp`);

/** Where `path` is kept while another takes its place. */
export const keptName = (path: string) => join(dirname(path), `${own()}-${random()}.old-${basename(path)}`);

/**
 * Removes what dead processes have left in a folder, and puts back what one was about to replace. What may be of a
 * living process stays, and so does what cannot be removed.
 */
export async function removeLeftovers(folder: string): Promise<void> {
  for (const name of await readdir(folder).catch(() => [])) {
    const [, host, pid, born, kept] = OWNED.exec(name) ?? [];
    if (host !== thisHost() || mayLive(Number(pid), born)) continue;
    const path = join(folder, name);
    const replaced = !kept || (await stat(join(folder, kept)).catch(() => undefined));
    await (replaced ? rm(path, { recursive: true }) : rename(path, join(folder, kept))).catch(() => {});
  }
}

/**
 * Holds a folder for this process until what it returns is called, or the process ends.
 *
 * @throws {InputError} naming the process that holds it
 */
export async function lockFolder(folder: string): Promise<() => Promise<void>> {
  await removeLeftovers(folder);
  const lock = join(folder, `${own()}-lock`);
  const locks = async () =>
    (await readdir(folder)).filter((name) => name.endsWith('-lock')).map((name) => join(folder, name));
  const [before] = await locks();
  if (!before) await writeFile(lock, '', { flag: 'wx' });
  // Of two that come at once each sees the other's.
  const other = before ?? (await locks()).find((it) => it !== lock);
  if (!other) return () => rm(lock, { force: true });
  if (!before) await rm(lock, { force: true });
  const pid = OWNED.exec(basename(other))?.[2];
  throw new InputError(
    `"${folder}": in use by process ${pid}; if that is no run of osscar, remove "${other}"`,
  );
}
