// A report that was kept, as it is read again: checked, so that what is shown of it holds what its types say, whoever has
// edited the file.

import * as v from 'valibot';
import { FormatError } from '../errors.ts';
import type { JsonObject } from '../json.ts';
import { BUDGETS, type SavedReport, type SizeAndLoss, type Tradeoff } from '../pipeline/index.ts';

/** JSON has neither NaN nor infinities, and writes null. */
const number = v.union([
  v.number(),
  v.pipe(
    v.null(),
    v.transform(() => Number.NaN),
  ),
]);
const text = v.string();
const object = v.looseObject;

const BEFORE_AFTER = object({ before: number, after: number });
const LAYER = v.pipe(
  object({
    name: text,
    kept: v.array(number),
    groups: number,
    isFeatures: v.optional(v.boolean()),
    relativeError: number,
    macsSaved: number,
    curve: v.optional(v.array(number)),
  }),
  v.check(({ kept, groups }) => kept.length <= groups, 'it keeps more groups than it has'),
);
const KEEP = v.union([
  v.number(),
  object({
    ...{ all: v.optional(number), heads: v.optional(number), channels: v.optional(number) },
    layers: v.optional(v.record(text, number)),
  }),
]);
const ALLOCATION = object({
  ...{ of: text, limit: number, maxLoss: v.optional(number), before: number, after: number },
  trials: v.array(object({ name: text, loss: number, lost: number })),
  chosen: text,
});
const PINNED = object({
  reason: text,
  structures: number,
  share: object({ parameters: number, macs: number }),
  help: text,
});
const SIZE = object({ fraction: number, size: number, loss: number });
const TRADEOFF = object({
  ...{ of: v.picklist(BUDGETS), before: number },
  points: v.pipe(v.array(SIZE), v.minLength(1)),
  knee: SIZE,
});
const METRIC = object({ name: text, samples: number, data: text, before: number, after: number });
const STORED = object({ file: text, bytes: number, weights: text, metric: v.optional(number) });
const QUALITY = object({ relativeError: number, cosine: number, samples: number, data: text });
const METHOD = object({
  ...{ method: text, seconds: number },
  ...{ metric: v.optional(METRIC), quality: v.optional(QUALITY) },
});
const STAGE = object({
  stage: text,
  ...{ seconds: number, engine: number, statistics: number, solve: number, waiting: number },
});

/** What the page and the command show; other fields are handed on as they are. */
const REPORT = v.pipe(
  object({
    version: v.literal(1),
    recipe: object({ method: text, keep: v.optional(KEEP) }),
    target: object({ chosen: object({ kind: text, blend: number }) }),
    allocation: v.optional(ALLOCATION),
    samples: number,
    sample: v.array(number),
    parameters: BEFORE_AFTER,
    bytes: BEFORE_AFTER,
    weights: v.optional(text),
    macs: v.optional(BEFORE_AFTER),
    latencyMs: v.optional(BEFORE_AFTER),
    tradeoff: v.optional(TRADEOFF),
    comparison: v.optional(v.array(METHOD)),
    metric: v.optional(METRIC),
    stored: v.optional(STORED),
    quality: v.optional(QUALITY),
    maxDifference: number,
    layers: v.array(LAYER),
    warnings: v.array(text),
    pinned: v.optional(v.array(PINNED)),
    notPrunable: v.array(object({ name: text, reason: text })),
    sizes: v.optional(
      v.array(
        object({
          ...{ heads: number, kvHeads: number, ffn: number, experts: v.optional(v.array(number)) },
          ...{ keyDim: v.optional(number), valueDim: v.optional(number) },
          space: v.optional(object({ heads: number, kvHeads: number, keyDim: number, valueDim: number })),
          cross: v.optional(
            object({
              ...{ heads: number, kvHeads: number, keyDim: v.optional(number), valueDim: v.optional(number) },
            }),
          ),
        }),
      ),
    ),
    statement: v.optional(text),
    seconds: number,
    stages: v.array(STAGE),
    engine: text,
    simd: text,
    threads: number,
    calibration: object({ path: text, samples: number, seed: number }),
    settings: object({ model: text }),
    model: object({ path: text, sha256: v.optional(text) }),
    // Judged like this one, whose type says it.
    encoder: v.optional(v.lazy((): v.GenericSchema => REPORT)),
  }),
  v.check(
    ({ recipe, allocation }) => !recipe.spend || allocation !== undefined,
    'it has a budget and no sizes',
  ),
  v.check(({ recipe }) => !!recipe.spend || recipe.keep !== undefined, 'it does not say what was kept'),
);

/** @throws {FormatError} naming the file and the field that is not as reports have it */
export function parseReport(value: JsonObject, path: string): SavedReport {
  if (value.version !== 1)
    throw new FormatError(`"${path}": not a report of version 1, got ${JSON.stringify(value.version)}`);
  return parse(REPORT, value, `"${path}": no report of osscar prune`) as SavedReport;
}

/** @throws {FormatError} naming the file and the field that is not as analyses have it */
export function parseTradeoff(value: JsonObject, path: string): Tradeoff {
  const { of, before, points, knee } = parse(
    TRADEOFF,
    value,
    `"${path}": nothing of osscar analyze`,
  ) as Tradeoff;
  return { of, before, points: points.map(sizeAndLoss), knee: sizeAndLoss(knee) };
}

const sizeAndLoss = ({ fraction, size, loss }: SizeAndLoss): SizeAndLoss => ({ fraction, size, loss });

function parse(schema: v.GenericSchema, value: JsonObject, what: string): unknown {
  // Else a file of a megabyte has issues for gigabytes.
  const { success, issues, output } = v.safeParse(schema, value, { abortEarly: true });
  if (success) return output;
  const [issue] = issues;
  throw new FormatError(`${what}: "${v.getDotPath(issue) ?? 'it'}": ${issue.message}`);
}
