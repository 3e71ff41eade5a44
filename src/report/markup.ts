// What a report says, as HTML without a page around it.

import { InputError } from '../errors.ts';
import { isObject, said } from '../expect.ts';
import type {
  AllocationReport,
  BeforeAfter,
  LayerReport,
  MethodReport,
  Pinned,
  SavedReport,
  Tradeoff,
} from '../pipeline/index.ts';
import { counted } from '../printable.ts';

/** What the page's script draws. */
export interface Drawn {
  /** Relative error by groups kept, and how many were. */
  readonly curves: readonly {
    readonly name: string;
    readonly errors: readonly (number | null)[];
    readonly kept: number;
  }[];
  /** With what is left of the dense size in the model that was written. */
  readonly tradeoff?: Tradeoff & { readonly chosen: number };
}

/** @throws {InputError} where it is no report as it is kept */
export function expectReport(operation: string, report: SavedReport): void {
  const { layers, settings, report: inside } = Object(report);
  if (Array.isArray(layers) && isObject(settings)) return;
  const hint = inside ? '; give its `report`' : typeof report === 'string' ? '; parse the JSON first' : '';
  throw new InputError(
    `${operation}: "report" expected the report of \`prune\` of osscar-wasm, or of the .json beside a page, got ${said(report)}${hint}`,
  );
}

/** @param level  of its headings */
export function reportMarkup(report: SavedReport, level = 2): string {
  const { warnings, pinned = [], notPrunable, settings, allocation } = report;
  const section = (heading: string, content: string) =>
    `<section><h${level}>${escaped(heading)}</h${level}>\n${content}\n</section>`;
  const kinds = pinned.length > 0 ? pinnedTable(report, pinned) : '';
  const reasons = notPrunable.map(({ name, reason }) => [name, reason]);
  return [
    `<p>${escaped(summary(report))}</p>`,
    ...warnings.map((text) => `<p class="warning"><strong>Warning:</strong> ${escaped(text)}</p>`),
    section('Before and after', beforeAndAfter(report)),
    ...(report.encoder ? [section('Before and after, of the encoder', beforeAndAfter(report.encoder))] : []),
    ...(report.comparison ? [section('Other methods', comparisonTable(report, report.comparison))] : []),
    // Of a run that rounds alone there are none.
    ...(report.layers.length > 0
      ? [
          section('Structures', layersTable(report.layers)),
          section(
            'Error curves',
            chartArea('curves', 'Relative error of a layer by how much of its input is kept'),
          ),
        ]
      : []),
    ...(report.tradeoff ? [section('Sizes and what they cost', tradeoffArea(report, report.tradeoff))] : []),
    ...(allocation ? [section('Sizes that were tried', trialsTable(allocation))] : []),
    section('Time', timeTable(report)),
    ...(reasons.length > 0 ? [section('Not pruned', `${kinds}${table(['structure', 'why'], reasons)}`)] : []),
    section('Settings', `<pre tabindex="0">${escaped(JSON.stringify(settings, null, 2))}</pre>`),
    section('Where it comes from', provenance(report)),
  ].join('\n');
}

/** By kind. */
function pinnedTable({ parameters, macs }: SavedReport, pinned: readonly Pinned[]): string {
  const part = (value: number, of = 0) => percent(value / (of || 1));
  const rows = pinned.map(({ reason, structures, share, help }) => [
    reason,
    String(structures),
    part(share.parameters, parameters.before),
    part(share.macs, macs?.before),
    help,
  ]);
  return table(
    ['it stays because', 'structures', 'of the parameters', 'of the multiply-adds', 'what would help'],
    rows,
  );
}

function summary(report: SavedReport): string {
  const { recipe, samples, target, layers, distilled, seconds } = report;
  const whole = distilled ? ' and then as a whole' : '';
  return `${recipe.method}, ${counted(layers.length, 'structure')}${weightsText(report)}, ${counted(samples, 'calibration sample')}, fitted to ${targetText(target)}${whole}, in ${seconds.toFixed(1)} s.`;
}

/** What layers were fitted to. */
export function targetText({ chosen: { kind, blend } }: SavedReport['target']): string {
  return blend > 0 && blend < 1 ? `${kind} ${blend}` : kind;
}

/** What weights are stored as; behind something else. */
export function weightsText({ weights }: Partial<Pick<SavedReport, 'weights'>>): string {
  return weights === undefined ? '' : `, weights as ${weights}`;
}

const whole = (value: number) => Math.round(value).toLocaleString('en');

function beforeAndAfter({ parameters, macs, bytes, latencyMs, metric, stored }: SavedReport): string {
  const row = (name: string, { before, after }: BeforeAfter, text = whole) => [
    name,
    text(before),
    text(after),
    before > 0 ? percent(after / before) : '',
  ];
  const rows = [row('parameters', parameters)];
  if (macs) rows.push(row('multiply-adds', macs));
  rows.push(row('bytes of the files', bytes));
  if (latencyMs) rows.push(row('latency, ms', latencyMs, (ms) => ms.toFixed(2)));
  // A part of an accuracy says nothing.
  const add = (name: string, both: BeforeAfter) =>
    rows.push([...row(name, both, (it) => it.toFixed(4)).slice(0, 3), '']);
  if (metric) add(`${metric.name}, ${metric.samples} ${metric.data} samples`, metric);
  if (metric && stored?.metric !== undefined)
    add(`the same with weights as ${stored.weights}: ${stored.file}, ${whole(stored.bytes)} bytes`, {
      before: metric.before,
      after: stored.metric,
    });
  return table(['what', 'before', 'after', 'left'], rows);
}

function layersTable(layers: readonly LayerReport[]): string {
  const rows = layers.map(({ name, kept, groups, isFeatures, relativeError, macsSaved }) => [
    escaped(name),
    meter(kept.length, groups, `${kept.length} of ${groups}${isFeatures ? ' features of each head' : ''}`),
    relativeError.toPrecision(3),
    percent(macsSaved),
  ]);
  return markupTable(['structure', 'kept', 'relative error', 'multiply-adds saved alone'], rows);
}

/** What sizes are counted in. */
export const UNITS: Readonly<Record<Tradeoff['of'], string>> = {
  macs: 'multiply-adds',
  params: 'parameters',
  bytes: 'bytes',
  latency: 'milliseconds',
};

function tradeoffArea({ allocation }: SavedReport, { of, before }: Tradeoff): string {
  const chosen = allocation?.trials.find(({ name }) => name === allocation.chosen);
  const measured = chosen
    ? ` The network that was chosen loses ${chosen.loss.toPrecision(2)}, on samples that it was not fitted to.`
    : '';
  const caption = `Expected loss by ${UNITS[of]}, of ${whole(before)} in the dense model: what structures lose alone, added up.`;
  return chartArea('tradeoff', `${caption}${measured}`);
}

/** The same sizes by other methods, the run's own first. */
function comparisonTable(report: SavedReport, comparison: readonly MethodReport[]): string {
  const own: MethodReport = { ...report, method: report.recipe.method };
  const { metric } = own;
  const rows = [own, ...comparison].map(({ method, metric, quality, seconds }) => [
    method,
    metric ? metric.after.toFixed(4) : (quality?.relativeError.toFixed(4) ?? ''),
    seconds.toFixed(1),
  ]);
  const what = metric ? `${metric.name} (dense ${metric.before.toFixed(4)})` : 'error of the outputs';
  return table(['method', what, 'seconds'], rows);
}

function trialsTable({ trials, chosen }: AllocationReport): string {
  const rows = trials.map(({ name, loss, lost }) => [
    name === chosen ? `${name} (chosen)` : name,
    loss.toPrecision(3),
    lost.toPrecision(3),
  ]);
  return table(['sizes', 'distance of the outputs on held-out samples', 'lost there'], rows);
}

function timeTable({ stages, seconds }: SavedReport): string {
  const rows = stages.map(({ stage, seconds: own, engine, statistics, solve }) => [
    escaped(stage),
    meter(own, seconds, `${own.toFixed(1)} s`),
    engine.toFixed(1),
    statistics.toFixed(1),
    solve.toFixed(1),
  ]);
  return markupTable(['stage', 'time', 'in the engine', 'statistics', 'solving'], rows);
}

function provenance({ engine, simd, threads, model, calibration, version }: SavedReport): string {
  return table(
    ['what', 'value'],
    [
      ['engine', engine],
      ['kernels', `${simd}, ${threads} threads`],
      ['calibration', `${calibration.path}: ${calibration.samples} samples, seed ${calibration.seed}`],
      ['written', model.path],
      ...(model.sha256 ? [['SHA-256', model.sha256]] : []),
      ['schema of this report', String(version)],
    ],
  );
}

/** A chart of the page's script, and the place where it lists its numbers for who cannot see it. */
const chartArea = (chart: string, label: string) =>
  `<figure data-chart="${chart}"><figcaption>${escaped(label)}</figcaption></figure>`;

/** Not broken between number and sign, however narrow the column. */
const percent = (part: number) => `${(100 * part).toFixed(1)}\u00a0%`;

/** A table that scrolls by itself where it is wider than the page. */
export const table = (head: readonly string[], rows: readonly (readonly string[])[]) =>
  markupTable(
    head,
    rows.map((row) => row.map(escaped)),
  );

/** @param rows  markup */
function markupTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const heads = head.map((text) => `<th scope="col">${escaped(text)}</th>`).join('');
  const lines = rows.map(
    ([first, ...cells]) =>
      `<tr><th scope="row">${first}</th>${cells.map((cell) => `<td>${cell}</td>`).join('')}</tr>`,
  );
  return `<div class="wide" role="group" aria-label="${escaped(head.join(', '))}" tabindex="0"><table><thead><tr>${heads}</tr></thead><tbody>\n${lines.join('\n')}\n</tbody></table></div>`;
}

/** A bar beside its number. */
const meter = (value: number, max: number, text: string) =>
  `<meter aria-hidden="true" min="0" max="${max}" value="${value}"></meter> ${text}`;

export function drawnOf(report: SavedReport): Drawn {
  const { layers, tradeoff } = report;
  const curves = layers.flatMap(({ name, curve, kept }) => {
    if (!curve) return [];
    const errors = curve.map((value) => (Number.isFinite(value) ? value : null));
    return [{ name, errors, kept: kept.length }];
  });
  return { curves, tradeoff: tradeoff && { ...tradeoff, chosen: fractionOf(report, tradeoff) } };
}

/** What is left of what the curve counts. */
function fractionOf(
  { parameters, macs = parameters, bytes, latencyMs = macs }: SavedReport,
  { of }: Tradeoff,
): number {
  const { before, after } = { params: parameters, macs, bytes, latency: latencyMs }[of];
  return after / before;
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

export function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (it) => ENTITIES[it]);
}

/** Of the page. */
export const titleOf = ({ settings }: SavedReport) => `${baseName(settings.model)}, pruned`;

const baseName = (path: string) => path.replace(/[\\/]+$/, '').replace(/^.*[\\/]/, '');
