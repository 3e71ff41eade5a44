// `npm run test:walks`: what README tells three kinds of users to type, in empty folders, with the package as it is packed,
// and how long it takes to their first smaller model: an ONNX file in Node, a page, a Hugging Face folder. Models and
// data of test/fixtures stand for their own. Fails where a command does, or leaves nothing that is smaller. `-- page` is one
// of them.

import { execFileSync, spawnSync } from 'node:child_process';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { bundle } from './bundle.mjs';

const FIXTURES = resolve('test/fixtures');
const readme = readFileSync('README.md', 'utf8');
const blocks = Array.from(readme.matchAll(/^```(\w+)\n(.*?)^```$/gms), ([, language, text]) => ({
  language,
  text,
}));
const root = mkdtempSync(join(tmpdir(), 'osscar-walks-'));
const [{ filename }] = Object.values(
  JSON.parse(
    execFileSync('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', root], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
      shell: process.platform === 'win32',
    }),
  ),
);
const tarball = join(root, filename);

const walks = { onnx: onnxUser, page: pageUser, folder: folderUser };
console.log('| user | step | seconds |\n|---|---|---|');
try {
  for (const name of process.argv.length > 2 ? process.argv.slice(2) : Object.keys(walks))
    await walks[name](join(root, name));
} finally {
  rmSync(root, { recursive: true, force: true });
}

/** An empty folder. npm takes one above it for the project where that is one. */
function enter(folder) {
  mkdirSync(folder);
  writeFileSync(join(folder, 'package.json'), '{}');
}

/** The first block, and the one for a model of one's own. */
function onnxUser(folder) {
  enter(folder);
  const [install, sample] = commandsWith('npm i osscar-wasm');
  step('ONNX', install.replace('osscar-wasm', tarball), folder, 'npm i osscar-wasm');
  step('ONNX', sample, folder);
  const model = 'node_modules/osscar-wasm/test/fixtures/fashion-mobilenet.onnx';
  expectSmaller(join(folder, outputOf(sample)), join(folder, model));
  cpSync(join(FIXTURES, 'fashion-mobilenet.onnx'), join(folder, 'model.onnx'));
  // Three of ten.
  cpSync(join(FIXTURES, 'calib'), join(folder, 'photos'), {
    recursive: true,
    filter: (path) => !/[1235679]\.png$/.test(path),
  });
  cpSync(join(FIXTURES, 'test'), join(folder, 'test'), { recursive: true });
  for (const command of commandsWith('osscar inspect model.onnx')) {
    // Gray images of another kind than README's.
    const own = command.replace(/--mean \S+ --std \S+/, '--mean 0.286 --std 0.353');
    step('ONNX', own, folder);
    if (own.includes('prune')) expectSmaller(join(folder, outputOf(own)), join(folder, 'model.onnx'));
  }
}

function folderUser(folder) {
  enter(folder);
  step('folder', `npm i ${tarball}`, folder, 'npm i osscar-wasm');
  cpSync(join(FIXTURES, 'opt-kjv'), join(folder, 'opt-125m'), { recursive: true });
  cpSync(join(FIXTURES, 'text/kjv-train.txt'), join(folder, 'text.txt'));
  cpSync(join(FIXTURES, 'text/kjv-test.txt'), join(folder, 'other.txt'));
  for (const command of commandsWith('osscar prune opt-125m/')) {
    step('folder', command, folder);
    if (command.includes('prune')) expectSmaller(join(folder, outputOf(command)), join(folder, 'opt-125m'));
  }
}

/** README's page beside a copy of the package's folder for browsers, in Chromium. */
async function pageUser(folder) {
  enter(folder);
  step('page', `npm i ${tarball}`, folder, 'npm i osscar-wasm');
  cpSync(join(folder, 'node_modules/osscar-wasm/dist/browser'), join(folder, 'site/osscar'), {
    recursive: true,
  });
  const html = blocks.find(({ language }) => language === 'html').text;
  writeFileSync(join(folder, 'site/index.html'), html);
  const script = /<script type="module">(.*?)<\/script>/s.exec(html)[1];
  await bundle(['test/browser/chromium.ts', 'test/browser/server.ts'], 'build/walks');
  const load = (name) => import(pathToFileURL(resolve(`build/walks/${name}.mjs`)).href);
  const [{ openChromium }, { serve }] = [await load('chromium'), await load('server')];
  const { createHash } = await import('node:crypto');
  const hash = `'sha256-${createHash('sha256').update(script).digest('base64')}'`;
  const server = await serve({ isolated: true, folders: { '': join(folder, 'site') }, scripts: [hash] });
  const browser = await openChromium();
  const page = await browser.newPage();
  page.setDefaultTimeout(0);
  const complaints = [];
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  page.on('pageerror', ({ message }) => complaints.push(message));
  const images = readdirSync(join(FIXTURES, 'calib'), { recursive: true, encoding: 'utf8' })
    .filter((name) => /[048]\.png$/.test(name))
    .map((name) => join(FIXTURES, 'calib', name));
  const started = performance.now();
  await page.goto(`${server.url}/index.html`);
  await page.setInputFiles('#file', join(FIXTURES, 'fashion-mobilenet.onnx'));
  await page.setInputFiles('#images', images);
  await page.click('#prune');
  await page.waitForSelector('#link[href]');
  row('page', 'model and images chosen, pruned', performance.now() - started);
  const text = await page.textContent('#link');
  await browser.close();
  await server.close();
  const [before, after] = text.match(/\d+/g).map(Number);
  if (!(after < before) || complaints.length > 0) throw new Error(`page: ${text} ${complaints.join('\n')}`);
}

/** The lines of the block that begins with a command or has it, continued ones as one, without comments. */
function commandsWith(text) {
  const block = blocks.find((it) => it.language === 'sh' && it.text.includes(text));
  if (!block) throw new Error(`README.md: no block has "${text}"`);
  return block.text
    .replace(/\\\n/g, ' ')
    .split('\n')
    .map((line) => line.replace(/\s#.*/, '').replace(/ +/g, ' ').trim())
    .filter(Boolean);
}

function outputOf(command) {
  return / -o (\S+)/.exec(command)[1];
}

function step(user, command, cwd, shown = command) {
  const started = performance.now();
  const { status, stderr, stdout } = spawnSync(command, { cwd, shell: true, encoding: 'utf8' });
  if (status !== 0) throw new Error(`${user}: ${command}: exit code ${status}\n${stdout}\n${stderr}`);
  row(user, `\`${shown}\``, performance.now() - started);
}

function row(user, what, milliseconds) {
  console.log(`| ${user} | ${what} | ${(milliseconds / 1000).toFixed(1)} |`);
}

/** Of a file, or of what a folder holds. */
function bytesOf(path) {
  const info = statSync(path);
  if (!info.isDirectory()) return info.size;
  return readdirSync(path).reduce((sum, name) => sum + bytesOf(join(path, name)), 0);
}

function expectSmaller(after, before) {
  if (!(bytesOf(after) < bytesOf(before))) throw new Error(`${after} is not smaller than ${before}`);
}
