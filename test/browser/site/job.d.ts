export interface Job {
  images: { name: string; label: number }[];
  simd: string;
  engine: { threads: number };
}

export interface JobResult {
  kept: Record<string, number[]>;
  sha256: string;
  bytes: number;
  simd: string;
}

export function pruneFixture(
  osscar: object,
  read: (name: string) => Promise<Uint8Array>,
  job: Job,
): Promise<JobResult>;
