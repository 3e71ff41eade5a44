// README.md of a pruned model's folder: the front matter that Hugging Face reads, and what a person should know.

import { parse, stringify } from 'yaml';
import { parseJsonObject } from '../json.ts';
import type { SavedReport } from '../pipeline/index.ts';
import { version } from '../version.ts';
import { baseName, isFile, type Place } from './place.ts';

/** A report but for where the model went. */
type Report = Omit<SavedReport, 'model'> & { readonly preprocessing?: object };

export const CARD_FILE = 'README.md';

/** What is said of the dense model, in its own card. */
type Front = Readonly<Record<string, unknown>>;

/** Fields that hold for the smaller model as well. */
const COPIED = ['license', 'license_name', 'license_link', 'language', 'datasets', 'pipeline_tag'];
const TAGS = ['pruned', 'osscar'];

/**
 * The card of what was made of the model in a folder.
 *
 * @param loader  the library that the folder is for
 */
export async function modelCard(source: Place, report: Report, loader: string): Promise<string> {
  const front = frontMatter(source.at(CARD_FILE));
  const base = await baseModel(source);
  const of = await front;
  const { metric } = report;
  const type = typeof of.pipeline_tag === 'string' ? of.pipeline_tag : taskOf(report);
  const copied = COPIED.filter((field) => of[field] !== undefined).map((field) => [field, of[field]]);
  const tags = [...(Array.isArray(of.tags) ? of.tags : []), ...TAGS];
  const name = `${base.split('/').pop()}-pruned`;
  const fields = {
    ...Object.fromEntries(copied),
    base_model: base,
    library_name: loader,
    ...(type && { pipeline_tag: type }),
    tags: [...new Set(tags)],
    ...(metric && type && { 'model-index': [{ name, results: [resultOf(report, type)] }] }),
  };
  return `---\n${stringify(fields)}---\n\n${text(name, base, report)}`;
}

/** What Hugging Face calls that which is measured; of ONNX files without a metric nobody can know. */
function taskOf({ metric, sizes, preprocessing }: Report): string | undefined {
  if (metric?.name === 'perplexity') return 'text-generation';
  if (metric) return preprocessing ? 'image-classification' : 'text-classification';
  if (sizes === undefined) return undefined;
  return preprocessing ? 'image-feature-extraction' : 'feature-extraction';
}

/** Between the first lines of dashes; nothing where there is none that can be read. */
async function frontMatter(card: Place): Promise<Front> {
  if (!(await isFile(card))) return {};
  const [, yaml] = /^---\r?\n(.*?)\r?\n---/s.exec(new TextDecoder().decode(await card.read())) ?? [];
  try {
    const front: unknown = yaml === undefined ? undefined : parse(yaml);
    return typeof front === 'object' && front !== null ? (front as Front) : {};
  } catch {
    return {}; // a stranger's card that nobody needs
  }
}

/** As Hugging Face calls it: what config.json says, or the folder of its cache; else the folder's own name. */
async function baseModel(source: Place): Promise<string> {
  const cached = /models--([^/\\]+)--([^/\\]+)/.exec(source.path);
  if (cached) return `${cached[1]}/${cached[2]}`;
  const config = source.at('config.json');
  const { _name_or_path: said }: { _name_or_path?: unknown } = (await isFile(config))
    ? parseJsonObject(await config.read(), config.path)
    : {};
  if (typeof said === 'string' && /^[\w.-]+\/[\w.-]+$/.test(said)) return said;
  return baseName({ path: source.path.replace(/[/\\]+$/, '') }) || 'model';
}

function resultOf({ metric, calibration, settings }: Report, type: string) {
  const { evaluation } = settings;
  const path = typeof evaluation === 'string' ? evaluation : calibration.path;
  const dataset = baseName({ path: path.replace(/[/\\]+$/, '') });
  return {
    task: { type },
    dataset: { name: dataset, type: dataset },
    metrics: [
      { type: metric!.name, value: metric!.after, name: `${metric!.name} (dense ${metric!.before})` },
    ],
  };
}

function text(name: string, base: string, report: Report): string {
  const { parameters, bytes, metric, macs, calibration, calibrationHash, target, statement } = report;
  const row = (what: string, { before, after }: { before: number; after: number }) =>
    `| ${what} | ${Number(before.toPrecision(6))} | ${Number(after.toPrecision(6))} |`;
  return [
    `# ${name}`,
    '',
    `${base}, made smaller by [osscar-wasm](https://www.npmjs.com/package/osscar-wasm) ${version} without retraining`,
    '(one-shot structured pruning, [OSSCAR](https://arxiv.org/abs/2403.12983)).',
    '',
    '| | dense | pruned |',
    '|---|---|---|',
    row('parameters', parameters),
    ...(macs ? [row('multiply-adds', macs)] : []),
    row('bytes of the weights', bytes),
    ...(metric ? [row(`${metric.name}, ${metric.samples} ${metric.data} samples`, metric)] : []),
    '',
    ...(statement ? [statement, ''] : []),
    `Calibrated with ${calibration.samples} samples of ${baseName(calibration)}${calibrationHash ? ` (SHA-256 \`${calibrationHash}\`)` : ''}, layers fitted to: ${target.chosen.kind}.`,
    '',
  ].join('\n');
}
