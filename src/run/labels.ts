// Labels in a .csv file: lines `file,label`.

import { InputError } from '../errors.ts';
import { decodeUtf8 } from '../json.ts';
import { linesOf } from './lines.ts';

/** Names of images, and of audio. */
export const IMAGE = /\.(png|jpe?g|webp|avif)$/i;
export const AUDIO = /\.wav$/i;
/** The number of a class. */
export const CLASS = /^\d{1,9}$/;
const isSample = (name: string) => IMAGE.test(name) || AUDIO.test(name);

/** Of lines with more columns. */
export const ONLY_TWO = 'lines are file,label and no other column (pandas: index=False)';

/** A label of a file, and where it stands, for messages. */
export interface LabelRow {
  readonly file: string;
  readonly label: number;
  readonly at: string;
}

const unquote = (text: string) => /^"(.*)"$/.exec(text)?.[1].replaceAll('""', '"') ?? text;

/**
 * Lines `file,label`; a first line whose label is no number and whose file is no image and no audio is a header.
 *
 * @throws {InputError} naming the line
 * @throws {FormatError} where the bytes are no text
 */
export function parseLabels(bytes: Uint8Array, path: string): LabelRow[] {
  const rows: LabelRow[] = [];
  for (const { line, number } of linesOf(decodeUtf8(bytes, `"${path}"`), path)) {
    if (line.trim() === '') continue;
    const at = `"${path}" line ${number}`;
    const comma = line.lastIndexOf(',');
    const file = unquote(line.slice(0, comma).trim()).replaceAll('\\', '/').replace(/^\.\//, '');
    const value = unquote(line.slice(comma + 1).trim());
    if (number === 1 && comma > 0 && !isSample(file) && !/^[-+\d]/.test(value)) continue;
    if (comma <= 0) throw new InputError(`${at}: expected file,label, got "${line}"`);
    if (isSample(value)) throw new InputError(`${at}: expected file,label, the file first, got "${line}"`);
    if (!CLASS.test(value)) {
      const hint = isSample(file) || !file.includes(',') ? "the model's first class is 0" : ONLY_TWO;
      throw new InputError(`${at}: expected a class number as label, got "${value}"; ${hint}`);
    }
    rows.push({ file, label: Number(value), at });
  }
  return rows;
}
