// A report as one HTML file: opens from disk under a policy that lets nothing in or out, reads without a script, and draws
// its curves with one.

import type { AllocationReport, BeforeAfter, LayerReport, Pinned, SavedReport } from '../pipeline/index.ts';

/** Made by the build out of page.ts, page.css and uPlot. */
declare const REPORT_SCRIPT: string;
declare const REPORT_STYLE: string;

/** What the page's script draws. */
export interface Drawn {
  /** Relative error by groups kept, and how many were. */
  readonly curves: readonly {
    readonly name: string;
    readonly errors: readonly (number | null)[];
    readonly kept: number;
  }[];
}

/** A whole page. Everything that a model or a path could say is text in it, and never markup. */
export async function reportHtml(report: SavedReport): Promise<string> {
  const title = `${baseName(report.settings.model)}, pruned`;
  const policy = [
    "default-src 'none'",
    `script-src ${await hashOf(REPORT_SCRIPT)}`,
    `style-src ${await hashOf(REPORT_STYLE)}`,
    "base-uri 'none'",
    "form-action 'none'",
  ].join('; ');
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${escaped(title)}</title>
<style>${REPORT_STYLE}</style>
</head>
<body>
<main>
<h1>${escaped(title)}</h1>
${sections(report).join('\n')}
</main>
<script type="application/json" id="drawn">${json(drawnOf(report))}</script>
<script>${REPORT_SCRIPT}</script>
</body>
</html>
`;
}

function sections(report: SavedReport): string[] {
  const { warnings, pinned = [], notPrunable, settings, allocation } = report;
  return [
    `<p>${escaped(summary(report))}</p>`,
    ...warnings.map((text) => `<p class="warning"><strong>Warning:</strong> ${escaped(text)}</p>`),
    section('Before and after', beforeAndAfter(report)),
    section('Structures', layersTable(report.layers)),
    section(
      'Error curves',
      chartArea('curves', 'Relative error of a layer by how much of its input is kept'),
    ),
    ...(allocation ? [section('Sizes that were tried', trialsTable(allocation))] : []),
    section('Time', timeTable(report)),
    ...(notPrunable.length > 0
      ? [
          section(
            'Not pruned',
            (pinned.length > 0 ? pinnedTable(report, pinned) : '') +
              table(
                ['structure', 'why'],
                notPrunable.map(({ name, reason }) => [name, reason]),
              ),
          ),
        ]
      : []),
    section('Settings', `<pre>${escaped(JSON.stringify(settings, null, 2))}</pre>${provenance(report)}`),
  ];
}

/** By kind. */
function pinnedTable({ parameters, macs }: SavedReport, pinned: readonly Pinned[]): string {
  const part = (value: number, of = 0) => `${((100 * value) / (of || 1)).toFixed(1)} %`;
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

const section = (heading: string, content: string) =>
  `<section><h2>${escaped(heading)}</h2>\n${content}\n</section>`;

function summary({ recipe, samples, target, layers, seconds }: SavedReport): string {
  const { kind, blend } = target.chosen;
  return `${recipe.method}, ${layers.length} structures, ${samples} calibration samples, fitted to ${kind} ${blend}, in ${seconds.toFixed(1)} s.`;
}

function beforeAndAfter({ parameters, macs, bytes, latencyMs, metric }: SavedReport): string {
  const whole = (value: number) => Math.round(value).toLocaleString('en');
  const row = (name: string, { before, after }: BeforeAfter, text = whole) => [
    name,
    text(before),
    text(after),
    before > 0 ? `${((100 * after) / before).toFixed(1)} %` : '',
  ];
  const rows = [row('parameters', parameters)];
  if (macs) rows.push(row('multiply-adds', macs));
  rows.push(row('bytes of the files', bytes));
  if (latencyMs) rows.push(row('latency, ms', latencyMs, (ms) => ms.toFixed(2)));
  // A part of an accuracy says nothing.
  if (metric)
    rows.push([
      ...row(`${metric.name}, ${metric.samples} ${metric.data} samples`, metric, (it) => it.toFixed(4)).slice(
        0,
        3,
      ),
      '',
    ]);
  return table(['what', 'before', 'after', 'left'], rows);
}

function layersTable(layers: readonly LayerReport[]): string {
  const rows = layers.map(({ name, kept, groups, relativeError, macsSaved }) => [
    escaped(name),
    `<meter min="0" max="${groups}" value="${kept.length}">${kept.length} of ${groups}</meter> ${kept.length} of ${groups}`,
    relativeError.toPrecision(3),
    `${(100 * macsSaved).toFixed(1)} %`,
  ]);
  return markupTable(['structure', 'kept', 'relative error', 'multiply-adds saved alone'], rows);
}

function trialsTable({ trials, chosen }: AllocationReport): string {
  const rows = trials.map(({ name, lost }) => [
    name === chosen ? `${name} (chosen)` : name,
    lost.toPrecision(3),
  ]);
  return table(['sizes', 'lost on held-out samples'], rows);
}

function timeTable({ stages, seconds }: SavedReport): string {
  const rows = stages.map(({ stage, seconds: own, engine, statistics, solve }) => [
    escaped(stage),
    `<meter min="0" max="${seconds}" value="${own}">${own.toFixed(1)} s</meter> ${own.toFixed(1)} s`,
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
      ['calibration', JSON.stringify(calibration)],
      ['written', model.path],
      ...(model.sha256 ? [['SHA-256', model.sha256]] : []),
      ['schema of this report', String(version)],
    ],
  );
}

/** A chart of the page's script, and the place where it lists its numbers for who cannot see it. */
const chartArea = (id: string, label: string) =>
  `<figure id="${id}"><figcaption>${escaped(label)}</figcaption></figure>`;

const table = (head: readonly string[], rows: readonly (readonly string[])[]) =>
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
  return `<div class="wide" role="region" aria-label="${escaped(head.join(', '))}" tabindex="0"><table><thead><tr>${heads}</tr></thead><tbody>\n${lines.join('\n')}\n</tbody></table></div>`;
}

function drawnOf({ layers }: SavedReport): Drawn {
  const curves = layers.flatMap(({ name, curve, kept }) => {
    if (!curve) return [];
    const errors = curve.map((value) => (Number.isFinite(value) ? value : null));
    return [{ name, errors, kept: kept.length }];
  });
  return { curves };
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (it) => ENTITIES[it]);
}

/** Within a script element only `</script` and `<!--` mean anything. */
const json = (value: unknown) => JSON.stringify(value).replaceAll('<', '\\u003c');

const baseName = (path: string) => path.replace(/[\\/]+$/, '').replace(/^.*[\\/]/, '');

async function hashOf(text: string): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text));
  return `'sha256-${btoa(String.fromCharCode(...new Uint8Array(digest)))}'`;
}
