// Figures in the documentation that can be computed: what stands between `<!-- figure:NAME -->` and `<!-- /figure -->`
// comes from here, out of the tree and a build. `node scripts/figures.mjs` writes them; with `--check` it writes
// nothing and fails where a page says something else.

import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { layerWasmBytes } from '../dist/layer.js';

const check = process.argv.includes('--check');
const docs = readdirSync('docs').filter((file) => file.endsWith('.md'));
const pages = ['README.md', 'bench/README.md', ...docs.map((file) => `docs/${file}`)];

const kB = (bytes) => `${Math.round(bytes / 1e3)} kB`;
const MB = (bytes) => `${Math.round(bytes / 1e6)} MB`;
const MiB = (bytes) => `${Math.round(bytes / 2 ** 20)} MiB`;

const plugins = ['dist/osscar.wasm', 'dist/osscar.relaxed.wasm'].map((file) => readFileSync(file));
const plugin = (await WebAssembly.instantiate(plugins[0])).instance.exports;
const size = execFileSync(process.execPath, ['scripts/size.mjs'], { encoding: 'utf8' });
const tokenizers = readFileSync('node_modules/@huggingface/tokenizers/dist/tokenizers.min.mjs');
const host = readFileSync('examples/plugin/host.mjs', 'utf8');

const figures = {
  'plugin-size': kB(Math.max(...plugins.map((data) => data.length))),
  'plugin-size-gzipped': kB(Math.max(...plugins.map((data) => gzipSync(data, { level: 9 }).length))),
  'plugin-memory-576-64-9': MiB(plugin.osscar_prune_bytes(576, 64, 9)),
  'plugin-memory-3072-768-1': MiB(plugin.osscar_prune_bytes(3072, 768, 1)),
  'plugin-inputs': `${largestLayer()} 000`,
  'plugin-host-lines': String(host.trimEnd().split('\n').length),
  'layer-memory-3072-768-1': MB(layerWasmBytes(3072, 768, 1)),
  'core-size-gzipped': kB(/^core: (\d+)/.exec(size)[1]),
  'tokenizers-size': kB(tokenizers.length),
};

const unused = new Set(Object.keys(figures));
const complaints = [];
for (const page of pages) {
  const text = readFileSync(page, 'utf8');
  const updated = text.replace(
    /(<!-- figure:(\S+) -->)(.*?)(?=<!-- \/figure -->)/gs,
    (_, open, name, old) => {
      const figure = figures[name];
      unused.delete(name);
      if (figure === undefined) complaints.push(`${page}: no figure is called ${name}`);
      else if (check && figure !== old) {
        complaints.push(`${page}: ${name} is ${figure}, not ${old}: node scripts/figures.mjs writes it`);
      }
      return `${open}${figure ?? old}`;
    },
  );
  // There a comment would begin a block of HTML, and the paragraph end.
  if (/^\s*<!-- figure:/m.test(text)) complaints.push(`${page}: a figure begins a line`);
  if (!check && updated !== text) writeFileSync(page, updated);
}
for (const name of unused) complaints.push(`no page shows ${name}`);
for (const complaint of complaints) console.error(`figures: ${complaint}`);
process.exit(complaints.length > 0 ? 1 : 0);

/** Thousands of inputs at which all that host and module hold of a layer fits into 4 GiB: a quarter as many outputs. */
function largestLayer() {
  const held = (p, m) =>
    plugin.osscar_statistics_bytes(p, 0) + 4 * p * m + plugin.osscar_prune_bytes(p, m, 1) + 8 * p * m;
  let thousands = 1;
  while (held(1000 * (thousands + 1), 250 * (thousands + 1)) < 2 ** 32) thousands++;
  return thousands;
}
