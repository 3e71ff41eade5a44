// The same in a page, from the plain files of dist/browser.

import type * as Layer from '../../src/layer.ts';
import { measureThreads, type ThreadsRow } from './threads.ts';

const LIBRARY = '/osscar/layer.js';

(globalThis as { measure?: unknown }).measure = async (threads: number): Promise<ThreadsRow[]> => {
  const { openSession }: typeof Layer = await import(LIBRARY);
  const rows: ThreadsRow[] = [];
  await measureThreads(openSession, threads, (row) => rows.push(row));
  return rows;
};
