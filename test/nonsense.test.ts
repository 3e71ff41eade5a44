// Every function that there is to import, given what programs without types may hand over by mistake.

import { expect, test } from 'vitest';
import { OsscarError } from '../src/errors.ts';
import * as library from '../src/index.ts';
import * as layer from '../src/layer.ts';
import * as model from '../src/model.ts';
import * as report from '../src/report/index.ts';

/** One of every kind. */
const KINDS = [
  undefined,
  null,
  -1,
  Number.NaN,
  'x',
  true,
  [],
  [null],
  {},
  () => {},
  new Map(),
  new Uint8Array(4),
];
const ALONE = KINDS.map((it): unknown[] => [it, it, it]);
const BEHIND = [{}, [], new Uint8Array(4)].flatMap((first) => KINDS.map((it): unknown[] => [first, it]));

const FUNCTIONS = Object.entries({ ...library, ...report, ...layer, ...model }).filter(
  (entry): entry is [string, (...args: readonly unknown[]) => unknown] =>
    typeof entry[1] === 'function' && !/^class\b/.test(String(entry[1])),
);

test.each(FUNCTIONS)('%s names what it cannot take', async (_, call) => {
  // what takes options alone may open a session or an engine each time
  for (const args of call.length === 0 ? ALONE : [...ALONE, ...BEHIND]) {
    try {
      const given = (await call(...args)) as { close?: () => unknown } | undefined;
      await given?.close?.();
    } catch (error) {
      expect(error, (error as Error).stack).toBeInstanceOf(OsscarError);
    }
  }
});
