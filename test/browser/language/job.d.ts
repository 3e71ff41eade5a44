export interface PrunedLanguage {
  kept: number[][][];
  sha256: string;
  /** Scratch files that were opened. */
  files: number;
}

export function pruneFixtureLanguage(
  osscar: unknown,
  read: (path: string) => Promise<Uint8Array>,
  scratch: () => unknown,
  job: { keep: number },
): Promise<PrunedLanguage>;
