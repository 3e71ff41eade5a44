// What calls are told by programs without types: every option is known, and of its kind. What it says is for those to judge who
// read it.

import { InputError } from '../errors.ts';
import { hasMethods, said } from '../expect.ts';
import { isObject } from '../json.ts';
import type { Machines } from '../pipeline/index.ts';
import { MOST_THREADS } from '../pool/index.ts';
import { METHODS } from '../solve/index.ts';
import { meantBy } from './names.ts';
import { ENGINES, FORMATS, type PruneSettings } from './options.ts';

type Kind = readonly [fits: (value: unknown) => boolean, expected: string];

const from = (least: number, most = Number.MAX_VALUE) =>
  [
    (value: unknown) => Number.isInteger(value) && (value as number) >= least && (value as number) <= most,
    most < Number.MAX_VALUE ? `a whole number from ${least} to ${most}` : `a whole number from ${least} on`,
  ] as const;
const COUNT = from(1);
const INTEGER: Kind = [Number.isInteger, 'a whole number'];
const POSITIVE: Kind = [(value) => Number.isFinite(value) && (value as number) > 0, 'a number above 0'];
const SWITCH: Kind = [(value) => typeof value === 'boolean', 'true or false'];
const FUNCTION: Kind = [(value) => typeof value === 'function', 'a function'];
const OBJECT: Kind = [isObject, 'an object'];
const ANY: Kind = [(value) => value !== null, 'a value'];
const oneOf = (...choices: readonly string[]): Kind => [
  (value) => choices.includes(value as string),
  `one of ${choices.join(', ')}`,
];
const or = ([fits, expected]: Kind, [others, more]: Kind): Kind => [
  (value) => fits(value) || others(value),
  `${expected}, or ${more}`,
];
const TEXT: Kind = [(value) => typeof value === 'string', 'a path'];
const AMOUNT: Kind = [
  (value) => ['string', 'number'].includes(typeof value),
  'a number, or text such as 50%',
];
/** An object of a port, by some of its methods. */
const having = (expected: string, ...methods: readonly string[]): Kind => [
  (value) => hasMethods(value, ...methods),
  expected,
];
const SIGNAL = having('an AbortSignal', 'addEventListener');
const ENGINE = having('an engine', 'load');
const STORE = having('a run store', 'read', 'write', 'list');
const QUEUE = having('a queue', 'run');
const FOLDER = having('an output folder', 'writeAt', 'commit', 'abort');
const METHOD_LIST: Kind = [
  (value) => Array.isArray(value) && value.every((it) => METHODS.includes(it)),
  `a list of ${METHODS.join(', ')}`,
];

/** Those that `parsePreprocessing` and `parseRecipe` read are judged there. */
const OPTIONS: Readonly<Record<keyof PruneSettings | keyof Machines, Kind>> = {
  size: ANY,
  resize: ANY,
  multiple: ANY,
  scale: ANY,
  mean: ANY,
  std: ANY,
  layout: ANY,
  color: ANY,
  threads: from(1, MOST_THREADS),
  simd: oneOf('auto', 'baseline', 'relaxed'),
  timeout: POSITIVE,
  engine: or(oneOf(...ENGINES), ENGINE),
  residual: SWITCH,
  inputs: OBJECT,
  tokenizer: ANY,
  seqlen: COUNT,
  signal: SIGNAL,
  onNote: FUNCTION,
  onKind: FUNCTION,
  onProgress: FUNCTION,
  labels: ANY,
  labelOffset: INTEGER,
  samples: COUNT,
  seed: INTEGER,
  sampling: oneOf('even', 'random'),
  calibration: ANY,
  augment: INTEGER,
  force: SWITCH,
  work: or(TEXT, STORE),
  queue: or(TEXT, QUEUE),
  shards: COUNT,
  memory: AMOUNT,
  scratch: or(TEXT, FUNCTION),
  evaluation: ANY,
  evaluationLabels: ANY,
  keep: ANY,
  method: ANY,
  search: ANY,
  target: ANY,
  correct: SWITCH,
  producers: SWITCH,
  effort: ANY,
  macs: AMOUNT,
  params: AMOUNT,
  bytes: AMOUNT,
  latency: AMOUNT,
  maxLoss: AMOUNT,
  of: ANY,
  spend: ANY,
  round: COUNT,
  min: OBJECT,
  max: OBJECT,
  pin: OBJECT,
  exclude: ANY,
  groupsPerStep: COUNT,
  damping: [(value) => typeof value === 'number', 'a number'] as const,
  compare: METHOD_LIST,
  output: or(TEXT, FOLDER),
  overwrite: SWITCH,
  format: oneOf(...FORMATS),
  loadable: SWITCH,
  latencyTable: OBJECT,
  machines: COUNT,
  storeRate: POSITIVE,
};

/** @throws {InputError} naming the option */
export function checkOptions(options: object): void {
  if (!isObject(options)) throw new InputError(`expected an object of options, got ${said(options)}`);
  for (const [name, value] of Object.entries(options)) {
    if (!Object.hasOwn(OPTIONS, name)) {
      const meant = meantBy(name, Object.keys(OPTIONS));
      const hint = meant === undefined ? '' : `; is \`${meant}\` meant?`;
      throw new InputError(`\`${name}\`: there is no option of that name${hint}`);
    }
    const [fits, expected] = OPTIONS[name as keyof typeof OPTIONS];
    if (value !== undefined && !fits(value))
      throw new InputError(`\`${name}\`: expected ${expected}, got ${said(value)}`);
  }
  const { method = 'osscar', search } = options;
  if (search !== undefined && method !== 'osscar')
    throw new InputError(
      `\`search\` is of osscar, and says nothing beside \`method: '${method}'\`; leave it out`,
    );
}
