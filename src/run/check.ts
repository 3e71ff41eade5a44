// What the calls are told by programs without types: every option is known to the call, and of its kind. What it says is for
// those to judge who read it.

import { InputError } from '../errors.ts';
import { isObject, said } from '../expect.ts';
import { HEADS, WEIGHT_TYPES } from '../graph/index.ts';
import {
  AMOUNT,
  ANY,
  COUNT,
  FUNCTION,
  having,
  INTEGER,
  type Kind,
  NAMES,
  OBJECT,
  type Options,
  oneOf,
  or,
  POSITIVE,
  SIGNAL,
  SWITCH,
  THREADS,
  wrongOption,
} from '../options.ts';
import { MACHINES_OPTIONS, PREPROCESSING_OPTIONS, RECIPE_OPTIONS, telling } from '../pipeline/index.ts';
import { METHODS } from '../solve/index.ts';
import { hintFor } from './names.ts';
import {
  type AnalyzeSettings,
  ENGINES,
  type EvaluateSettings,
  FORMATS,
  isLoadable,
  type LatencySettings,
  type ModelOptions,
  type PlanSettings,
  type PruneSettings,
  type RunSettings,
  type SampleOptions,
} from './options.ts';

const PATH: Kind = [(value) => typeof value === 'string', 'a path'];
const ENGINE = having('an engine', 'load');
const STORE = having('a run store', 'read', 'write', 'list');
const QUEUE = having('a queue', 'run');
const FOLDER = having('an output folder', 'writeAt', 'commit', 'abort');
const METHOD_LIST: Kind = [
  (value) => Array.isArray(value) && value.every((it) => METHODS.includes(it)),
  `a list of ${METHODS.join(', ')}`,
];

const MODEL: Options<ModelOptions> = {
  ...PREPROCESSING_OPTIONS,
  threads: THREADS,
  simd: oneOf('auto', 'baseline', 'relaxed'),
  timeout: POSITIVE,
  engine: or(oneOf(...ENGINES), ENGINE),
  residual: SWITCH,
  heads: oneOf(...HEADS),
  inputs: OBJECT,
  outputNames: NAMES,
  tokenizer: ANY,
  seqlen: COUNT,
  signal: SIGNAL,
  onNote: FUNCTION,
  onKind: FUNCTION,
};
const SAMPLES: Options<SampleOptions> = {
  labels: ANY,
  labelOffset: INTEGER,
  samples: COUNT,
  seed: INTEGER,
  encoder: ANY,
};
const RUN: Options<RunSettings> = {
  ...MODEL,
  ...SAMPLES,
  ...RECIPE_OPTIONS,
  calibration: ANY,
  sampling: oneOf('even', 'random'),
  augment: INTEGER,
  force: SWITCH,
  work: or(PATH, STORE),
  queue: or(PATH, QUEUE),
  shards: COUNT,
  memory: AMOUNT,
  scratch: or(PATH, FUNCTION),
  onProgress: FUNCTION,
};
const PRUNE: Options<PruneSettings> = {
  ...RUN,
  evaluation: ANY,
  evaluationLabels: ANY,
  compare: METHOD_LIST,
  output: or(PATH, FOLDER),
  overwrite: SWITCH,
  format: oneOf(...FORMATS),
  weights: oneOf(...WEIGHT_TYPES),
  loadable: SWITCH,
  latencyTable: OBJECT,
};
const { keep, spend, macs, params, bytes, latency, maxLoss, ...ANALYZE } = RUN;

/** What each call can be told. */
const CALLS = {
  prune: PRUNE,
  plan: { ...PRUNE, ...MACHINES_OPTIONS, machines: COUNT } satisfies Options<PlanSettings>,
  analyze: ANALYZE satisfies Options<AnalyzeSettings>,
  evaluate: { ...MODEL, ...SAMPLES, scratch: RUN.scratch } satisfies Options<EvaluateSettings>,
  latency: { ...MODEL, onProgress: FUNCTION } satisfies Options<LatencySettings>,
  inspect: MODEL,
};

/**
 * A call's own copy of what it is told: who changes the object while the call goes on changes nothing of it.
 *
 * @throws {InputError} naming the option
 */
export function ownOptions<T extends ModelOptions>(call: keyof typeof CALLS, options: T): T & ModelOptions {
  checkOptions(call, options);
  const { onNote, onKind, onProgress }: Pick<RunSettings, 'onNote' | 'onKind' | 'onProgress'> = options;
  const callers = telling();
  return { ...options, onNote: callers(onNote), onKind: callers(onKind), onProgress: callers(onProgress) };
}

/** @throws {InputError} naming the option */
export function checkOptions(call: keyof typeof CALLS, options: object): void {
  if (!isObject(options))
    throw new InputError(`${call}: expected an object of options, got ${said(options)}`);
  const wrong = wrongOption(options, CALLS[call]);
  if (wrong) {
    const { name, value, expected } = wrong;
    throw new InputError(
      expected === undefined
        ? unknownText(call, name, value)
        : `\`${name}\`: expected ${expected}, got ${said(value)}`,
    );
  }
  const { method = 'osscar', search, target, damping, heads, compare, loadable, effort } = options;
  const idle = (name: string, whose: string) =>
    new InputError(
      `\`${name}\` is of ${whose}, and says nothing beside \`method: '${method}'\`; leave it out`,
    );
  if (search !== undefined && method !== 'osscar') throw idle('search', 'osscar');
  if (Array.isArray(compare) && compare.includes(method))
    throw new InputError(
      `\`compare\`: ${method} is what the model is pruned by; name others, or leave it out`,
    );
  if (heads === 'narrow') {
    const beside = (what: string, why: string) =>
      new InputError(`\`heads: 'narrow'\` does not go with ${what}: ${why}; leave one of them out`);
    if (method !== 'osscar') throw beside(`\`method: '${method}'\``, 'only osscar turns features of heads');
    if (Array.isArray(compare) && compare.length > 0)
      throw beside('`compare`', 'only osscar turns features of heads');
    const noField = 'config.json has no field for narrower heads';
    if (loadable) throw beside('`loadable`', noField);
    if (isLoadable(options))
      throw new InputError(
        `\`heads: 'narrow'\` does not go with sizes as \`format: 'transformers.js'\` has them: ${noField}; \`loadable: false\` is for transformers.js 4.2 or later`,
      );
  }
  if (effort !== undefined && isLoadable(options))
    throw new InputError(
      '`effort` is of the search for sizes that differ, and these are the same in every block (`loadable`); leave it out',
    );
  if (method !== 'magnitude') return;
  if (target !== undefined) throw idle('target', 'methods that solve layers');
  if (damping !== undefined) throw idle('damping', 'methods that solve layers');
}

/** Of a name that the call does not know: who does, or what is meant by it. */
function unknownText(call: keyof typeof CALLS, name: string, value: unknown): string {
  const others = Object.entries(CALLS).flatMap(([other, table]) => (Object.hasOwn(table, name) ? other : []));
  const last = others.pop();
  if (last !== undefined)
    return `\`${name}\` is an option of ${[others.join(', '), last].filter(Boolean).join(' and ')}, and says nothing to ${call}; leave it out`;
  const hint = hintFor(name, [CALLS[call], ...Object.values(CALLS)].flatMap(Object.keys), value);
  return `\`${name}\`: there is no option of that name${hint === undefined ? '' : `; ${hint}`}`;
}
