// Everything the commands say to a person. Names come from files: every line is made printable, so that none of them can
// forge another or steer the terminal.

import colors from 'picocolors';
import { featuresOf, type HeadDims, headGroups } from '../checkpoint/architectures/facts.ts';
import type { AttentionSizes, BlockSizes } from '../checkpoint/architectures/index.ts';
import type { Status } from '../disk/bullmq.ts';
import { dequantizedText, quantizedText, sum } from '../graph/index.ts';
import {
  amountText,
  type BeforeAfter,
  branchTexts,
  inputTexts,
  type KeepRatios,
  type LatencyTable,
  type MachinesPlan,
  type Pinned,
  type PruneReport,
  type SavedReport,
  type Share,
  savedByHalf,
  type TradeoffReport,
  type WholeHeads,
} from '../pipeline/index.ts';
import { counted, printable } from '../printable.ts';
import { targetText, weightsText } from '../report/markup.ts';
import type { Inspected, InspectedStructure, Planned } from '../run/index.ts';
import { flagged } from './flags.ts';

/** Lines, each of them one. */
const linesOf = (...lines: readonly string[]) => lines.map(printable).join('\n');

/** Lines of a plain table: some columns to the left, the others to the right. */
function table(cells: readonly (readonly string[])[], left: readonly number[] = [0]): string[] {
  const rows = cells.map((row) => row.map(printable));
  if (rows.length === 0) return [];
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  const align = (cell: string, i: number) =>
    left.includes(i) ? cell.padEnd(widths[i]) : cell.padStart(widths[i]);
  return rows.map((row) => row.map(align).join('  ').trimEnd());
}

/** What is said of a model in each of its files. */
export function textOf<T extends { readonly encoder?: T }>(it: T, one: (it: T) => string): string {
  return it.encoder === undefined ? one(it) : `encoder: ${one(it.encoder)}\n\ndecoder: ${one(it)}`;
}

export function inspectText(found: Inspected, file: NonNullable<Inspected['file']>): string {
  const { name, parameters, macs } = found;
  const { bytes, input, structures } = file;
  const quantized = quantizedText(file.quantized);
  const prunable = structures.filter((structure) => structure.prunable);
  const rows = structures.map((s) => [
    s.name,
    s.layer || '-',
    String(s.groups),
    String(s.groupSize),
    ...shareCells(s),
    prunableText(s),
  ]);
  return linesOf(
    `${name}: input ${input.name} [${[...(input.single?.length ? [] : ['n']), ...input.shape].join(', ')}], ${count(parameters)} parameters, ${count(macs)} multiply-adds, ${count(bytes)} bytes`,
    `${prunable.length} of ${structures.length} structures prunable`,
    ...(quantized ? [quantized] : []),
    ...(file.dequantized ? [flagged(dequantizedText(file.stored))] : []),
    ...branchTexts(file.branches).map(flagged),
    ...inputTexts(input),
    ...kindLines(found),
    ...pinnedLines(found, file.pinned),
    ...wholeLines(file.wholeHeads),
    '',
    ...table([['structure', 'layer', 'groups', 'rows', ...SHARE_TITLES, 'prunable'], ...rows], [0, 1, 6]),
  );
}

export function folderText(found: Inspected, folder: NonNullable<Inspected['folder']>): string {
  const { architecture, blocks, hidden, vocabulary, maxPositions, sizes, structures } = folder;
  const takes = vocabulary > 0 ? `vocabulary ${vocabulary}` : `samples of ${maxPositions} tokens`;
  const row = (name: string, groups: string, share = structures.get(name)) => [
    name,
    groups,
    ...shareCells(share),
  ];
  const ofExperts = (i: number, { length }: readonly number[]): Share => {
    const shares = Array.from({ length }, (_, e) => structures.get(`${i}.experts.${e}`)!);
    return { parameters: sum(shares.map((it) => it.parameters)), macs: sum(shares.map((it) => it.macs)) };
  };
  const rows = sizes.flatMap((size, i) => {
    const { ffn, experts } = size;
    const attention = {
      heads: groupsText(size, folder),
      ...featureTexts(size, folder),
      space: size.space ? groupsText(size.space, { headDim: size.space.valueDim }) : '',
      ...(size.cross && crossTexts(size.cross, folder)),
    };
    return [
      ...Object.entries(attention).flatMap(([of, text]) => {
        const share = structures.get(`${i}.${of}`);
        return share ? [row(`${i}.${of}`, text, share)] : [];
      }),
      ...(ffn > 0 ? [row(`${i}.mlp`, counted(ffn, 'neuron'))] : []),
      ...(experts
        ? [row(`${i}.experts.0 to ${experts.length - 1}`, expertsText(experts), ofExperts(i, experts))]
        : []),
    ];
  });
  return linesOf(
    `${found.name}: ${architecture}, ${blocks} blocks, ${hidden} features, ${takes}, ${count(found.parameters)} parameters`,
    ...kindLines(found),
    '',
    ...table([['structure', 'groups', ...SHARE_TITLES], ...rows], [0, 1]),
  );
}

const crossTexts = (cross: AttentionSizes, dense: HeadDims) => ({
  cross: groupsText(cross, dense),
  ...Object.fromEntries(
    Object.entries(featureTexts(cross, dense)).map(([of, text]) => [`cross.${of}`, text] as const),
  ),
});

function featureTexts(size: AttentionSizes, dense: HeadDims) {
  const { keyDim, valueDim } = featuresOf(size, dense);
  const text = (features: number) => `${counted(features, 'feature')} of ${counted(size.heads, 'head')}`;
  return { keys: text(keyDim), values: text(valueDim) };
}

function groupsText(size: Omit<BlockSizes, 'ffn'>, dense: HeadDims): string {
  const { heads } = size;
  const { keyDim, valueDim } = featuresOf(size, dense);
  const groups = headGroups(size);
  const features = keyDim === valueDim ? keyDim : `${keyDim}, with ${valueDim} of values`;
  return `${counted(groups, 'group')} of ${counted(heads / groups, 'head')} of ${features}`;
}

const SHARE_TITLES = ['parameters', 'multiply-adds'];
const KIND_NAMES: Readonly<Record<string, string>> = {
  head: 'attention heads',
  channel: 'channels and neurons',
};

function shareCells(share: Partial<Share> = {}): string[] {
  return [share.parameters, share.macs].map((value) => (value === undefined ? '-' : count(value)));
}

const part = (value: number, of: number) => `${((100 * value) / (of || 1)).toFixed(1)} %`;

function prunableText({ prunable, reason, canGo, wholeHeads }: InspectedStructure): string {
  if (!prunable) return `no: ${reason}`;
  return `yes${canGo ? ', or all of it' : ''}${wholeHeads ? `, whole heads: ${wholeHeads}` : ''}`;
}

/** What pruning all of a kind away would save: an upper end of what it can give. */
function kindLines({ parameters: all, macs: allMacs, kinds, couldNarrow }: Inspected): string[] {
  const lines = Object.entries(kinds).map(([kind, { parameters, macs }]) => {
    const what = `${KIND_NAMES[kind] ?? kind}: ${part(parameters, all)} of the parameters`;
    return `${what} and ${part(macs, allMacs)} of the multiply-adds hang on them`;
  });
  const hint =
    'heads can all stay instead, each with fewer features of queries, keys and values: mostly that keeps more at the same size (--heads narrow)';
  return couldNarrow ? [...lines, hint] : lines;
}

/** What stays, by kind, and what hangs on that alone. */
function pinnedLines(all: Share, pinned: readonly Pinned[]): string[] {
  if (pinned.length === 0) return [];
  const rows = pinned.map(({ reason, structures, share, help }) => [
    reason,
    String(structures),
    part(share.parameters, all.parameters),
    part(share.macs, all.macs),
    help,
  ]);
  return [
    '',
    ...table([['stays because', 'structures', ...SHARE_TITLES, 'what would help'], ...rows], [0, 4]),
  ];
}

/** Where features of heads were to go, and whole heads do. */
function wholeLines(wholeHeads: readonly WholeHeads[] = []): string[] {
  if (wholeHeads.length === 0) return [];
  const rows = wholeHeads.map(({ reason, structures, help }) => [reason, String(structures.length), help]);
  return ['', ...table([['heads go whole because', 'structures', 'what would help'], ...rows], [0, 2])];
}

export function latencyText(latency: LatencyTable): string {
  const { model, engine, denseMs, error, structures } = latency;
  const rows = Array.from(savedByHalf(latency), ([name, ms]) => [
    name,
    String(structures[name]),
    ms.toPrecision(3),
    `${((100 * ms) / denseMs).toFixed(1)} %`,
  ]);
  return linesOf(
    `${model}: ${amountText('latency', denseMs)} of one sample, ${engine}; median error of the fit ${(100 * error).toFixed(1)} %`,
    '',
    ...table([['structure', 'groups', 'half saves, ms', 'of all'], ...rows]),
  );
}

/** What is stored otherwise, and how large that is. */
const storedText = ({ file, weights, bytes }: NonNullable<PruneReport['stored']>) =>
  `with weights as ${weights} (${file}, ${count(bytes)} bytes)`;

/**
 * @param output  where it is; undefined of what is written with its decoder
 * @param columns  of the terminal, which the layers are shown on; without one they are left out
 */
export function pruneText(
  report: PruneReport & Partial<Pick<SavedReport, 'comparison' | 'settings'>>,
  output: string | undefined,
  columns?: number,
): string {
  const { metric, stored, quality, comparison = [], sizes = [], parameters, macs, bytes, latencyMs } = report;
  const row = (name: string, { before, after }: BeforeAfter, format = count) => [
    name,
    format(before),
    format(after),
    before > 0 ? `${((100 * after) / before).toFixed(1)} %` : '',
  ];
  const rows = [['', 'before', 'after', ''], row('parameters', parameters)];
  if (macs) rows.push(row('multiply-adds', macs));
  rows.push(row('file bytes', bytes));
  if (latencyMs) rows.push(row('latency, ms', latencyMs, (ms) => ms.toFixed(2)));
  if (metric) {
    const [what, digits] = isText(report) ? ['windows', 3] : ['samples', 4];
    const name = `${metric.name} (${metric.samples} ${metric.data} ${what})`;
    const format = (value: number) => value.toFixed(digits);
    const shown = ([name, before, after, part]: string[]) => {
      rows.push([name, before, after, isText(report) ? part : '']); // a part of an accuracy says nothing
    };
    shown(row(name, metric, format));
    if (stored?.metric !== undefined)
      shown(row(storedText(stored), { before: metric.before, after: stored.metric }, format));
  }
  if (quality) {
    const of = counted(quality.samples, `${quality.data} sample`);
    rows.push([`output error, ‖y - ŷ‖ / ‖y‖ (${of})`, '', quality.relativeError.toFixed(4), '']);
    rows.push([`output cosine (${of})`, '', quality.cosine.toFixed(4), '']);
  }
  for (const { method, ...other } of comparison) {
    const value = other.metric?.after ?? other.quality?.relativeError;
    rows.push([`the same by ${method}`, '', value?.toFixed(4) ?? '', '']);
  }
  const blocks = sizes.map((size, i) => [`block ${i}`, headsText(size), neuronsText(size)]);
  const parts = columns === undefined ? table(blocks) : layerLines(report, columns);
  return [
    linesOf(headline(report), '', ...table(rows), ''),
    ...(parts.length > 0 ? [...parts, ''] : []),
    closing(report, output),
  ].join('\n');
}

function closing(report: PruneReport, output?: string): string {
  return linesOf(
    ...(report.statement ? [report.statement] : []),
    ...report.warnings.map((text) => `warning: ${flagged(text)}`),
    ...(report.distilled ? [distilledText(report.distilled)] : []),
    `file checked: its outputs are ${differenceText(report)}`,
    stagesText(report),
    `${output === undefined ? 'pruned' : `${output} written`} in ${report.seconds.toFixed(1)} s`,
  );
}

const distilledText = ({ left }: NonNullable<PruneReport['distilled']>) =>
  left < 1
    ? `fitted as a whole: ${(100 * left).toFixed(1)} % of the distance to the dense network's outputs is left, on calibration samples held out`
    : 'fitted as a whole: nothing was gained on calibration samples held out, so that all layers stay as they were';

function differenceText({ maxDifference }: PruneReport): string {
  const what = 'those of the network that was solved for';
  return maxDifference === 0
    ? `exactly ${what}`
    : `${what}, up to ${maxDifference.toExponential(1)} of their range`;
}

const BAR = 20;

/** What is left of each structure, and what that costs and saves; sums of what is saved alone are more than what is saved. */
function layerLines({ layers }: PruneReport, columns: number): string[] {
  const rows = layers.map(({ name, kept, groups, isFeatures, relativeError, macsSaved }) => [
    name,
    `${kept.length}/${groups}${isFeatures ? ' features of each head' : ''}`,
    relativeError.toPrecision(2),
    `${(100 * macsSaved).toFixed(1)} %`,
  ]);
  const [head, ...lines] = table([['structure', 'kept', 'error', 'saves of multiply-adds'], ...rows]);
  if (head.length + 2 + BAR > columns) return [head, ...lines];
  // Colours are ours, and must not be escaped as names are.
  return [head, ...lines.map((line, i) => `${line}  ${bar(layers[i].kept.length / layers[i].groups)}`)];
}

function bar(part: number): string {
  const full = Math.max(1, Math.round(BAR * part));
  return `${colors.cyan('█'.repeat(full))}${colors.dim('░'.repeat(BAR - full))}`;
}

const isText = ({ metric }: PruneReport) => metric?.name === 'perplexity';

/** How many samples there are, and of text how long they are. */
export const dataText = (samples: number, tokens?: number): string =>
  tokens === undefined ? counted(samples, 'sample') : `${counted(samples, 'window')} of ${tokens} tokens`;

function headline(report: PruneReport & Partial<Pick<SavedReport, 'settings'>>): string {
  const { recipe, target, layers, samples, sample } = report;
  const data = dataText(samples, isText(report) ? sample[0] : undefined);
  const fitted = `, fitted to: ${targetText(target)}${recipe.target === 'auto' ? ' (auto)' : ''}`;
  return `${recipe.method}, ${recipe.spend ? budgetText(report) : `keep ${keepText(recipe.keep!)}`}, ${counted(layers.length, 'structure')}${weightsText(report)}, ${data}${recipe.method === 'magnitude' ? '' : fitted}`;
}

function stagesText({ stages }: PruneReport): string {
  const texts = stages
    .filter(({ seconds }) => seconds >= 0.05)
    .map(({ stage, seconds }) => `${stage} ${seconds.toFixed(1)} s`);
  const engine = stages.reduce((total, it) => total + it.engine, 0);
  return `time: ${texts.join(', ')}; ${engine.toFixed(1)} s of it in onnxruntime`;
}

/** The curve at every tenth, with the knee, and how to go on from it. */
export function analyzeText(
  { of, before, points, knee, seconds }: TradeoffReport,
  path: string,
  { work }: { readonly work?: string },
): string {
  const shown = points.filter(
    (point, i) =>
      point === knee || i === 0 || Math.floor(point.fraction * 10) < Math.floor(points[i - 1].fraction * 10),
  );
  const rows = shown.map((point) => [
    `${of} ${point.fraction.toFixed(3)}`,
    count(point.size),
    `expected loss ${point.loss.toPrecision(3)}`,
    point === knee ? '<- knee' : '',
  ]);
  const further = work === undefined ? 'with --work, this analysis is not repeated' : `--work ${work}`;
  return linesOf(
    `${count(before)} ${of} in ${path}`,
    '',
    ...table(rows),
    '',
    `losses are of single structures, added up; a whole network loses more. Next: osscar prune ${path} … --${of} ${knee.fraction.toFixed(2)} (${further})`,
    `analysed in ${seconds.toFixed(1)} s`,
  );
}

/** Seconds from which on the native engine is worth installing. */
const LONG = 120;

export function planText(plan: Planned): string {
  const { engine, seconds, wasmLimit, files, fits } = plan;
  const { model, bytes, parameters, sizes, statement, isBound } = plan;
  const mib = (value: number) => `${count(value / 2 ** 20)} MiB`;
  const isSlow = seconds > LONG && engine.startsWith('onnxruntime-web');
  const to = isBound ? '-> at most' : '->';
  return linesOf(
    sizes
      ? `${model}, ${sizes.before.length} blocks: ${sizeText(sizes.before)} ${to} ${sizeText(sizes.after)}`
      : model,
    `parameters: ${count(parameters.before)} ${to} ${count(parameters.after)}`,
    `peak memory: ${mib(bytes.total)} (weights of a part ${mib(bytes.weights)}, activations ${mib(bytes.activations)}, kernels ${mib(bytes.wasm + bytes.helpers)}, statistics ${mib(bytes.heap)}, the dense network's values ${mib(bytes.dense)}, the rest ${mib(bytes.base)})`,
    ...(files.bytes > 0
      ? [
          `files: at most ${mib(files.bytes)} at once, ${mib(files.traffic)} to and from them (${durationText(plan.fileSeconds)} of the time, at 500 MB/s)`,
        ]
      : []),
    `time: about ${durationText(seconds)} on this machine${isSlow ? `, in ${engine}; less with onnxruntime-node (npm i onnxruntime-node)` : ''}`,
    ...(plan.onMachines ? machinesText(plan.onMachines) : []),
    ...(statement ? [statement] : []),
    ...(bytes.wasm > wasmLimit
      ? [
          `It does not fit: the largest layer needs ${bytes.wasm} bytes of WebAssembly memory, which has ${wasmLimit}. Leave its structure whole (--keep-mlp 1 or --keep-heads 1, --no-correct).`,
        ]
      : []),
    ...(!fits && bytes.wasm <= wasmLimit
      ? ['It does not fit --memory, with all in files that can be: give more, or leave --memory out.']
      : []),
  );
}

function machinesText({ machines, shards, seconds, networkBytes }: MachinesPlan): string[] {
  const { total, engine, statistics, solving, network, measuring } = seconds;
  const parts = Object.entries({
    'running the model': engine,
    sums: statistics,
    'solving, on one of them': solving,
    'the store': network,
    measuring,
  }).map(([name, time]) => `${name} ${durationText(time)}`);
  return [
    `on ${machines} machines like this one: about ${durationText(total)} (${parts.join(', ')}), ${(networkBytes / 1e9).toFixed(0)} GB through the store`,
    `  assumed: ${shards} shards, weights of two bytes, everything one after the other; the rates are those measured here just now`,
  ];
}

function sizeText(blocks: readonly BlockSizes[]): string {
  const [first] = blocks;
  const uniform = blocks.every((it) => JSON.stringify(it) === JSON.stringify(first));
  return uniform
    ? `${headsText(first)} (${first.kvHeads} key-value), ${neuronsText(first)}`
    : 'sizes that differ between blocks';
}

/** Also those of a state space beside them, and of attention to what an encoder gives. */
function headsText({ space, cross, ...own }: BlockSizes): string {
  if (own.heads === 0) return NOTHING;
  return [
    attentionText(own),
    ...(space ? [`and ${space.heads} of a state space`] : []),
    ...(cross ? [`and ${attentionText(cross)} for the encoder`] : []),
  ].join(', ');
}

/** With the features that they have, where these are fewer than config.json says. */
function attentionText({ heads, keyDim, valueDim }: AttentionSizes): string {
  const all = keyDim === valueDim ? { '': keyDim } : { ' of keys': keyDim, ' of values': valueDim };
  const features = Object.entries(all).flatMap(([of, n]) => (n ? [`${counted(n, 'feature')}${of}`] : []));
  return [counted(heads, 'head'), ...(features.length > 0 ? [features.join(' and ')] : [])].join(' with ');
}

function neuronsText({ ffn, experts }: BlockSizes): string {
  const own = ffn > 0 ? [counted(ffn, 'neuron')] : [];
  return [...own, ...(experts ? [expertsText(experts)] : [])].join(', ') || NOTHING;
}

/** Where a block has none. */
const NOTHING = '-';

function expertsText(experts: readonly number[]): string {
  const [least, most] = [Math.min(...experts), Math.max(...experts)];
  return `${experts.length} experts of ${least === most ? least : `${least} to ${most}`} neurons`;
}

export function durationText(seconds: number): string {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

function budgetText({ allocation }: PruneReport): string {
  const { of, limit, maxLoss, before, after } = allocation!;
  const share = (size: number) =>
    `${of === 'latency' ? amountText(of, size) : count(size)} (${(size / before).toFixed(3)})`;
  if (maxLoss !== undefined) return `at most ${maxLoss} lost, ${of} ${share(after)}`;
  return `${of} at most ${share(limit)}, chosen ${share(after)}`;
}

function keepText(keep: number | KeepRatios): string {
  if (typeof keep === 'number') return String(keep);
  const { all, heads, channels, layers = {} } = keep;
  const parts = Object.entries({ all, heads, mlp: channels, ...layers }).filter(
    ([, value]) => value !== undefined,
  );
  return parts.map(([name, value]) => `${name} ${value}`).join(', ');
}

/** 1234567 as 1,234,567, the same in every locale. */
function count(value: number): string {
  return String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, ',');
}

/** Where a run is, and who works on it. */
export function statusText({ queue, run, jobs, workers, failures }: Status): string {
  const { waiting, active, done, failed } = jobs;
  const rows = workers.map((it) => [
    it.name,
    it.doing ?? (it.isThere ? 'waiting' : 'gone'),
    String(it.done),
    durationText(it.seconds),
    amountText('bytes', it.read),
    amountText('bytes', it.written),
  ]);
  const titles = ['worker', 'does', 'jobs', 'time', 'read', 'written'];
  return linesOf(
    `${queue}: ${run ? progressText(run) : 'no run has been here'}`,
    `jobs: ${waiting} waiting, ${active} active, ${done} done, ${failed} failed`,
    ...(rows.length > 0 ? table([titles, ...rows], [0, 1]) : []),
    ...failures.map(({ job, reason }) => `failed: ${job}: ${reason}`),
  );
}

function progressText({ overall, stage, label, layer, host, at }: NonNullable<Status['run']>): string {
  const what = [stage, ...(label === stage ? [] : [label]), ...(layer === undefined ? [] : [layer])].join(
    ', ',
  );
  const ago = durationText(Math.max(0, (Date.now() - at) / 1000));
  return `${(100 * overall).toFixed(0)} %, ${what} (${host}, ${ago} ago)`;
}
