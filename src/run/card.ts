// README.md of a pruned model's folder: the front matter that Hugging Face reads, and what a person should know.

import type { Folder } from '../checkpoint/index.ts';
import { isObject } from '../expect.ts';
import { type JsonObject, parseJsonObject } from '../json.ts';
import { limits } from '../limits.ts';
import type { SavedReport } from '../pipeline/index.ts';
import { counted } from '../printable.ts';
import { unloaded } from '../unloaded.ts';
import { version } from '../version.ts';
import { baseName, type Place } from './place.ts';

/** A report but for where the model went. */
type Report = Omit<SavedReport, 'model'> & { readonly preprocessing?: object };

export const CARD_FILE = 'README.md';

/** Fields that hold for the smaller model as well. */
const COPIED = ['license', 'license_name', 'license_link', 'language', 'datasets'];
const TAGS = ['pruned', 'osscar'];

/**
 * The card of what was made of the model in a folder.
 *
 * @param loader  the library that the folder is for
 * @param isAudio  what the samples are, where they are no text
 */
export async function modelCard(
  source: Place,
  report: Report,
  loader: string,
  isAudio?: boolean,
): Promise<string> {
  const yaml = await import('yaml').catch(unloaded('what writes model cards')); // of 72 modules, which only runs that write a card wait for
  const { card, config } = await filesOf(source);
  const of = frontMatter(yaml, card);
  const base = baseModel(source, config);
  const { metric } = report;
  const type = isText(of.pipeline_tag) ? of.pipeline_tag : taskOf(report, isAudio);
  const copied = COPIED.filter((field) => isText(of[field]) || isTexts(of[field]));
  const tags = [...(isTexts(of.tags) ? of.tags : []), ...TAGS];
  const name = `${base.split('/').pop()}-pruned`;
  const fields = {
    ...Object.fromEntries(copied.map((field) => [field, of[field]])),
    base_model: base,
    library_name: loader,
    pipeline_tag: type, // left out where it is undefined
    tags: [...new Set(tags)],
    ...(metric && type && { 'model-index': [{ name, results: [resultOf(report, type)] }] }),
  };
  return `---\n${yaml.stringify(fields)}---\n\n${text(name, base, report)}`;
}

/** What Hugging Face calls that which is measured; of ONNX files without a metric nobody can know. */
function taskOf({ metric, sizes, preprocessing, encoder }: Report, isAudio?: boolean): string | undefined {
  // Behind an encoder it may be of a translation, a summary or a recording.
  if (metric?.name === 'perplexity') return encoder ? undefined : 'text-generation';
  if (metric) return `${isAudio ? 'audio' : preprocessing ? 'image' : 'text'}-classification`;
  if (sizes === undefined) return undefined;
  return preprocessing && !isAudio ? 'image-feature-extraction' : 'feature-extraction';
}

const isText = (it: unknown): it is string => typeof it === 'string';
const isTexts = (it: unknown): it is string[] => Array.isArray(it) && it.every(isText);

/** What a stranger says of the dense model. A finished run is not lost to what nobody needs: what cannot be read is not there. */
async function filesOf(source: Place): Promise<{ card?: Uint8Array; config?: Uint8Array }> {
  if ((await source.kind()) !== 'folder') return {};
  const folder = await source.openFolder();
  try {
    const card = await startOf(folder, CARD_FILE, limits.cardBytes);
    const config = await startOf(folder, 'config.json', limits.jsonBytes);
    return { card, config };
  } finally {
    await folder.close();
  }
}

async function startOf(folder: Folder, file: string, most: number): Promise<Uint8Array | undefined> {
  try {
    return await folder.read(file, 0, Math.min(most, await folder.size(file)));
  } catch {
    return undefined;
  }
}

/** Warnings would be printed; pretty errors and the search for equal keys take the square of what a stranger wrote. */
const YAML = { logLevel: 'error', prettyErrors: false, uniqueKeys: false } as const;

/** Between the first lines of dashes. */
function frontMatter({ parse }: typeof import('yaml'), card?: Uint8Array): JsonObject {
  const [, text = ''] = /^---\r?\n(.*?)\r?\n---/s.exec(new TextDecoder().decode(card)) ?? [];
  try {
    const front: unknown = parse(text, YAML);
    return isObject(front) ? front : {};
  } catch {
    return {};
  }
}

/** As Hugging Face calls it: the folder of its cache, or what config.json says; else the folder's own name. */
function baseModel(source: Place, config?: Uint8Array): string {
  const cached = /models--([^/\\]+)--([^/\\]+)/.exec(source.path);
  if (cached) return `${cached[1]}/${cached[2]}`;
  const said = config && nameIn(config);
  if (isText(said) && /^[\w.-]+\/[\w.-]+$/.test(said)) return said;
  return baseName({ path: source.path.replace(/[/\\]+$/, '') }) || 'model';
}

function nameIn(config: Uint8Array): unknown {
  try {
    return parseJsonObject(config, 'config.json')._name_or_path;
  } catch {
    return undefined;
  }
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
  const { parameters, bytes, metric, stored, macs, encoder } = report;
  const { calibration, calibrationHash, target, statement } = report;
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
    ...(encoder
      ? [row('parameters of the encoder', encoder.parameters), row('bytes of its weights', encoder.bytes)]
      : []),
    ...(metric ? [row(`${metric.name}, ${metric.samples} ${metric.data} samples`, metric)] : []),
    ...(metric && stored?.metric !== undefined
      ? [
          row(`the same of ${stored.file} (${stored.weights})`, {
            before: metric.before,
            after: stored.metric,
          }),
        ]
      : []),
    '',
    ...(statement ? [statement, ''] : []),
    `Calibrated with ${counted(calibration.samples, 'sample')} of ${baseName(calibration)}${calibrationHash ? ` (SHA-256 \`${calibrationHash}\`)` : ''}, layers fitted to: ${target.chosen.kind}.`,
    '',
  ].join('\n');
}
