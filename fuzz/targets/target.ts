// What a parser is to the fuzzer, and what makes inputs of most of them.

import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { damaged, jsonBytes, oddJson } from '../mutate.ts';

/** A parser and its inputs. */
export interface Target {
  readonly inputs: fc.Arbitrary<Uint8Array>;
  /** Reads an input as the command does. */
  parse(bytes: Uint8Array): unknown;
}

export type Targets = Readonly<Record<string, Target>>;

export const encoder = new TextEncoder();

/** A file of the tests. */
export const fixture = (path: string) => new Uint8Array(readFileSync(`test/fixtures/${path}`));

/** Files that are edited anywhere, and JSON that is well formed and says odd things. */
export const jsonInputs = (...good: readonly unknown[]) =>
  fc.oneof(damaged(good.map(jsonBytes)), oddJson(good).map(jsonBytes));

/** Odd objects, one on each line. */
export const oddLines = (good: unknown, lines: fc.ArrayConstraints) =>
  fc
    .array(oddJson([good]), lines)
    .map((rows) => encoder.encode(rows.map((it) => JSON.stringify(it)).join('\n')));
