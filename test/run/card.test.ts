import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test, vi } from 'vitest';
import { parse } from 'yaml';
import { onDisk } from '../../src/disk/place.ts';
import { limits } from '../../src/limits.ts';
import { modelCard } from '../../src/run/card.ts';

const folder = mkdtempSync(join(tmpdir(), 'osscar-card-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const report = {
  parameters: { before: 200, after: 100 },
  bytes: { before: 800, after: 400 },
  metric: { name: 'perplexity', samples: 8, data: 'evaluation', before: 5, after: 6.5 },
  sizes: [],
  calibration: { path: '/data/train.txt', samples: 16, seed: 0 },
  calibrationHash: 'ab12',
  settings: { model: folder, evaluation: '/data/test.txt' },
  target: { chosen: { kind: 'residual', blend: 1 } },
} as never;

function frontOf(card: string): Record<string, unknown> {
  const [, yaml] = /^---\n(.*?)\n---\n/s.exec(card)!;
  return parse(yaml);
}

test('says what Hugging Face asks for, after the card of the dense model', async () => {
  const front = {
    license: 'mit',
    language: ['en'],
    pipeline_tag: 'text2text-generation',
    tags: ['opt', 'pruned'],
  };
  writeFileSync(join(folder, 'README.md'), `---\n${JSON.stringify(front)}\n---\n# Dense`);
  writeFileSync(join(folder, 'config.json'), JSON.stringify({ _name_or_path: 'facebook/opt-125m' }));
  const place = onDisk(folder);
  const close = vi.fn();
  const openFolder = async () => {
    const opened = await place.openFolder();
    close.mockImplementation(opened.close);
    return { ...opened, close };
  };
  const card = await modelCard({ ...place, openFolder }, report, 'transformers');
  expect(close).toHaveBeenCalledOnce();
  expect(frontOf(card)).toEqual({
    ...{ license: 'mit', language: ['en'], pipeline_tag: 'text2text-generation' },
    ...{ base_model: 'facebook/opt-125m', library_name: 'transformers', tags: ['opt', 'pruned', 'osscar'] },
    'model-index': [
      {
        name: 'opt-125m-pruned',
        results: [
          {
            task: { type: 'text2text-generation' },
            dataset: { name: 'test.txt', type: 'test.txt' },
            metrics: [{ type: 'perplexity', value: 6.5, name: 'perplexity (dense 5)' }],
          },
        ],
      },
    ],
  });
  expect(card).toContain('# opt-125m-pruned\n\nfacebook/opt-125m, made smaller');
  expect(card).toContain(
    '| parameters | 200 | 100 |\n| bytes of the weights | 800 | 400 |\n| perplexity, 8 ev',
  );
  expect(card).toContain('| perplexity, 8 evaluation samples | 5 | 6.5 |\n\nCalibrated with');
  expect(card).toContain('16 samples of train.txt (SHA-256 `ab12`), layers fitted to: residual.');
});

test('has a row of what is counted and of what is stored otherwise, and what is to be said of the sizes', async () => {
  const more = {
    macs: { before: 1234567, after: 600000.4 },
    stored: { file: 'onnx/model_q4.onnx', weights: 'int4', metric: 7 },
    statement: 'Every head has half of its features.',
    settings: {},
    calibrationHash: undefined,
  };
  const card = await modelCard(onDisk(folder), { ...(report as object), ...more } as never, 'transformers');
  expect(card).toContain(
    '| multiply-adds | 1234570 | 600000 |\n| bytes of the weights | 800 | 400 |\n' +
      '| perplexity, 8 evaluation samples | 5 | 6.5 |\n| the same of onnx/model_q4.onnx (int4) | 5 | 7 |\n\n' +
      'Every head has half of its features.\n\nCalibrated with 16 samples of train.txt, layers',
  );
  const [model] = frontOf(card)['model-index'] as [{ results: [{ dataset: object }] }];
  expect(model.results[0].dataset).toEqual({ name: 'train.txt', type: 'train.txt' });
});

test.each<[string | undefined, object, boolean?]>([
  ['text-classification', { metric: { name: 'accuracy', before: 1, after: 1 } }],
  ['image-classification', { metric: { name: 'accuracy', before: 1, after: 1 }, preprocessing: {} }],
  ['audio-classification', { metric: { name: 'accuracy', before: 1, after: 1 }, preprocessing: {} }, true],
  ['feature-extraction', { metric: undefined }],
  ['feature-extraction', { metric: undefined, preprocessing: {} }, true],
  ['image-feature-extraction', { metric: undefined, preprocessing: {} }],
  [undefined, { metric: undefined, sizes: undefined }], // of an ONNX file
])('calls what encoders do %s', async (task, change, isAudio) => {
  rmSync(join(folder, 'README.md'), { force: true });
  const changed = { ...(report as object), ...change } as never;
  const card = await modelCard(onDisk(folder), changed, 'transformers.js', isAudio);
  expect(frontOf(card).pipeline_tag).toBe(task);
});

test.each([
  ['no card', undefined],
  ['a card that cannot be read', '---\n{\n---\n'],
  ['a card without front matter', '# Dense'],
])('does without: %s', async (_, dense) => {
  rmSync(join(folder, 'README.md'), { force: true });
  rmSync(join(folder, 'config.json'), { force: true });
  if (dense !== undefined) writeFileSync(join(folder, 'README.md'), dense);
  const front = frontOf(await modelCard(onDisk(`${folder}/`), report, 'osscar-wasm'));
  expect(front).toMatchObject({ pipeline_tag: 'text-generation', tags: ['pruned', 'osscar'] });
  expect(folder.endsWith(front.base_model as string)).toBe(true);
});

test('takes nothing but texts from the card of a stranger, and prints no warnings of it', async () => {
  const warnings = vi.spyOn(process, 'emitWarning');
  const front = [
    'license: !unknown mit',
    'license_name: {a: 1}',
    'language: [en, [de]]',
    'datasets: 2001',
    'tags: [opt, 1]',
    'pipeline_tag: [a]',
  ];
  writeFileSync(join(folder, 'README.md'), `---\n${front.join('\n')}\n---\n`);
  expect(frontOf(await modelCard(onDisk(folder), report, 'transformers'))).toEqual({
    license: 'mit',
    base_model: expect.any(String),
    library_name: 'transformers',
    pipeline_tag: 'text-generation',
    tags: ['pruned', 'osscar'],
    'model-index': expect.any(Array),
  });
  expect(warnings).not.toHaveBeenCalled();
});

test('reads no more of a card than limits.cardBytes', async () => {
  const long = `---\nlicense: mit\nx: ${'x'.repeat(limits.cardBytes)}\n---\n`;
  writeFileSync(join(folder, 'README.md'), long);
  expect(frontOf(await modelCard(onDisk(folder), report, 'transformers')).license).toBeUndefined();
});

test('follows no link out of the folder', async () => {
  rmSync(join(folder, 'README.md'), { force: true });
  const elsewhere = mkdtempSync(join(tmpdir(), 'osscar-card-'));
  writeFileSync(join(elsewhere, 'secret'), '---\nlicense: secret\n---\n');
  symlinkSync(join(elsewhere, 'secret'), join(folder, 'README.md'));
  const card = await modelCard(onDisk(folder), report, 'transformers');
  rmSync(elsewhere, { recursive: true });
  expect(card).not.toContain('secret');
});

test('a config.json that cannot be read costs no finished run', async () => {
  writeFileSync(join(folder, 'config.json'), '{');
  const front = frontOf(await modelCard(onDisk(folder), report, 'transformers'));
  rmSync(join(folder, 'config.json'));
  expect(folder.endsWith(front.base_model as string)).toBe(true);
});

test('finds the name of a folder in the Hugging Face cache', async () => {
  const cached = { ...onDisk(folder), path: '/hub/models--org--net/snapshots/abc' };
  expect(frontOf(await modelCard(cached, report, 'transformers')).base_model).toBe('org/net');
});
