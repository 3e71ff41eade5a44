// Runs that are ended before their time, and what the next run finds. Nothing waits for a clock: signals are sent when
// a run has said something.

import type { ChildProcess } from 'node:child_process';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { run as runToEnd } from '../support/children.ts';
import {
  CLI,
  fixture,
  listing,
  MOBILENET,
  osscarJson,
  PREPROCESSING,
  PROGRESS,
  refused,
  temporaryFolder,
  WARNINGS,
} from './osscar.ts';

const folder = temporaryFolder();
const newFolder = (name: string) => mkdtempSync(join(folder, `${name}-`));
const CALIBRATION = ['--calibrate', fixture('calib'), ...PREPROCESSING];
const FASTEST = ['--samples', '2', '--seqlen', '16', '--method', 'magnitude'];
const language = (output: string, scratch: string, flags = FASTEST) => [
  ...['prune', fixture('opt-kjv'), '--calibrate', fixture('text/kjv-train.txt'), '--keep', '0.5'],
  ...['-o', output, '--scratch', scratch, ...flags],
];

/** Runs `osscar` to its end, and tells of everything it says on standard error as it comes. */
const run = (
  args: readonly string[],
  onError: (child: ChildProcess, stderr: string) => void,
  nodeFlags: readonly string[] = [],
) =>
  runToEnd(process.execPath, ['--liftoff-only', ...nodeFlags, CLI, ...args, '--threads', '1'], {
    stdin: 'pipe',
    onError,
  });

/** For `run`: acts at the first sign of work. */
function atFirst(act: (child: ChildProcess) => void): (child: ChildProcess) => void {
  let first = true;
  return (child) => {
    if (first) act(child);
    first = false;
  };
}

describe.each([
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
] as const)('a run ended by %s exits with %d, and leaves nothing behind:', (signal, exitCode) => {
  const message = 'osscar: interrupted; nothing was written\n';

  test('of an ONNX file', async () => {
    const out = newFolder('out');
    const model = join(out, 'model.onnx');
    copyFileSync(MOBILENET, model);
    const { code, stdout, stderr } = await run(
      ['prune', model, '--keep', '0.5', ...CALIBRATION, '-o', join(out, 'small.onnx'), '--json'],
      atFirst((child) => child.kill(signal)),
    );
    expect([code, stdout]).toEqual([exitCode, '']);
    expect(stderr.replace(PROGRESS, '')).toBe(message);
    expect(stderr).not.toContain('pruning:');
    expect(listing(out)).toEqual(['model.onnx']);
  });

  test('of a folder', async () => {
    const [out, scratch] = [newFolder('out'), newFolder('scratch')];
    const { code, stderr } = await run(
      language(join(out, 'small'), scratch, ['--seqlen', '64']),
      atFirst((child) => child.kill(signal)),
    );
    expect([code, stderr.replace(PROGRESS, '')]).toEqual([exitCode, message]);
    expect([listing(out), listing(scratch)]).toEqual([[], []]);
  });
});

/** For `run`: a module that is loaded before the command. */
const preloaded = (code: string) => ['--import', `data:text/javascript,${encodeURIComponent(code)}`];

/** The run interrupts itself as soon as it has made a folder for its output. */
const EARLY = preloaded(`
  import fs from 'node:fs/promises';
  import { syncBuiltinESMExports } from 'node:module';
  const { mkdir } = fs;
  fs.mkdir = async (...args) => {
    const made = await mkdir(...args);
    fs.mkdir = mkdir;
    syncBuiltinESMExports();
    process.kill(process.pid, 'SIGINT');
    return made;
  };
  syncBuiltinESMExports();`);

test('a run that is ended before it has read anything leaves nothing behind either', async () => {
  const [out, scratch] = [newFolder('out'), newFolder('scratch')];
  const { code, stderr } = await run(language(join(out, 'small'), scratch), () => {}, EARLY);
  expect([code, stderr]).toEqual([130, 'osscar: interrupted; nothing was written\n']);
  expect([listing(out), listing(scratch)]).toEqual([[], []]);
});

/** After its first words the run waits, and not for its event loop, until it is sent a byte. */
const WAITING = preloaded(`
  import { readSync } from 'node:fs';
  const { write } = process.stderr;
  process.stderr.write = function (text) {
    write.call(this, text);
    process.stderr.write = write;
    readSync(0, Buffer.alloc(1));
  };`);

describe('a second signal ends a run at once,', () => {
  const args = () => [
    ...['prune', MOBILENET, '--keep', '0.5', ...CALIBRATION],
    ...['-o', join(newFolder('out'), 'a.onnx')],
  ];

  test('even when it is busy for ever after the first', async () => {
    const hang = "AbortController.prototype.abort = () => { process.stderr.write('hangs\\n'); for (;;); }";
    const first = atFirst((child) => child.kill('SIGINT'));
    const { code, signal, stderr } = await run(
      args(),
      (child, text) => {
        first(child);
        if (text.endsWith('hangs\n')) child.kill('SIGINT');
      },
      preloaded(hang),
    );
    expect([code, signal], stderr).toEqual([null, 'SIGINT']);
  });

  test('and when both came while it was busy', async () => {
    const { code, signal, stderr } = await run(
      args(),
      atFirst((child) => {
        child.kill('SIGINT');
        child.kill('SIGTERM');
        child.stdin!.write('.');
      }),
      WAITING,
    );
    expect(code, stderr).toBe(null);
    expect(['SIGINT', 'SIGTERM']).toContain(signal);
    expect(stderr.replace(PROGRESS, '')).toBe('');
  });
});

test('a run removes what dead ones have left, and nothing of one that goes on', async () => {
  const [out, scratch] = [newFolder('out'), newFolder('scratch')];
  const killed = await run(
    language(join(out, 'small'), scratch),
    atFirst((child) => child.kill('SIGKILL')),
    WAITING,
  );
  expect(killed.signal).toBe('SIGKILL');
  const [left, ...more] = listing(out);
  expect([left, more]).toEqual([expect.stringMatching(/^\.osscar-/), []]);
  writeFileSync(join(scratch, left), 'activations');

  let resume: (child: ChildProcess) => void;
  const waiting = new Promise<ChildProcess>((resolve) => {
    resume = resolve;
  });
  const goingOn = run(
    language(join(out, 'small'), scratch),
    atFirst((child) => resume(child)),
    WAITING,
  );
  const child = await waiting;
  const [living] = listing(out);
  expect(living).not.toBe(left);
  expect([listing(out), listing(scratch)]).toEqual([[living], []]);

  await osscarJson(...language(join(out, 'second'), scratch));
  mkdirSync(join(out, left));
  const onnx = [
    'prune',
    MOBILENET,
    '--keep',
    '0.5',
    ...CALIBRATION,
    '--samples',
    '12',
    '--method',
    'magnitude',
  ];
  await osscarJson(...onnx, '-o', join(out, 'a.onnx'));
  expect(listing(out)).toEqual([living, 'a.onnx', 'second']);

  child.stdin!.write('.');
  const { code, stderr } = await goingOn;
  expect(code, stderr).toBe(0);
  expect(listing(out)).toEqual(['a.onnx', 'second', 'small']);
});

describe.each([
  [
    'an ONNX file',
    (out: string) => [
      ...['prune', MOBILENET, '--keep', '0.5', ...CALIBRATION, '--samples', '24', '--target', 'self'],
      ...['-o', join(out, 'small.onnx')],
    ],
  ],
  [
    'a folder',
    (out: string) =>
      language(join(out, 'small'), out, ['--samples', '4', '--seqlen', '32', '--target', 'self']),
  ],
])('the work folder of %s', (_, argsFor) => {
  const hashes = (out: string) =>
    readdirSync(out, { recursive: true, encoding: 'utf8' })
      .filter((name) => statSync(join(out, name)).isFile())
      .map((name) => [name, readFileSync(join(out, name)).toString('base64')]);

  test('continues a run that was killed or interrupted, to the same bytes', async () => {
    const [whole, out] = [newFolder('whole'), newFolder('out')];
    const work = join(newFolder('work'), 'kept');
    await osscarJson(...argsFor(whole));
    const args = [...argsFor(out), '--work', work];
    const solved = () => readdirSync(work).filter((name) => name.startsWith('solved~')).length;
    const killed = await run(args, (child, stderr) => {
      if (/pruning: [1-9]/.test(stderr)) child.kill('SIGKILL');
    });
    expect(killed.signal).toBe('SIGKILL');
    const before = solved();
    expect(before).toBeGreaterThan(0);
    const interrupted = await run(
      args,
      atFirst((child) => child.kill('SIGINT')),
    );
    expect(interrupted.code).toBe(130);
    expect(interrupted.stderr.replace(WARNINGS, '').replace(PROGRESS, '')).toBe(
      'osscar: interrupted; nothing was written, and the same command goes on from here\n',
    );
    await osscarJson(...args);
    expect(hashes(out)).toEqual(hashes(whole));
    expect(readdirSync(work).filter((name) => name.startsWith('.'))).toEqual([]);
    expect(solved()).toBeGreaterThan(before);
  });

  test('is refused, by name, where it is of another model or of other data', async () => {
    const out = newFolder('out');
    const args = [...argsFor(out), '--work', join(out, 'work')];
    await osscarJson(...args, '--method', 'magnitude-refit');
    await refused(
      [...argsFor(newFolder('other')), '--work', join(out, 'work'), '--samples', '5'],
      /work folder ".*work": holds a run of calibration data ".*" \([0-9a-f]{8}\), not of ".*"/,
    );
    const other = [
      'prune',
      fixture('fashion-resnet.onnx'),
      ...CALIBRATION,
      '--samples',
      '4',
      '--keep',
      '0.5',
    ];
    await refused(
      [...other, '-o', join(out, 'b.onnx'), '--work', join(out, 'work')],
      /holds a run of model ".*", not of "fashion-resnet\.onnx"/,
    );
  });
});
