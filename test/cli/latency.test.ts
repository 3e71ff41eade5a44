import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { tiny } from './models.ts';
import { fixture, osscar, osscarJson, PREPROCESSING, refused, temporaryFolder } from './osscar.ts';

const folder = temporaryFolder();
const model = join(folder, 'tiny.onnx');
writeFileSync(model, tiny());

describe('osscar latency', () => {
  test('--json prints the table, -o writes it, and prune takes it', async () => {
    const path = join(folder, 'table.json');
    const table = await osscarJson('latency', model, '-o', path);
    expect(JSON.parse(readFileSync(path, 'utf8'))).toEqual(table);
    expect(Object.keys(table)).toEqual([
      ...['version', 'model', 'structures', 'macs', 'sample', 'engine'],
      ...['denseMs', 'terms', 'measured', 'error'],
    ]);
    expect(table).toMatchObject({ version: 1, model: 'tiny.onnx', sample: [1, 28, 28] });
    expect(Object.values(table.structures)).toEqual([10, 12]);
    for (const { value, of } of table.terms) {
      expect(value).toBeGreaterThan(0);
      for (const name of of) expect(table.structures).toHaveProperty([name]);
    }
    // Of all that it says, a table by hand whose time no machine decides.
    const terms = Object.keys(table.structures).map((name) => ({ value: 1, of: [name] }));
    writeFileSync(path, JSON.stringify({ ...table, denseMs: 2, terms }));
    const { allocation } = await osscarJson(
      ...['prune', model, '--calibrate', fixture('calib'), ...PREPROCESSING, '--samples', '16', '--force'],
      ...['--latency', '1ms', '--latency-table', path, '--effort', 'low', '-o', join(folder, 'small.onnx')],
    );
    expect(allocation).toMatchObject({ of: 'latency', limit: 1, before: 2 });
    expect(allocation.after).toBeLessThanOrEqual(1);
  });

  test('says what half of each structure saves', async () => {
    const { code, stdout } = await osscar('latency', model, '--threads', '1');
    expect(code).toBe(0);
    const [title, , head, ...rows] = stdout.trimEnd().split('\n');
    expect(title).toMatch(
      /^tiny\.onnx: [\d.e-]+ ms of one sample, onnxruntime-web [\d.]+; median error of the fit [\d.]+ %$/,
    );
    expect(head).toMatch(/^structure +groups +half saves, ms +of all$/);
    expect(rows).toHaveLength(2);
  });

  test('refuses a folder, and a table that is none', async () => {
    await refused(
      ['latency', fixture('opt-kjv')],
      /opt-kjv": latency is measured of ONNX files, not of folders$/m,
    );
    const path = join(folder, 'no-table.json');
    writeFileSync(path, '[]');
    await refused(
      [
        'prune',
        model,
        '--calibrate',
        fixture('calib'),
        '--latency',
        '0.5',
        '--latency-table',
        path,
        '-o',
        join(folder, 'no.onnx'),
      ],
      `"${path}": latency table: expected version 1`,
    );
    await refused(
      [
        'prune',
        fixture('opt-kjv'),
        '--calibrate',
        fixture('text/kjv-train.txt'),
        '--latency',
        '0.5',
        '-o',
        join(folder, 'no'),
      ],
      /^osscar: --latency is of ONNX files only; of a folder, give --params or --macs$/m,
    );
  });
});
