// Where reports go: a page and its JSON where they are asked for, and the JSON into the folder that keeps a run.

import { lstat } from 'node:fs/promises';
import { join } from 'node:path';
import {
  checkFolder,
  checkReplacing,
  checkWritable,
  isFile,
  named,
  readFileBytes,
  realPlace,
  unlessMissing,
  writeAtomically,
  writeTogether,
} from '../disk/files.ts';
import { InputError } from '../errors.ts';
import { parseJsonObject } from '../json.ts';
import type { SavedReport, Tradeoff, TradeoffReport } from '../pipeline/index.ts';
import { reportHtml } from '../report/html.ts';
import { parseReport, parseTradeoff } from '../report/saved.ts';
import type { Replacing } from '../run/index.ts';
import type { PruneFlags } from './options.ts';

/** In the folder of --work. */
const REPORT_FILE = 'report.json';
const TRADEOFF_FILE = 'tradeoff.json';

const encode = (text: string) => [new TextEncoder().encode(text)];

const PAGE = /\.html?$/i;
const besides = (page: string) => `${page.replace(PAGE, '')}.json`;

/**
 * @param output  where the model goes
 * @throws {InputError} where the page or its JSON cannot be written, or may not be replaced
 */
export async function checkReport(
  page: string | undefined,
  replacing: Replacing,
  output?: string,
): Promise<void> {
  if (page === undefined) return;
  if (!PAGE.test(page)) throw new InputError(`\`report\`: expected the name of an .html file, got "${page}"`);
  for (const path of [page, besides(page)]) {
    if (output !== undefined && (await realPlace(path)) === (await realPlace(output)))
      throw new InputError(`\`report\`: "${path}" is where the model goes; choose another name`);
    await checkWritable(path, replacing);
  }
}

/** @param replacing  what it was checked with: what has come since is another run's */
export async function keepReport(
  report: SavedReport,
  { report: page, work }: Pick<PruneFlags, 'report' | 'work'>,
  replacing: Replacing,
): Promise<void> {
  const json = `${JSON.stringify(report)}\n`;
  if (work !== undefined) await writeAtomically(join(work, REPORT_FILE), encode(json));
  if (page === undefined) return;
  for (const path of [page, besides(page)]) await checkReplacing(path, replacing);
  await writeTogether([
    [page, encode(await reportHtml(report))],
    [besides(page), encode(json)],
  ]);
}

/**
 * @param place  the folder of a run, or a report that was written as JSON
 * @throws {InputError} where the folder has none, or one of a later version
 */
export async function readReport(place: string): Promise<SavedReport> {
  const isThere = await isFile(place);
  if (isThere && !/\.json$/i.test(place))
    throw new InputError(`"${place}": expected the folder of a run (\`work\`), or the .json of its report`);
  if (!isThere) await checkFolder(place);
  const path = isThere ? place : join(place, REPORT_FILE);
  if (!(await named(path, unlessMissing(lstat(path)))))
    throw new InputError(`"${path}": no finished run of osscar prune --work is in this folder`);
  return parseReport(parseJsonObject(await readFileBytes(path), path), path);
}

/** For the reports of runs that begin with the analysis. */
export async function keepTradeoff(
  { of, before, points, knee }: TradeoffReport,
  work: string | undefined,
): Promise<void> {
  if (work === undefined) return;
  const json = JSON.stringify({ of, before, points, knee });
  await writeAtomically(join(work, TRADEOFF_FILE), encode(`${json}\n`));
}

/** Nothing where no analysis was kept. */
export async function readTradeoff(work: string | undefined): Promise<Tradeoff | undefined> {
  const path = join(work ?? '', TRADEOFF_FILE);
  if (work === undefined || !(await isFile(path))) return undefined;
  return parseTradeoff(parseJsonObject(await readFileBytes(path), path), path);
}
