export interface PruneJob {
  images: { name: string; label: number }[];
  simd: string;
  engine: { threads: number };
}

export interface Pruned {
  kept: Record<string, number[]>;
  sha256: string;
  bytes: number;
  simd: string;
}

export function pruneFixture(
  osscar: object,
  read: (name: string) => Promise<Uint8Array>,
  job: PruneJob,
): Promise<Pruned>;

export interface SessionJob {
  threads: number;
  simd: string;
}

export interface PrunedLayers {
  kept: number[][];
  sha256: string[];
  threads: number;
  shared: boolean;
  reason?: string;
}

export function pruneLayersBySession(osscar: object, job: SessionJob): Promise<PrunedLayers>;

export interface GuardJob {
  seconds: number;
  tokenizer?: object;
  text?: string;
  model?: number[];
}

export function runGuarded(
  osscar: object,
  read: (name: string) => Promise<Uint8Array>,
  job: GuardJob,
): Promise<object>;
