// A report that was kept, as it is read again: checked, so that what is shown of it holds what its types say, whoever has
// edited the file.

import * as v from 'valibot';
import { FormatError } from '../errors.ts';
import type { JsonObject } from '../json.ts';
import type { SavedReport } from '../pipeline/index.ts';

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
  trials: v.array(object({ name: text, lost: number })),
  chosen: text,
});
const PINNED = object({
  reason: text,
  structures: number,
  share: object({ parameters: number, macs: number }),
  help: text,
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
    macs: v.optional(BEFORE_AFTER),
    latencyMs: v.optional(BEFORE_AFTER),
    metric: v.optional(object({ name: text, samples: number, data: text, before: number, after: number })),
    quality: v.optional(object({ relativeError: number, cosine: number, samples: number, data: text })),
    maxDifference: number,
    layers: v.array(LAYER),
    warnings: v.array(text),
    pinned: v.optional(v.array(PINNED)),
    notPrunable: v.array(object({ name: text, reason: text })),
    sizes: v.optional(v.array(object({ heads: number, kvHeads: number, ffn: number }))),
    statement: v.optional(text),
    seconds: number,
    stages: v.array(STAGE),
    engine: text,
    simd: text,
    threads: number,
    calibration: object({}),
    settings: object({ model: text }),
    model: object({ path: text, sha256: v.optional(text) }),
  }),
  v.check(
    ({ recipe, allocation }) => !recipe.spend || allocation !== undefined,
    'it has a budget and no sizes',
  ),
  v.check(({ recipe }) => !!recipe.spend || recipe.keep !== undefined, 'it does not say what was kept'),
);

/** @throws {FormatError} naming the file and the field that is not as reports have it */
export function parseReport(value: JsonObject, path: string): SavedReport {
  // Else a file of a megabyte has issues for gigabytes.
  const { success, issues, output } = v.safeParse(REPORT, value, { abortEarly: true });
  if (success) return output as unknown as SavedReport;
  const [issue] = issues;
  const field = v.getDotPath(issue) ?? 'it';
  if (field === 'version')
    throw new FormatError(`"${path}": not a report of version 1, got ${JSON.stringify(value.version)}`);
  throw new FormatError(`"${path}": no report of osscar prune: "${field}": ${issue.message}`);
}
