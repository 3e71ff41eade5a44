// Reports of runs: a page that lets nothing in or out, the same as JSON, and both again from the folder of a run.

import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { fixture, MOBILENET, osscar, osscarJson, PREPROCESSING, refused, temporaryFolder } from './osscar.ts';

const folder = temporaryFolder();
const path = (name: string) => join(folder, name);
/** A name that would be markup where it is not escaped. */
const MODEL = path('<img src=x onerror=alert(1)>&.onnx');
// biome-ignore lint/suspicious/noExplicitAny: what is in it is the tests' own question
let report: any;
let page: string;

beforeAll(async () => {
  copyFileSync(MOBILENET, MODEL);
  report = await osscarJson(
    ...[
      'prune',
      MODEL,
      '--calibrate',
      fixture('calib'),
      ...PREPROCESSING,
      '--samples',
      '40',
      '--target',
      'self',
    ],
    ...['--macs', '0.5', '--effort', 'low', '--compare', 'magnitude'],
    ...['-o', path('small.onnx'), '--work', path('work'), '--report', path('report.html')],
  );
  page = readFileSync(path('report.html'), 'utf8');
});

describe('prune --report', () => {
  test('writes what --json prints beside the page, with the version of its form', () => {
    expect(JSON.parse(readFileSync(path('report.json'), 'utf8'))).toEqual(report);
    expect(report).toMatchObject({
      version: 1,
      settings: { model: MODEL, macs: '0.5', samples: 40, compare: ['magnitude'] },
    });
    for (const { macsSaved, kept, groups } of report.layers) {
      expect(macsSaved > 0).toBe(kept.length < groups);
      expect(macsSaved).toBeLessThan(1 - kept.length / groups + 1e-9);
    }
  });

  test('says what weights are stored as, in the text as on the page', async () => {
    const work = path('stored');
    mkdirSync(work);
    const stored = { ...report, weights: 'int8' };
    writeFileSync(join(work, 'report.json'), JSON.stringify(stored));
    const { stdout } = await osscar('report', work, '--report', path('stored.html'));
    expect(stdout).toMatch(/^osscar, macs .* structures, weights as int8, 40 samples, fitted to: self$/m);
    expect(readFileSync(path('stored.html'), 'utf8')).toMatch(
      /structures, weights as int8, 40 calibration samples, fitted to self, in /,
    );
    expect(page).toMatch(/structures, 40 calibration samples, fitted to self, in /);
  });

  test('writes a page whose policy allows its own script and style and nothing else', () => {
    const policy = /content="(default-src[^"]+)"/.exec(page)![1];
    expect(policy).toMatch(/^default-src 'none'; /);
    for (const [element, directive] of [
      ['script', 'script-src'],
      ['style', 'style-src'],
    ]) {
      const [, text] = new RegExp(`<${element}>(.*?)</${element}>`, 's').exec(page)!;
      const hash = createHash('sha256').update(text).digest('base64');
      expect(policy).toContain(`${directive} 'sha256-${hash}'`);
    }
    expect(page).not.toMatch(/(?:src|href)=["']?(?:https?:|\/\/)/);
    expect(page).not.toMatch(/<[^>]+ style=/);
    expect(page).toContain('Leon Sorokin'); // uPlot's licence goes with its code
  });

  test('has every structure, and foreign text as text alone', () => {
    expect(page).toContain('<h1>&lt;img src=x onerror=alert(1)&gt;&amp;.onnx, pruned</h1>');
    expect(page).not.toContain('<img');
    for (const { name, kept, groups } of report.layers) {
      expect(page).toContain(
        `<th scope="row">${name}</th><td><meter aria-hidden="true" min="0" max="${groups}" value="${kept.length}">`,
      );
    }
    const drawn = JSON.parse(/<script type="application\/json" id="drawn">(.*?)<\/script>/s.exec(page)![1]);
    expect(drawn.curves.map(({ name }: { name: string }) => name)).toEqual(
      report.layers.map(({ name }: { name: string }) => name),
    );
    for (const [i, { errors, kept }] of drawn.curves.entries()) {
      expect(errors).toHaveLength(report.layers[i].groups + 1);
      expect(kept).toBe(report.layers[i].kept.length);
    }
  });
});

describe('beside what was pruned, a report has', () => {
  test('what the sizes that were tried are chosen by', () => {
    const { trials, chosen } = report.allocation;
    expect(trials.length).toBeGreaterThan(1);
    for (const { name, loss, lost } of trials)
      expect(page).toContain(
        `${name === chosen ? `${name} (chosen)` : name}</th><td>${loss.toPrecision(3)}</td><td>${lost.toPrecision(3)}</td>`,
      );
  });

  test('other methods at the same sizes, which do worse', () => {
    const [magnitude] = report.comparison;
    expect(report.comparison).toHaveLength(1);
    expect(magnitude).toMatchObject({ method: 'magnitude', metric: { before: report.metric.before } });
    expect(magnitude.metric.after).toBeLessThan(report.metric.after);
    expect(page).toContain(`<tr><th scope="row">magnitude</th><td>${magnitude.metric.after.toFixed(4)}</td>`);
  });

  test('the curve of sizes against expected loss, with the size that was chosen', () => {
    const { points, knee, before } = report.tradeoff;
    expect(before).toBe(report.macs.before);
    expect(points).toContainEqual(knee);
    for (let i = 1; i < points.length; i++) {
      expect(points[i].fraction).toBeLessThan(points[i - 1].fraction);
      expect(points[i].loss).toBeGreaterThanOrEqual(points[i - 1].loss);
    }
    const { tradeoff } = JSON.parse(/id="drawn">(.*?)<\/script>/s.exec(page)![1]);
    expect(tradeoff).toEqual({ ...report.tradeoff, chosen: report.macs.after / report.macs.before });
    expect(page).toContain('<figure data-chart="tradeoff">');
  });

  test('the same curve where sizes are given, after an analysis', async () => {
    const args = [MODEL, '--calibrate', fixture('calib'), ...PREPROCESSING, '--samples', '20', '--json'];
    const analysis = (await osscarJsonOf(
      'analyze',
      ...args,
      '--work',
      path('analysed'),
    )) as typeof report.tradeoff;
    const given = ['--keep', '0.5', '--target', 'self', '-o', path('given.onnx'), '--work', path('analysed')];
    const { tradeoff } = (await osscarJsonOf('prune', ...args, ...given)) as typeof report;
    expect(tradeoff.points.map(({ size }: { size: number }) => size)).toEqual(
      analysis.points.map(({ size }: { size: number }) => size),
    );
    writeFileSync(path('analysed/tradeoff.json'), '{"of":"macs","before":1,"points":[],"knee":{}}');
    await refused(
      ['prune', ...args, ...given, '--overwrite'],
      /tradeoff\.json": nothing of osscar analyze: "points"/,
    );
  });
});

describe('osscar report', () => {
  test('gives the report of a finished run again', async () => {
    expect(await osscarJsonOf('report', path('work'))).toEqual(report);
    expect(await osscarJsonOf('report', path('report.json'))).toEqual(report);
    const other = await osscar('report', MODEL);
    expect([other.code, other.stderr]).toEqual([
      2,
      expect.stringContaining('onnx": expected the folder of a run (--work), or the .json'),
    ]);
    const { code, stdout } = await osscar('report', path('work'), '--report', path('again.html'));
    expect(code).toBe(0);
    expect(stdout).toMatch(/^osscar, macs at most .*, 6 structures, 40 samples/);
    expect(stdout).toMatch(/^the same by magnitude +0\.\d{4}$/m);
    expect(readFileSync(path('again.html'), 'utf8')).toBe(page);
  });

  test('is refused: no folder, none of a run, another version', async () => {
    const refusedReport = async (work: string, message: RegExp) => {
      const { code, stdout, stderr } = await osscar('report', work);
      expect([code, stdout]).toEqual([2, '']);
      expect(stderr).toMatch(message);
    };
    await refusedReport(path('nowhere'), /^osscar: ".*nowhere": no such file or folder\n$/);
    const empty = mkdtempSync(path('empty-'));
    await refusedReport(empty, /^osscar: ".*report\.json": no finished run of osscar prune --work .*\n$/);
    mkdirSync(join(empty, 'report.json'));
    await refusedReport(empty, /^osscar: ".*report\.json": is a folder\n$/);
    rmdirSync(join(empty, 'report.json'));
    writeFileSync(join(empty, 'report.json'), '{"version": 2}');
    await refusedReport(empty, /^osscar: ".*report\.json": not a report of version 1, got 2\n$/);
  });

  test('is refused where the file says what no report says, and so puts nothing into a page', async () => {
    const changed = (name: string, change: object) => {
      const work = mkdtempSync(path(`${name}-`));
      writeFileSync(join(work, 'report.json'), JSON.stringify({ ...report, ...change }));
      return work;
    };
    const [layer, ...layers] = report.layers;
    const markup = '"><img src=x onerror=alert(1)>';
    for (const [change, field] of [
      [{ layers: [{ ...layer, groups: markup }, ...layers] }, 'layers.0.groups'],
      [{ seconds: markup }, 'seconds'],
      [{ stages: [{ ...report.stages[0], seconds: markup }] }, 'stages.0.seconds'],
      [{ layers: [{ ...layer, kept: new Array(layer.groups + 1).fill(0) }] }, 'layers.0'],
      [{ settings: {} }, 'settings.model'],
      [{ recipe: { method: 'osscar' } }, 'it'],
    ] as const) {
      const page = path('hostile.html');
      const { code, stderr } = await osscar('report', changed('changed', change), '--report', page);
      expect([code, existsSync(page)], stderr).toEqual([2, false]);
      expect(stderr).toMatch(/^osscar: ".*report\.json": no report of osscar prune: [^\n]+\n$/);
      expect(stderr).toContain(`"${field}": `);
    }
    // Texts may say anything, and numbers be missing where JSON has none.
    const named = changed('named', {
      engine: markup,
      layers: [{ ...layer, name: markup, relativeError: null }],
    });
    const { code } = await osscar('report', named, '--report', path('named.html'));
    const written = readFileSync(path('named.html'), 'utf8');
    expect([code, written.includes('<img')]).toEqual([0, false]);
    expect(written).toContain('&quot;&gt;&lt;img src=x onerror=alert(1)&gt;');
  });

  test('is refused where the page cannot be written, before the work', async () => {
    const args = ['prune', MODEL, '--calibrate', fixture('calib'), '--keep', '0.5', '-o', path('b.onnx')];
    await refused(
      [...args, '--report', join(path('no'), 'r.html')],
      /no": no such file or folder; make it first/m,
    );
    await refused(
      [...args, '--report', path('r.pdf')],
      /^osscar: --report: expected the name of an \.html file, got ".*r\.pdf"$/m,
    );
  });
});

async function osscarJsonOf(...args: string[]): Promise<unknown> {
  const { code, stdout, stderr } = await osscar(...args, '--json');
  expect(code, stderr).toBe(0);
  return JSON.parse(stdout);
}
