// Runs of the command that are killed (SIGKILL) at random moments and continued in their work folder: whether the bytes are
// those of an undisturbed run, whether anything is left behind, and how long the rest takes beside the whole.
//   npm run bench -- kills [runs] [seed]

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { random } from '../test/support/random.ts';

const [runs = 25, seed = 1] = process.argv.slice(2).map(Number);
const FIXTURES = 'test/fixtures';
const KINDS = {
  file: [
    ...[`${FIXTURES}/fashion-mobilenet.onnx`, '--calibrate', `${FIXTURES}/calib`, '--samples', '96'],
    ...['--mean', '0.2860', '--std', '0.3530'],
  ],
  folder: [
    ...[`${FIXTURES}/opt-kjv`, '--calibrate', `${FIXTURES}/text/kjv-train.txt`],
    ...['--samples', '16', '--seqlen', '64', '--format', 'onnx'],
  ],
};

/** Where a run leaves its traces. */
interface Place {
  readonly root: string;
  readonly out: string;
  readonly work: string;
}

function newPlace(): Place {
  const root = mkdtempSync(join(tmpdir(), 'osscar-kills-'));
  for (const name of ['out', 'scratch']) mkdirSync(join(root, name));
  return { root, out: join(root, 'out'), work: join(root, 'work') };
}

/** @param after  ms until the run is killed; left out, it ends by itself */
async function prune(args: readonly string[], { root, out, work }: Place, after?: number) {
  const start = performance.now();
  const child = spawn(
    process.execPath,
    [
      ...['dist/cli.js', 'prune', ...args, '--keep', '0.5', '--target', 'residual', '--json'],
      ...['-o', join(out, 'small'), '--work', work, '--scratch', join(root, 'scratch')],
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  let errors = '';
  child.stderr.on('data', (text) => {
    errors += text;
  });
  const ended = once(child, 'close') as Promise<[number | null]>;
  if (after !== undefined) await Promise.race([setTimeout(after), ended]);
  const killed = after !== undefined && child.kill('SIGKILL');
  const [code] = await ended;
  if (code !== 0 && !killed) throw new Error(`osscar ended with ${code}: ${errors}`);
  return { seconds: (performance.now() - start) / 1000, completed: code === 0 };
}

/** Files below a folder with their hashes. */
function contents(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => {
      const path = join(parentPath, name);
      const hash = createHash('sha256').update(readFileSync(path)).digest('hex');
      return `${path.slice(folder.length)} ${hash}`;
    })
    .sort();
}

const hidden = (folder: string) =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => /(^|\/)\./.test(name));
const median = (values: readonly number[]) => [...values].sort((a, b) => a - b)[values.length >> 1];

console.log(`${cpus()[0].model}, Node ${process.version}; ${runs} runs of each kind`);
const next = random(seed);
for (const [kind, args] of Object.entries(KINDS)) {
  const undisturbed = newPlace();
  const whole = await prune(args, undisturbed);
  const expected = contents(undisturbed.out);
  const rest: number[] = [];
  let [same, clean, early] = [0, 0, 0];
  for (let run = 0; run < runs; run++) {
    const place = newPlace();
    const { completed } = await prune(args, place, 1000 * whole.seconds * next());
    if (completed) early++;
    rmSync(join(place.out, 'small'), { recursive: true, force: true });
    rest.push((await prune(args, place)).seconds);
    if (contents(place.out).join() === expected.join()) same++;
    const left = [...hidden(place.root), ...readdirSync(join(place.root, 'scratch'))];
    if (left.length === 0) clean++;
    else console.error(`left behind: ${left}`);
    rmSync(place.root, { recursive: true });
  }
  rmSync(undisturbed.root, { recursive: true });
  console.log(
    `${kind}: ${same} of ${runs} with the bytes of the undisturbed run, ${clean} of ${runs} with nothing left behind, ` +
      `${early} had ended before; whole run ${whole.seconds.toFixed(1)} s, the rest ${median(rest).toFixed(1)} s ` +
      `(median; ${Math.min(...rest).toFixed(1)} to ${Math.max(...rest).toFixed(1)})`,
  );
  if (same < runs || clean < runs) process.exitCode = 1;
}
