import { existsSync, openSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { describe, expect, test } from 'vitest';
import packageJson from '../../package.json' with { type: 'json' };
import { METHODS } from '../../src/solve/index.ts';
import { spawn } from '../support/children.ts';
import { CLI, fixture, MOBILENET, osscar, osscarUnder } from './osscar.ts';

describe.concurrent('osscar', () => {
  test.each(['--version', '-V', '-v', 'version'])('prints its version: %s', async (asked) => {
    expect(await osscar(asked)).toEqual({ code: 0, stdout: `${packageJson.version}\n`, stderr: '' });
  });

  test('prints help on standard output where it is asked for, of every command', async () => {
    const whole = await osscar('--help');
    expect([whole.code, whole.stderr]).toEqual([0, '']);
    for (const command of ['inspect', 'prune', 'eval'])
      expect(whole.stdout).toMatch(new RegExp(`^ +${command}`, 'm'));
    const prune = await osscar('prune', '--help');
    expect([prune.code, prune.stderr]).toEqual([0, '']);
    for (const flag of [
      '--calibrate',
      '--keep',
      '--method',
      '--target',
      '--samples',
      '--seed',
      '--json',
      '--threads',
    ]) {
      expect(prune.stdout).toContain(flag);
    }
  });

  test('prints the help of a command that is asked for as of git', async () => {
    expect(await osscar('help', 'prune')).toEqual(await osscar('prune', '--help'));
  });

  test('takes what can only be meant one way', async () => {
    const data = fixture('test');
    const plain = ['--data', data, '--samples', '20', '--mean', '0.286', '--std', '0.353', '--size', '28'];
    const odd = [
      ...['—data', data, '–-samples=20', '--mean', '[0.286]', '--std', '(0.353)', '--size', '28×28'],
      ...['--simd', 'Baseline', '--layout', 'NCHW', '--color', 'Gray'],
    ];
    const { stdout, stderr } = await osscar('eval', MOBILENET, ...odd, '--threads', '1');
    expect(stdout, stderr).toBe((await osscar('eval', MOBILENET, ...plain, '--threads', '1')).stdout);
    for (const size of ['28X28', '28*28', '28, 28', ' 28 28 '])
      expect((await osscar('inspect', MOBILENET, '--size', size, '--threads', '1')).code, size).toBe(0);
  });

  test.each([
    [['--timeout', '5m'], "option '--timeout <s>' argument '5m' is invalid. expected seconds, as 300."],
    [['--samples', 'abc'], "option '--samples <n>' argument 'abc' is invalid. expected a whole number."],
    [['--keep'], "option '--keep <ratio>' argument missing"],
  ])('says no more where that is all: %j', async (flags, told) => {
    expect((await osscar('prune', 'a.onnx', ...flags)).stderr).toBe(`osscar: ${told}\n`);
  });

  test('prints help on standard error where it was called with nothing', async () => {
    const { code, stdout, stderr } = await osscar();
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toMatch(/^Usage: osscar/);
  });

  const prune = ['prune', 'model.onnx', '--calibrate', 'images', '-o', 'out.onnx'];
  test.each([
    [['bogus'], "unknown command 'bogus'"],
    [['inspect'], "missing required argument 'model'"],
    [
      ['inspect', 'a.onnx', 'b.onnx'],
      'too many arguments for \'inspect\': "b.onnx" (there is one model; see',
    ],
    [['report', 'a', 'b'], '"b" (there is one work; see'],
    [['status', 'b', '--queue', 'redis://h'], '"b" (it takes flags alone; see'],
    [
      ['prune', 'a.onnx', '-out', 'b.onnx'],
      '"b.onnx" (-out is one letter with a value. Did you mean --output?; see osscar prune --help)',
    ],
    ...['', 'hf://', 'huggingface.co/', 'https://huggingface.co/'].map((before): [string[], string] => [
      ['inspect', `${before}facebook/opt-125m`],
      'huggingface.co: first hf download facebook/opt-125m --local-dir opt-125m\n',
    ]),
    [
      ['eval', MOBILENET, '--data', 'https://huggingface.co/datasets/allenai/c4/tree/main'],
      'huggingface.co: first hf download allenai/c4 --local-dir c4 --repo-type dataset\n',
    ],
    [['inspect', 'src/nothing'], '"src/nothing": no such file or folder\n'],
    [
      [...prune, '--mean', '0.4', '0.5', '--keep', '0.5'],
      '"0.5" (several values are one with commas: --mean 0.4,0.5; see',
    ],
    [['inspect', 'a.onnx', '--size', '28', '28'], 'several values are one with commas: --size 28,28; see'],
    [['inspect', 'a.onnx', '--size=28', '28'], 'several values are one with commas: --size 28,28; see'],
    [[...prune, '--params', '20', 'M'], '"M" (a value with spaces is quoted: --params "20 M"; see'],
    [
      ['prune', 'a.onnx', '--calibrate', 'my', 'own', 'photos', '--keep', '1'],
      'quoted: --calibrate "my own photos"; see',
    ],
    [
      ['prune', 'a.onnx', '--calibrate', 'a.png', 'b.png', 'c.png', 'd.png', 'e.png', '--keep', '1'],
      '"b.png", "c.png", "d.png" and 1 more (the shell makes many arguments of a pattern; give --calibrate the folder itself; see',
    ],
    [
      [...prune.slice(0, 2), 'images', '--keep', '0.5'],
      '"images" (there is one model, data go behind --calibrate, what is written behind --output; see',
    ],
    [['eval', 'a.onnx', 'images'], '"images" (there is one model, data go behind --data; see'],
    [
      ['prune', '--compare', 'magnitude', 'model.onnx'],
      'expected some of osscar, ziplm, magnitude, magnitude-refit; other arguments go before --compare.',
    ],
    [
      ['prune', '--macs', '0.5', '--exclude', 'x', 'model.onnx'],
      "missing required argument 'model' (what follows --exclude is its own; give the model before it)",
    ],
    [[...prune, '--compare', 'magnitude,l1'], "'--compare <method...>' argument 'magnitude,l1' is invalid."],
    [[...prune.slice(0, -1), '--json'], "'-o, --output <path>' argument missing: --json is a flag itself"],
    [
      ['inspect', 'a.onnx', '--config', '--json'],
      "'--config <file>' argument missing: --json is a flag itself",
    ],
    [[...prune.slice(0, -1), '-h'], "'-o, --output <path>' argument missing: -h is a flag itself"],
    [
      ['prune', 'a.onnx', '--calibrate', '--keep', '0.5'],
      "'--calibrate <path>' argument missing: --keep is a flag itself",
    ],
    [
      ['--keep', '0.5', 'prune', 'a.onnx'],
      "unknown option '--keep' (a command comes first, as osscar prune)",
    ],
    [
      ['nets/a.onnx', '--keep', '0.5'],
      "unknown command 'nets/a.onnx' (a command comes first, as osscar prune nets/a.onnx)\n",
    ],
    [
      ['prune', 'a.onnx', '--calibrate', '', '--keep', '0.5'],
      "option '--calibrate <path>' argument is empty; is a variable of the shell unset?\n",
    ],
    [['evaluate', 'a.onnx'], "unknown command 'evaluate' (Did you mean eval?)"],
    [['INSPECT', 'a.onnx'], "unknown command 'INSPECT' (Did you mean inspect?)"],
    [
      ['prune', 'a.onnx', '--calibrate', 'a', '--calibrate', 'b'],
      '--calibrate is given as a and as b; put both into one file or folder\n',
    ],
    [['help', 'prun'], "unknown command 'prun' (Did you mean prune?)"],
    [['inspect', '--model', 'a.onnx'], "unknown option '--model' (the model is given without a flag)"],
    [['inspect', '-i', 'a.onnx'], "unknown option '-i' (the model is given without a flag)"],
    [['prune', '--input', 'a.onnx'], 'expected NAME=NUMBER. (the model is given without a flag)'],
    [['analyze', 'a.onnx', '-o', 'b'], "unknown option '-o' (it is a flag of osscar prune, latency)"],
    [['prune', 'a.onnx', '--o', 'b'], "unknown option '--o' (Did you mean -o?)"],
    [['prune', 'a.onnx', '-c', 'd'], "unknown option '-c' (Did you mean --calibrate?)"],
    [['prune', 'a.onnx', '--layers', 'a'], "unknown option '--layers' (Did you mean --keep-layer?)"],
    [['prune', 'a.onnx', '--outputs', 'b'], "unknown option '--outputs' (Did you mean --output?)"],
    [['prune', 'a.onnx', '--output_name', 'b'], '(Did you mean --output-names?)'],
    [['prune', 'a.onnx', '-k', '0.5'], "unknown option '-k' (Did you mean --keep?)"],
    [['prune', 'a.onnx', '--keep_heads', '0.5'], '(Did you mean --keep-heads?)'],
    [['prune', 'a.onnx', '--speedup', '2'], '(Did you mean --latency?)'],
    [['prune', 'a.onnx', '--quantize', 'int8'], "unknown option '--quantize' (Did you mean --weights?)"],
    [['prune', 'a.onnx', '--half'], "unknown option '--half' (Did you mean --weights?)"],
    [['prune', 'a.onnx', '--device', 'cuda'], "unknown option '--device' (it runs on the CPU)"],
    [['eval', 'a.onnx', '--calibrate', 'd'], "unknown option '--calibrate' (Did you mean --data?)"],
    [['inspect', 'a.onnx', '--size', '28+28'], "'--size <n>' argument '28+28' is invalid. expected pixels"],
    [
      ['eval', 'a.onnx', '--data', 'd', '--mean', 'imagenet'],
      "'--mean <list>' argument 'imagenet' is invalid. expected one number or one per channel, as 0.485,0.456,0.406.",
    ],
    [['inspect', 'a.onnx', '--bogus'], "unknown option '--bogus'"],
    [['inspect', 'a.onnx', '--thread', '1'], "unknown option '--thread' (Did you mean --threads?)"],
    [['prune', 'a.onnx', '--calib', 'd'], "unknown option '--calib' (Did you mean --calibrate?)"],
    [['prune', 'a.onnx', '-calibrate', 'd'], "unknown option '-calibrate' (Did you mean --calibrate?)"],
    [['prune', 'a.onnx', '--output-dir', 'd'], "unknown option '--output-dir' (Did you mean --output?)"],
    [
      ['prune', 'a.onnx', '--sparsity=0.7'],
      "unknown option '--sparsity=0.7' (--keep is the part that stays: --keep 0.3 where 0.7 goes)\n",
    ],
    [['prune', 'a.onnx', '--pruning_ratio', '90%'], 'stays: --keep 0.1 where 0.9 goes)'],
    [['prune', 'a.onnx', '--ch-sparsity', '50'], 'stays: --keep 0.5 where 0.5 goes)'],
    [['prune', 'a.onnx', '--ratio', '1'], "'--ratio' (--keep is the part that stays)\n"],
    [['prune', 'a.onnx', '--amount'], "'--amount' (--keep is the part that stays)\n"],
    [['eval', 'a.onnx', '--sparsity', '0.7'], "'--sparsity' (see osscar eval --help)"],
    [['prune', 'a.onnx', '--calibration-data', 'd'], '(Did you mean --calibrate?)'],
    [['eval', 'a.onnx', '--calibration-data', 'd'], '(Did you mean --data?)'],
    [['prune', 'a.onnx', '--num_calibration_samples', '8'], '(Did you mean --samples?)'],
    [['prune', 'a.onnx', '--max-seq-length', '8'], '(Did you mean --seqlen?)'],
    [['prune', 'a.onnx', '--max-accuracy-drop', '1%'], '(Did you mean --max-loss?)'],
    [['prune', 'a.onnx', '--imgsz', '64'], '(Did you mean --size?)'],
    [['prune', 'a.onnx', '--overwrite-input-shape', 'x'], '(Did you mean --size?)'],
    [['prune', 'a.onnx', '--ignored_layers', 'x'], '(Did you mean --exclude?)'],
    [['prune', 'a.onnx', '-j', '8'], '(Did you mean --threads?)'],
    [['prune', 'a.onnx', '--Keep', '0.5'], '(Did you mean --keep?)'],
    [['prune', 'a.onnx', '--batch-size', '8'], '(batches are as large as fits the memory)'],
    [['prune', 'a.onnx', '--iterative_steps', '8'], '(nothing is trained)'],
    [['prune', 'a.onnx', '-q'], '(progress goes to standard error'],
    [['--prune', 'a.onnx'], "unknown option '--prune' (a command comes first, as osscar prune)"],
    [
      ['compare', 'a.onnx', 'b.onnx'],
      "unknown command 'compare' (eval says how good a model is, prune --compare",
    ],
    [
      ['prune', 'a.onnx', '--force', 'true'],
      '"true" (--force takes no value: it is on where it is there; see',
    ],
    [['compress', 'a.onnx'], "unknown command 'compress' (Did you mean prune?)"],
    [['quantize', 'a.onnx'], '(Did you mean prune, with --weights or --format?)'],
    [['export', 'a.onnx'], '(Did you mean prune, with --weights or --format?)'],
    [['benchmark', 'a.onnx'], '(Did you mean latency?)'],
    [['info', 'a.onnx'], '(Did you mean inspect?)'],
    [
      ['eval', 'a.onnx', '--data', 'd', '--keep', '1'],
      "unknown option '--keep' (it is a flag of osscar prune)\n",
    ],
    [['inspect', 'a.onnx', '--threads', '1000000'], "'--threads <n>' argument '1000000'"],
    [['inspect', 'a.onnx', '--input', 'sr'], 'expected NAME=NUMBER.'],
    [['inspect', 'a.onnx', '--threads', '0'], "'--threads <n>' argument '0'"],
    [['inspect', MOBILENET, '--size', '0'], "'--size <n>' argument '0' is invalid. expected pixels, as 224"],
    [['eval', 'a.onnx'], 'labelled samples, or text, are missing: --data'],
    [['eval', 'a.onnx', '--data', 'd', '--samples', '0'], "'--samples <n>' argument '0'"],
    [['eval', 'a.onnx', '--data', 'd', '--label-offset', '0.5'], 'expected a whole number.'],
    [['prune', 'a.onnx', '--keep', '0.5', '-o', 'b.onnx'], 'calibration samples are missing: --calibrate'],
    [
      ['prune', 'a.onnx', '--calibrate', 'd', '--keep', '0.5'],
      'where the pruned model goes is missing: --output',
    ],
    [prune, 'how much to keep is missing: --keep'],
    [[...prune, '--keep', '0.5', '--method', 'random'], `Allowed choices are ${METHODS.join(', ')}.`],
    [[...prune, '--keep', '0.5', '--target', 'best'], "'best' is invalid. Allowed choices are auto, "],
    [[...prune, '--keep', '0.5', '--target', 'Residual:0.5'], '"images": no such file or folder'],
    [[...prune, '--keep', '0.5', '--target', 'residual:2'], 'or a blend such as residual:0.5'],
    [[...prune, '--keep', '0'], '--keep must be in (0, 1], as 0.5 for half of them, got 0'],
    [[...prune, '--keep', '1.5'], '--keep must be in (0, 1], as 0.5 for half of them, got 1.5'],
    [[...prune, '--keep', '-0.5'], '--keep must be in (0, 1], as 0.5 for half of them, got -0.5'],
    [[...prune, '--keep', 'NaN'], "'--keep <ratio>' argument 'NaN' is invalid"],
    [[...prune, '--keep', 'abc'], "'--keep <ratio>' argument 'abc' is invalid"],
    [[...prune, '--keep-heads', '2'], '--keep-heads must be in (0, 1], as 0.5 for half of them, got 2'],
    [[...prune, '--keep-layer', '0.5'], "'--keep-layer <name=ratio>' argument '0.5' is invalid"],
    [[...prune, '--keep-layer', 'a=5'], '--keep-layer of "a" must be in (0, 1]'],
    [[...prune, '--macs', '1.5'], '--macs: expected a fraction such as 0.5 or a size such as 20M'],
    [[...prune, '--max-loss', '5'], '--max-loss: expected a fraction such as 1%'],
    [[...prune, '--max-loss', '1'], '--max-loss: expected a fraction such as 1% or 0.01, got "1"'],
    [[...prune, '--macs', '0.5', '--params', '0.5'], 'expected one budget, got --macs and --params'],
    [
      [...prune, '--macs', '0.5', '--keep', '0.5'],
      'expected --keep or a budget (--macs, --params, --bytes, --latency, --max-loss), got both',
    ],
    [[...prune, '--keep', ''], "'--keep <ratio>' argument '' is invalid"],
    [[...prune, '--keep', '0x1'], "argument '0x1' is invalid. expected a number, as 0.5 or 50%."],
    [[...prune, '--keep', '0b1%'], "argument '0b1%' is invalid"],
    [
      [...prune, '--keep', '0.5', '--samples', '0x10'],
      "argument '0x10' is invalid. expected a whole number.",
    ],
    [[...prune, '--keep-layer', 'a=0x1'], "argument 'a=0x1' is invalid"],
    [[...prune, '--keep', '0.5', '--target', 'residual:0x1'], 'or a blend such as residual:0.5'],
    [[...prune, '--macs', '1e400'], '--macs: expected a fraction such as 0.5 or a size such as 20M'],
    [
      [...prune, '--keep', '0.5', '--method', 'magnitude', '--search', 'greedy'],
      '--search is of osscar, and says nothing beside --method magnitude; leave it out',
    ],
    ...['--target=self', '--damping=0.1'].map((flag): [string[], string] => [
      [...prune, '--keep', '0.5', '--method', 'magnitude', flag],
      `${flag.split('=')[0]} is of methods that solve layers, and says nothing beside --method magnitude`,
    ]),
  ])('refuses %j in one line', async (args, message) => {
    const { code, stdout, stderr } = await osscar(...args, '--json');
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toMatch(/^osscar: [^\n]+\n$/);
    expect(stderr).toContain(message);
  });

  test('says that Node is too old, and loads nothing that it has not', async () => {
    expect(packageJson.engines.node).toBe('>=20');
    const old = `data:text/javascript,Object.defineProperty(process, 'versions', { value: { node: '18.20.8' } })`;
    const { code, stdout, stderr } = await osscarUnder(['--import', old], 'inspect', 'a.onnx');
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toBe('osscar: Node 18.20.8 is too old: Node 20 or a later one is needed\n');
  });

  test('says that its working folder was removed', async () => {
    const removed = `data:text/javascript,import { mkdtempSync, rmdirSync } from 'node:fs'; const folder = mkdtempSync('${tmpdir()}/osscar-'); process.chdir(folder); rmdirSync(folder);`;
    const { code, stdout, stderr } = await osscarUnder(['--import', removed], 'inspect', MOBILENET);
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toBe('osscar: the working folder is not there any more; go into another one (cd)\n');
  });

  test('ends with 1 and the stack where the fault is its own', async () => {
    const broken = 'data:text/javascript,process.stdout.write = () => { throw new TypeError("broken"); }';
    const run = await osscarUnder(['--import', broken], 'inspect', MOBILENET, '--json', '--threads', '1');
    expect([run.code, run.stdout]).toEqual([1, '']);
    expect(run.stderr).toMatch(/^osscar: internal error: TypeError: broken\n {4}at /);
  });
});

/** `osscar --help` with something else for standard output. @returns its code and what it said on standard error */
function helpInto(stdout: 'pipe' | number, begun: (help: ReturnType<typeof spawn>) => void = () => {}) {
  const help = spawn(process.execPath, [CLI, '--help'], { stdio: ['ignore', stdout, 'pipe'] });
  let stderr = '';
  help.stderr!.on('data', (text) => {
    stderr += text;
  });
  begun(help);
  return new Promise((resolve) => help.on('close', (code) => resolve({ code, stderr })));
}

test('garbage is collected at the end, where Node might wait for it for ever', async () => {
  const { code, stdout } = await osscarUnder(['--trace-gc'], '--version');
  expect(code).toBe(0);
  expect(stdout.slice(stdout.indexOf(`${packageJson.version}\n`))).toMatch(/Mark-Compact.*testing/);
});

test('a runtime that collects only by itself ends as any other', async () => {
  // As Bun, which takes the flag and has no `gc`.
  const bun =
    'data:text/javascript,import v8 from "node:v8"; import { syncBuiltinESMExports } from "node:module"; v8.setFlagsFromString = () => {}; syncBuiltinESMExports();';
  const { code, stderr } = await osscarUnder(['--import', bun], '--version');
  expect([code, stderr]).toEqual([0, '']);
});

test('a reader that has gone is no error', async () => {
  expect(await helpInto('pipe', ({ stdout }) => stdout!.destroy())).toEqual({ code: 0, stderr: '' });
});

test.runIf(existsSync('/dev/full'))('what cannot be printed is one line', async () => {
  expect(await helpInto(openSync('/dev/full', 'w'))).toEqual({
    code: 2,
    stderr: 'osscar: "standard output": no space left\n',
  });
});
