// Labels of a folder's files, and what is said of its other ones: loaded where there is any of it, and with as few imports as that needs.

import { InputError } from '../errors.ts';
import type { LabeledFile } from '../pipeline/index.ts';
import { counted } from '../printable.ts';
import type { LabelRow } from './labels.ts';

/** What files of samples are. */
export interface Medium {
  readonly name: RegExp;
  /** For messages. */
  readonly formats: string;
  readonly one: string;
}

/** What is in a folder and its sub-folders. */
export interface Listed {
  readonly files: readonly LabeledFile[];
  readonly direct: number;
  readonly classes?: string[];
  readonly others: readonly string[];
  readonly deeper: readonly string[];
  readonly dangling: number;
}

/** How many files of each kind, as `4 .webp, 1 .txt`, the most first. */
function kindsOf(files: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const file of files) {
    const kind = /[^/]\.[^./]+$/.test(file)
      ? file.slice(file.lastIndexOf('.')).toLowerCase()
      : 'without an ending';
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
  }
  const sorted = [...counts].sort(([, a], [, b]) => b - a);
  const rest = sorted.length > MOST_KINDS ? [`${sorted.length - MOST_KINDS} other kinds`] : [];
  return [...sorted.slice(0, MOST_KINDS).map(([kind, n]) => `${n} ${kind}`), ...rest].join(', ');
}
const MOST_KINDS = 4;

const linksText = (dangling: number) => `${counted(dangling, 'link')} to what is not there`;

/** Of kinds that are not read. */
const PICTURE = /\.(gif|bmp|tiff?|hei[cf]|jp2|jxl|p[bgnp]m|svg|dng|nef|cr2)$/i;

/**
 * What a folder without a single sample holds instead.
 *
 * @param folder  its path, and that of the sub-folder with folders in it
 * @param hint  what makes samples of the first of the others
 */
export function noSamples(
  folder: { readonly path: string; readonly below: string },
  { formats, one }: Medium,
  { others, deeper, dangling }: Listed,
  hint: string,
): InputError {
  const instead =
    deeper.length > 0
      ? `; its sub-folders hold folders: is "${folder.below}" meant?`
      : others.length > 0
        ? `, but ${kindsOf(others)}${others.some((it) => PICTURE.test(it)) ? ': convert them' : hint}`
        : dangling > 0
          ? `, but ${linksText(dangling)}`
          : '';
  return new InputError(`"${folder.path}": no ${formats} ${one}s in the folder${instead}`);
}

/** Which files of a folder are no samples. */
export function ignoredText(
  path: string,
  { formats, one }: Medium,
  { files, deeper, dangling }: Listed,
  ignored: readonly string[],
): string {
  const skipped = [
    ...(ignored.length > 0 ? [`${counted(ignored.length, 'file')} (${kindsOf(ignored)})`] : []),
    ...(deeper.length > 0 ? [`${counted(deeper.length, 'folder')} within its sub-folders`] : []),
    ...(dangling > 0 ? [linksText(dangling)] : []),
  ];
  return `"${path}": ignored ${skipped.join(' and ')}; only ${formats} is read (${counted(files.length, one)})`;
}

const lastOf = (path: string) => path.split(/[/\\]/).pop()!;

/**
 * Gives every file the label of its row; rows name a file by its path in the folder or by its base name.
 *
 * @param of  the rows' file, the folder, what a file is, and what is said of rows with more columns
 */
export function labeledBy(
  rows: readonly LabelRow[],
  files: readonly LabeledFile[],
  of: { readonly path: string; readonly folder: string; readonly one: string; readonly more: string },
): LabeledFile[] {
  const labeled: LabeledFile[] = files.map(({ path }) => ({ path }));
  const byName = new Map<string, LabeledFile[]>();
  for (const file of labeled) {
    const names = new Set([file.path, lastOf(file.path)]);
    for (const name of names) {
      const alike = byName.get(name);
      if (alike) alike.push(file);
      else byName.set(name, [file]);
    }
  }
  if (rows.length === 0) throw new InputError(`"${of.path}": expected lines file,label, and there are none`);
  for (const { file: name, label, at } of rows) {
    const found = byName.get(name) ?? [];
    // A file directly in the folder is meant by its name even if a sub-folder has another of that name.
    const file = found.length > 1 ? found.find(({ path }) => path === name) : found[0];
    if (!file) {
      const reason =
        found.length > 1
          ? `"${name}" is in several folders`
          : `there is no ${of.one} "${name}" in "${of.folder}"${hintFor(name, byName, of.more)}`;
      throw new InputError(`${at}: ${reason}`);
    }
    if (file.label !== undefined && file.label !== label) {
      throw new InputError(`${at}: "${name}" has label ${file.label} already, got ${label}`);
    }
    file.label = label;
  }
  const missing = labeled.find(({ label }) => label === undefined);
  if (missing) throw new InputError(`"${of.path}": no label for "${missing.path}"`);
  return labeled;
}

/** Of a name with folders before it, without its ending, or with another column beside it. */
function hintFor(name: string, byName: ReadonlyMap<string, unknown>, more: string): string {
  const columns = name.split(',');
  if (columns.length > 1 && columns.some((it) => byName.has(it))) return `; ${more}`;
  const last = lastOf(name);
  const meant = [...byName.keys()].find((it) => it === last || it.replace(/\.[^.]+$/, '') === last);
  return meant === undefined ? '' : `; is "${meant}" meant?`;
}
