// The page: five steps, each of which opens the next. All work is done by the workbench in its worker.

import { proxy, type Remote, wrap } from 'comlink';
import type { Effort, PreprocessingOptions, Progress, SizeKind } from 'osscar-wasm/model';
import { reportHtml, showReport } from 'osscar-wasm/report';
import { showComparison } from './comparison.ts';
import { byId, count, make, percent } from './dom.ts';
import type { ChosenFile } from './images.ts';
import { showProgress, startProgress } from './progress.ts';
import { chosenFraction, showTradeoff } from './size.ts';
import type { Facts, OnProgress, Outcome, Workbench } from './workbench.ts';

const worker = new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' });
const workbench: Remote<Workbench> = wrap(worker);

const form = byId<HTMLFormElement>('preprocessing');
const errorBox = byId('error');

let model: { readonly name: string; readonly file: Blob } | undefined;
let facts: Facts | undefined;
let images: readonly ChosenFile[] = [];

function showError(error: unknown): void {
  errorBox.textContent = error instanceof Error ? error.message : String(error);
  errorBox.hidden = false;
  errorBox.focus();
}

/** Steps from this one on are closed: what they show is of something else now. */
function closeFrom(...steps: readonly string[]): void {
  for (const step of steps) byId(step).hidden = true;
}

let isBusy = false;

/** Does what may fail, with everything else held meanwhile: a control that is disabled may still tell of a change. */
async function busy(what: string, task: (onProgress: OnProgress) => Promise<void>): Promise<void> {
  if (isBusy) return;
  isBusy = true;
  errorBox.hidden = true;
  startProgress(what);
  const controls = [
    ...document.querySelectorAll<HTMLButtonElement>('main button, main input, main select'),
  ].filter((it) => it.id !== 'cancel' && !it.disabled);
  for (const it of controls) it.disabled = true;
  byId('progress').hidden = false;
  byId('progress').scrollIntoView({ block: 'nearest' });
  try {
    await task(proxy((progress: Progress) => showProgress(progress)));
  } catch (error) {
    showError(error);
  } finally {
    isBusy = false;
    byId('progress').hidden = true;
    for (const it of controls) it.disabled = false;
    byId<HTMLButtonElement>('analyse').disabled = images.length === 0;
  }
}

const chosenFiles = (input: HTMLInputElement): ChosenFile[] =>
  Array.from(input.files ?? [], (file) => ({ path: file.webkitRelativePath || file.name, file }));

/** Not by FormData, which leaves out what is disabled. */
function preprocessing(): PreprocessingOptions {
  const fields = [...form.querySelectorAll<HTMLInputElement | HTMLSelectElement>('[name]')];
  const given = fields.map(({ name, value }) => [name, value.trim()]).filter(([, value]) => value !== '');
  const numbers = (text: string) => {
    const values = text.split(/[x,]/).map(Number);
    return values.length === 1 ? values[0] : values;
  };
  const isWord = (name: string) => ['resize', 'layout', 'color'].includes(name);
  return Object.fromEntries(
    given.map(([name, value]) => [name, isWord(name) ? value : numbers(value)]),
  ) as PreprocessingOptions;
}

/** The fields say what is known of a model; the others stay as they are. */
function fillPreprocessing(said: PreprocessingOptions): void {
  for (const [name, value] of Object.entries(said)) {
    const field = form.elements.namedItem(name) as HTMLInputElement | HTMLSelectElement | null;
    if (field) field.value = Array.isArray(value) ? value.join(name === 'size' ? 'x' : ',') : String(value);
  }
}

/** @param config  a preprocessor_config.json that was chosen with a model */
function openModel({ isNew = false, config }: { isNew?: boolean; config?: ChosenFile } = {}): Promise<void> {
  return busy('Opening the model…', async () => {
    closeFrom('images-step', 'size-step', 'result-step');
    const { name, file } = model!;
    facts = undefined;
    if (isNew) fillPreprocessing(await workbench.preprocessingOf(name, file, config));
    facts = await workbench.open(name, file, preprocessing());
    const { parameters, macs, bytes, input, structures, notPrunable, threads, engine } = facts;
    byId('facts').textContent =
      `${name}: input ${input.join(' × ')}, ${count(parameters)} parameters, ${count(macs)} multiply-adds, ` +
      `${count(bytes)} bytes. ${structures.length} structures can be pruned, ${notPrunable} cannot.`;
    byId('where').textContent = `${engine}, solver on ${threads} ${threads === 1 ? 'thread' : 'threads'}.`;
    byId('images-step').hidden = false;
  });
}

function setImages(files: readonly ChosenFile[]): void {
  images = files;
  closeFrom('size-step', 'result-step');
  byId('chosen').textContent = `${images.length} files chosen.`;
  byId<HTMLButtonElement>('analyse').disabled = images.length === 0;
}

async function analyse(): Promise<void> {
  if (!byId<HTMLInputElement>('most').reportValidity()) return;
  return busy('Analysing…', async (onProgress) => {
    closeFrom('size-step', 'result-step');
    const of = byId<HTMLSelectElement>('of').value as SizeKind;
    const most = byId<HTMLInputElement>('most').valueAsNumber;
    const { tradeoff, calibrated, evaluated, ignored, warnings } = await workbench.analyse(
      [...images],
      { of, most },
      onProgress,
    );
    byId('doubts').replaceChildren(...warnings.map((text) => make('p', { className: 'warning' }, text)));
    byId('chosen').textContent =
      `Calibrates with ${calibrated} images` +
      `${evaluated > 0 ? `, accuracy is measured on ${evaluated} others` : ''}` +
      `${ignored > 0 ? `; ${ignored} other files are ignored` : ''}.`;
    byId('size-step').hidden = false;
    showTradeoff(tradeoff, facts!);
    byId('size-step').scrollIntoView();
  });
}

function prune(): Promise<void> {
  return busy('Pruning…', async (onProgress) => {
    closeFrom('result-step');
    const effort = byId<HTMLSelectElement>('effort').value as Effort;
    const outcome = await workbench.prune({ fraction: chosenFraction(), effort }, onProgress);
    const comparison = await workbench.compare();
    byId('result-step').hidden = false;
    await showOutcome(outcome);
    showComparison(comparison, images);
    byId('result-step').querySelector('h2')!.focus();
  });
}

async function showOutcome({ model: smaller, report }: Outcome): Promise<void> {
  const { bytes, macs, metric } = report;
  const measured = metric && `, ${metric.name} ${metric.before.toFixed(3)} → ${metric.after.toFixed(3)}`;
  byId('summary').textContent =
    `${count(bytes.before)} → ${count(bytes.after)} bytes, ` +
    `${percent(macs!.after / macs!.before)} of the multiply-adds${measured ?? ''}`;
  offer('download', new Blob([smaller as Uint8Array<ArrayBuffer>]), report.model.path);
  const page = new Blob([await reportHtml(report)], { type: 'text/html' });
  offer('download-report', page, report.model.path.replace(/onnx$/, 'html'));
  showReport(byId('report'), report, 3);
}

function offer(id: string, blob: Blob, name: string): void {
  const link = byId<HTMLAnchorElement>(id);
  URL.revokeObjectURL(link.href);
  link.href = URL.createObjectURL(blob);
  link.download = name;
}

async function useSample(): Promise<void> {
  await busy('Loading the sample…', async () => {
    const sample = await import('./sample.ts');
    for (const [name, value] of Object.entries(sample.SAMPLE_PREPROCESSING))
      (form.elements.namedItem(name) as HTMLInputElement).value = value;
    model = { name: sample.SAMPLE_NAME, file: await sample.sampleModel() };
    setImages(sample.sampleImages());
  });
  if (model) await openModel();
}

byId('sample').addEventListener('click', useSample);
byId('model').addEventListener('change', ({ target }) => {
  const files = chosenFiles(target as HTMLInputElement);
  const config = files.find(({ path }) => path.endsWith('.json'));
  const [chosen = config, other] = files.filter((it) => it !== config);
  if (!chosen) return;
  if (other) {
    showError(`One model at a time: ${chosen.path} or ${other.path}.`);
    return;
  }
  model = { name: chosen.path, file: chosen.file };
  void openModel({ isNew: true, config });
});
// Whoever corrects how inputs are made has the model read again, with another size perhaps.
form.addEventListener('change', () => model && void openModel());
form.addEventListener('submit', (event) => event.preventDefault());
for (const id of ['images', 'folder'])
  byId(id).addEventListener('change', ({ target }) => setImages(chosenFiles(target as HTMLInputElement)));
byId('analyse').addEventListener('click', analyse);
byId('prune').addEventListener('click', prune);
byId('cancel').addEventListener('click', () => workbench.cancel());
byId('others').addEventListener('change', ({ target }) => {
  const files = chosenFiles(target as HTMLInputElement);
  if (files.length === 0) return;
  void busy('Comparing…', async () => showComparison(await workbench.compare(files), files));
});
addEventListener('error', ({ message }) => showError(message));
addEventListener('unhandledrejection', ({ reason }) => showError(reason));
worker.addEventListener('error', ({ message }) =>
  showError(message || 'The worker of this page did not start.'),
);

// Where it is refused, as in some private windows, the page works with a network alone.
navigator.serviceWorker?.register('./service-worker.js').catch(() => {});
