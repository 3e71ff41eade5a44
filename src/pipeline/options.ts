// What pruning a model can be told and says, whether it is one graph or a language model's folder.

import type { Engine } from '../engine/index.ts';
import { InputError } from '../errors.ts';
import { openSession, type Session } from '../pool/index.ts';
import { METHODS, type Method, type Search } from '../solve/index.ts';
import type { Dataset } from './data/index.ts';
import type { KeepRatios } from './keep.ts';
import { refits, type Target } from './sequence.ts';
import type { Candidate } from './target.ts';

/** What a layer is fitted to; see {@link Target}. `auto` tries several. */
export const TARGETS = ['auto', 'self', 'dense', 'residual'] as const;
/** One of {@link TARGETS}. */
export type TargetChoice = (typeof TARGETS)[number];

export const DEFAULT_ACTIVATION_BYTES = 2 ** 30;

/** `done` of `total` steps. */
export interface Progress {
  /** What is being done, for a person. */
  readonly label: string;
  readonly done: number;
  readonly total: number;
}

/** What models and language models are pruned with. */
export interface CommonOptions {
  readonly engine: Engine;
  /** Threads that the layers are solved on. Default: the calling one. */
  readonly session?: Session;
  /** Images, or windows of token ids. */
  readonly calibration: Dataset;
  /** Fraction of each structure's groups to keep, in (0, 1]; or one for each kind of them. */
  readonly keep: number | KeepRatios;
  /** Default `osscar`. */
  readonly method?: Method;
  /** Default `auto`: chosen by the error on held-out calibration samples. Or a blend of one's own. */
  readonly target?: TargetChoice | Target;
  /** λ of the damping λ·mean(diag XᵀX). Default: chosen for each layer by held-out calibration samples. */
  readonly damping?: number;
  /** Groups removed between two rankings. Default 1. */
  readonly groupsPerStep?: number;
  /** Local search after the elimination (`osscar` only). Default `swap`. */
  readonly search?: Search;
  /** Whether layers that keep all their inputs are refitted to what now reaches them. Default true. */
  readonly correct?: boolean;
  /** Samples for the accuracy or perplexity before and after. Default: the calibration samples. */
  readonly evaluation?: Dataset;
  /** Bytes of activations kept in memory; less means more recomputation. Default 1 GiB. */
  readonly activationBytes?: number;
  /** Entries for the written ONNX model's metadata. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** Called after every step. */
  readonly onProgress?: (progress: Progress) => void;
  readonly signal?: AbortSignal;
}

/** Of the dense model and of the pruned one. */
export interface BeforeAfter {
  readonly before: number;
  readonly after: number;
}

/** Which target was asked for, and which one was used. */
export interface TargetReport {
  readonly requested: TargetChoice | Target;
  readonly chosen: Target;
  /** What `auto` measured, the best first. */
  readonly candidates?: readonly Candidate[];
}

/** The caller's session, or one of this thread for as long as `run` takes. */
export async function withSession<R>(
  given: Session | undefined,
  run: (session: Session) => Promise<R>,
): Promise<R> {
  const session = given ?? (await openSession({ threads: 1 }));
  try {
    return await run(session);
  } finally {
    if (!given) await session.close();
  }
}

/** @throws {InputError} for an unknown method or target */
export function checkChoices({ method = 'osscar', target = 'auto' }: CommonOptions): void {
  if (!METHODS.includes(method))
    throw new InputError(`method must be one of ${METHODS.join(', ')}, got ${method}`);
  if (typeof target === 'string' && !TARGETS.includes(target)) {
    throw new InputError(`target must be one of ${TARGETS.join(', ')}, got ${target}`);
  }
}

/** @param search  tries targets, the best first */
export async function chooseTarget(
  { method = 'osscar', target: requested = 'auto' }: CommonOptions,
  search: () => Promise<Candidate[]>,
): Promise<TargetReport> {
  // The baselines that fit nothing have no target to choose.
  if (!refits(method)) return { requested, chosen: { kind: 'self', blend: 0 } };
  if (typeof requested === 'object') return { requested, chosen: requested };
  if (requested !== 'auto') {
    return { requested, chosen: { kind: requested, blend: requested === 'self' ? 0 : 1 } };
  }
  const candidates = await search();
  const [{ kind, blend }] = candidates;
  return { requested, chosen: { kind, blend }, candidates };
}
