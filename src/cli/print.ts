// Everything the commands say to a person.

import type { KeepRatios } from '../pipeline/keep.ts';
import type { LanguagePlan } from '../pipeline/language/plan.ts';
import type { LanguageReport } from '../pipeline/language/prune.ts';
import type { OpenedModel } from '../pipeline/open.ts';
import type { PruneReport } from '../pipeline/prune.ts';

/** A plain table: first column to the left, the others to the right. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  return rows
    .map((row) =>
      row
        .map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i])))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

export function inspectText({ name, parameters, macs, bytes, analysis, input }: OpenedModel): string {
  const { structures } = analysis;
  const prunable = structures.filter((structure) => structure.prunable);
  const rows = structures.map((s) => [
    s.name,
    s.layer || '-',
    String(s.groups),
    String(s.groupSize),
    s.prunable ? 'yes' : `no: ${s.reason}`,
  ]);
  const width = (column: number) => Math.max(...[HEADER, ...rows].map((row) => row[column].length));
  const lines = [HEADER, ...rows].map((row) =>
    [
      row[0].padEnd(width(0)),
      row[1].padEnd(width(1)),
      row[2].padStart(width(2)),
      row[3].padStart(width(3)),
      row[4],
    ].join('  '),
  );
  return [
    `${name}: input ${input.name} [n, ${input.shape.join(', ')}], ${count(parameters)} parameters, ${count(macs)} multiply-adds, ${count(bytes)} bytes`,
    `${prunable.length} of ${structures.length} structures prunable`,
    '',
    ...lines,
  ].join('\n');
}

const HEADER = ['structure', 'layer', 'groups', 'rows', 'prunable'];

export function pruneText(report: PruneReport, output: string): string {
  const { metric, target, layers } = report;
  const { kind, blend } = target.chosen;
  const row = (name: string, before: number, after: number, format: (value: number) => string) => [
    name,
    format(before),
    format(after),
    before > 0 ? `${((100 * after) / before).toFixed(1)} %` : '',
  ];
  const rows = [
    ['', 'before', 'after', ''],
    row('parameters', report.parameters.before, report.parameters.after, count),
    row('multiply-adds', report.macs.before, report.macs.after, count),
    row('file bytes', report.bytes.before, report.bytes.after, count),
    row('latency, ms', report.latencyMs.before, report.latencyMs.after, (ms) => ms.toFixed(2)),
  ];
  if (metric)
    rows.push([
      `${metric.name} (${metric.samples} ${metric.data} samples)`,
      metric.before.toFixed(4),
      metric.after.toFixed(4),
      '',
    ]);
  const fitted =
    report.method === 'magnitude'
      ? ''
      : `, fitted to: ${kind}${blend > 0 && blend < 1 ? ` ${blend}` : ''}${target.requested === 'auto' ? ' (auto)' : ''}`;
  return [
    `${report.method}, keep ${keepText(report.keep)}, ${layers.length} structures, ${report.samples} samples${fitted}`,
    '',
    table(rows),
    '',
    `largest difference from the masked network: ${report.maxDifference.toExponential(1)} of its output range`,
    `${output} written in ${report.seconds.toFixed(1)} s`,
  ].join('\n');
}

export function languageText(report: LanguageReport, output: string): string {
  const { metric, target, blocks, method } = report;
  const { kind, blend } = target.chosen;
  const row = (name: string, before: number, after: number, format: (value: number) => string) => [
    name,
    format(before),
    format(after),
    `${((100 * after) / before).toFixed(1)} %`,
  ];
  const rows = [
    ['', 'before', 'after', ''],
    row('parameters', report.parameters.before, report.parameters.after, count),
    row('bytes of weights', report.bytes.before, report.bytes.after, count),
    row(`perplexity (${metric.samples} ${metric.data} windows)`, metric.before, metric.after, (x) =>
      x.toFixed(3),
    ),
  ];
  const perBlock = blocks.map(({ block, sizes, seconds }) => [
    `block ${block}`,
    `${sizes.heads} heads`,
    `${sizes.ffn} neurons`,
    `${seconds.toFixed(1)} s`,
  ]);
  return [
    `${method}, keep ${keepText(report.keep)}, ${report.samples} windows of ${report.seqlen} tokens, fitted to: ${kind}${blend > 0 && blend < 1 ? ` ${blend}` : ''}${target.requested === 'auto' ? ' (auto)' : ''}`,
    '',
    table(rows),
    '',
    table(perBlock),
    '',
    report.statement,
    `largest difference from the masked network: ${report.maxDifference.toExponential(1)} of its logits' range`,
    `${output} written in ${report.seconds.toFixed(1)} s`,
  ].join('\n');
}

export function languagePlanText(plan: LanguagePlan, seconds: number, wasmLimit: number): string {
  const { bytes, parameters, sizes, architecture } = plan;
  const sizeText = (of: readonly { heads: number; kvHeads: number; ffn: number }[]) => {
    const [{ heads, kvHeads, ffn }] = of;
    const uniform = of.every((it) => it.heads === heads && it.kvHeads === kvHeads && it.ffn === ffn);
    return uniform
      ? `${heads} heads (${kvHeads} key-value), ${ffn} neurons`
      : 'sizes that differ between blocks';
  };
  const mib = (value: number) => `${count(value / 2 ** 20)} MiB`;
  return [
    `${architecture}, ${sizes.before.length} blocks: ${sizeText(sizes.before)} -> ${sizeText(sizes.after)}`,
    `parameters: ${count(parameters.before)} -> ${count(parameters.after)}`,
    `peak memory: ${mib(bytes.total)} (weights of a part ${mib(bytes.weights)}, activations ${mib(bytes.activations)}, kernels ${mib(bytes.wasm + bytes.helpers)}, statistics ${mib(bytes.heap)}, the rest ${mib(bytes.base)})`,
    `time: about ${durationText(seconds)} on this machine`,
    plan.statement,
    ...(bytes.wasm > wasmLimit
      ? [
          `It does not fit: the largest layer needs ${bytes.wasm} bytes of WebAssembly memory, which has ${wasmLimit}. Leave its structure whole (--keep-mlp 1 or --keep-heads 1, --no-correct).`,
        ]
      : []),
  ].join('\n');
}

function durationText(seconds: number): string {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
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
export function count(value: number): string {
  return String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, ',');
}
