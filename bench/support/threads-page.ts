// The same in a page, from the plain files of dist/browser.

import type * as Layer from '../../src/layer.ts';
import { measureThreads, type Sizes } from './threads.ts';

const LIBRARY = '/osscar/layer.js';

(globalThis as { measure?: unknown }).measure = async (threads: number, sizes: Sizes) => {
  const { openSession }: typeof Layer = await import(LIBRARY);
  return measureThreads(openSession, threads, sizes);
};
