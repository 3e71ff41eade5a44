import type { RunStore, Scratch } from '../../../src/model.ts';

export interface LanguageJob {
  keep: number;
}

export interface PrunedLanguage {
  kept: number[][];
  sha256: string;
  /** The hash of a second run, from the store. */
  again: string;
  files: number;
  found: string[];
}

export function pruneFixtureLanguage(
  osscar: object,
  read: (path: string) => Promise<Uint8Array>,
  scratch: () => Scratch,
  store: RunStore,
  job: LanguageJob,
): Promise<PrunedLanguage>;
