// `npm run test:runtimes`: the core's tests, a whole prune and pruned layers in every runtime that is promised, each
// installed on demand into build/runtimes/. Fails where a test fails, or where kept sets or hashes differ.
// `-- node22 deno` runs only these; `-- --write` puts the table into docs/runtimes.md; beside the main suite, which has run the
// core's tests in this very Node, `-- --beside-suite` has them counted there, not run again.

import { execFile, execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { build } from 'esbuild';

const { platform, arch } = process;
const FOLDER = 'build/runtimes';
const PAGE = 'docs/runtimes.md';
const THREADS = [1, 2, 4]; // as in test/runtimes/result.ts
const HANG_MS = 3_600_000; // minutes on an idle machine

// The packages that carry the programs themselves: no install script has to run.
const node = (version, ...flags) => ({
  label: 'Node',
  package: `node-${platform === 'win32' ? 'win' : platform}-${arch}@${version}`,
  program: `bin/${platform === 'win32' ? 'node.exe' : 'node'}`,
  args: [...flags, 'main.js'],
});
const RUNTIMES = {
  // Relaxed SIMD, which the tests cover too, is behind a flag there.
  node20: node('20.20.2', '--experimental-wasm-relaxed-simd'),
  node22: node('22.23.3'),
  node24: node('24.21.0'),
  node26: node('26.10.0'),
  deno: {
    label: 'Deno',
    package: `@deno/${platform}-${arch}${platform === 'linux' ? '-glibc' : ''}@2.9.6`,
    program: platform === 'win32' ? 'deno.exe' : 'deno',
    args: ['run', '--allow-all', 'main.js'],
  },
  bun: {
    label: 'Bun',
    package: `@oven/bun-${platform === 'win32' ? 'windows' : platform}-${arch === 'arm64' ? 'aarch64' : arch}@1.4.5`,
    program: platform === 'win32' ? 'bin/bun.exe' : 'bin/bun',
    args: ['main.js'],
  },
  // Debian's, started by a Node that strips types.
  chromium: {
    ...node('24.21.0'),
    label: 'Chromium',
    args: ['../../test/runtimes/chromium.ts'],
  },
};

const names = process.argv.slice(2).filter((argument) => !['--write', '--beside-suite'].includes(argument));
const isTested = ({ label, package: spec }) =>
  process.argv.includes('--beside-suite') && label === 'Node' && spec.endsWith(`@${process.versions.node}`);
for (const name of names) {
  if (!Object.hasOwn(RUNTIMES, name)) {
    console.error(`no runtime "${name}"; there are ${Object.keys(RUNTIMES).join(', ')}`);
    process.exit(2);
  }
}
const chosen = names.length > 0 ? names : Object.keys(RUNTIMES);

await bundle();
for (const name of chosen) install(RUNTIMES[name]);
const ends = [];
const todo = chosen.entries();
const runner = async () => {
  for (const [i, name] of todo) {
    const started = performance.now();
    const result = await run(RUNTIMES[name]);
    ends[i] = { result, seconds: ((performance.now() - started) / 1000).toFixed(0) };
  }
};
await Promise.all(Array.from({ length: availableParallelism() }, runner));
const rows = [];
const reference = ends.find(({ result }) => result)?.result;
let failed = false;
for (const [i, name] of chosen.entries()) {
  const { result, seconds } = ends[i];
  const complaints = result ? complaintsOf(result, reference) : ['it ended without a result'];
  failed ||= complaints.length > 0;
  console.log(`${name}: ${complaints.length === 0 ? 'ok' : 'FAILED'}, ${seconds} s`);
  for (const complaint of complaints) console.log(`  ${complaint}`);
  if (result) rows.push(rowOf(RUNTIMES[name].label, result, complaints));
}
const table = [
  '| runtime | tests of the core | pruned model, SHA-256 | layers with 1, 2, 4 threads, SHA-256 | |',
  '|---|---|---|---|---|',
  ...rows,
].join('\n');
console.log(`\n${table}`);
if (process.argv.includes('--write') && !failed) {
  const page = readFileSync(PAGE, 'utf8');
  writeFileSync(
    PAGE,
    page.replace(/\| runtime \|[\s\S]*?\n(?!\|)/, () => `${table}\n`),
  );
}
process.exit(failed ? 1 : 0);

/** The tests for runtimes that have Node's modules, and for a page. */
async function bundle() {
  mkdirSync(FOLDER, { recursive: true });
  const tests = ['kernel', 'solve', 'graph'].flatMap((folder) =>
    readdirSync(`test/${folder}`)
      // work.test.ts counts what V8 runs.
      .filter((file) => file.endsWith('.test.ts') && file !== 'work.test.ts')
      .map((file) => `../${folder}/${file}`),
  );
  const testFiles = {
    name: 'test-files',
    setup({ onResolve, onLoad }) {
      onResolve({ filter: /^virtual:test-files$/ }, () => ({ path: 'test-files', namespace: 'virtual' }));
      onLoad({ filter: /.*/, namespace: 'virtual' }, () => ({
        contents: `export default { ${tests.map((file) => `'${file}': () => import('${file}')`).join(', ')} };`,
        resolveDir: 'test/runtimes',
      }));
    },
  };
  const options = {
    outdir: FOLDER,
    bundle: true,
    format: 'esm',
    target: 'es2022',
    loader: { '.deflate': 'binary' },
    alias: { vitest: './test/runtimes/vitest.ts' },
    plugins: [testFiles],
    logLevel: 'warning',
  };
  await build({
    ...options,
    entryPoints: ['test/runtimes/main.ts'],
    platform: 'neutral',
    mainFields: ['module', 'main'],
    external: ['node:*', 'onnxruntime-web', '#onnxruntime'],
  });
  await build({
    ...options,
    entryPoints: ['test/runtimes/page.ts'],
    platform: 'browser',
    alias: {
      ...options.alias,
      'node:fs': './test/runtimes/page-fs.ts',
      'onnxruntime-web': 'onnxruntime-web/wasm',
    },
  });
  // The tests look for it beside their folder.
  cpSync('test/fixtures', 'build/fixtures', { recursive: true });
}

/** Where a runtime is installed, and its program. */
function placeOf({ package: spec, program }) {
  const [, name, version] = /^(.+)@(.+)$/.exec(spec);
  const folder = `${FOLDER}/${name.replace('/', '-')}-${version}`;
  return { folder, path: `${folder}/node_modules/${name}/${program}` };
}

/** Installs a runtime where it is missing. */
function install(runtime) {
  const { folder, path } = placeOf(runtime);
  if (existsSync(path)) return;
  mkdirSync(folder, { recursive: true });
  writeFileSync(`${folder}/package.json`, '{}');
  const npm = [
    'install',
    '--no-audit',
    '--no-fund',
    '--no-package-lock',
    '--prefix',
    folder,
    runtime.package,
  ];
  execFileSync('npm', npm, { stdio: ['ignore', 2, 2], shell: platform === 'win32' });
}

/** What a runtime reports. */
async function run(runtime) {
  const flags = runtime.args.slice(0, -1);
  const script = [`${FOLDER}/${runtime.args.at(-1)}`, ...(isTested(runtime) ? ['--count'] : [])];
  const options = { encoding: 'utf8', timeout: HANG_MS, maxBuffer: 2 ** 27 };
  const child = [placeOf(runtime).path, [...flags, ...script], options];
  const stdout = await new Promise((resolve) => {
    execFile(...child, (_, stdout) => resolve(stdout)).stderr.pipe(process.stderr);
  });
  try {
    return JSON.parse(stdout.trimEnd().split('\n').at(-1));
  } catch {
    return undefined;
  }
}

function complaintsOf({ core, model, layers }, expected) {
  const complaints = [...core.failures];
  const same = (what, actual, wanted) => {
    if (JSON.stringify(actual) !== JSON.stringify(wanted)) {
      complaints.push(`${what}: expected ${JSON.stringify(wanted)}, got ${JSON.stringify(actual)}`);
    }
  };
  if (core.passed === 0) complaints.push('no test ran');
  same('passed tests', core.passed, expected.core.passed);
  same('kept channels', model.kept, expected.model.kept);
  same('hash of the model', model.sha256, expected.model.sha256);
  layers.forEach((layer, i) => {
    const threads = THREADS[i];
    same('threads of a session', [layer.threads, layer.reason], [threads, undefined]);
    same(`kept groups, ${threads} threads`, layer.kept, expected.layers[0].kept);
    same(`hash of the layers, ${threads} threads`, layer.sha256, expected.layers[0].sha256);
  });
  return complaints;
}

function rowOf(label, { version, core, model, layers }, complaints) {
  const short = (hash) => `\`${hash.slice(0, 12)}\``;
  const hashes = new Set(layers.map(({ sha256 }) => sha256.map(short).join(' ')));
  const tests = `${core.passed} ${core.isCounted ? 'counted' : 'passed'}${core.failures.length > 0 ? `, ${core.failures.length} failed` : ''}`;
  const outcome = complaints.length === 0 ? 'equal' : 'different';
  return `| ${label} ${version} | ${tests} | ${short(model.sha256)} | ${[...hashes].join('; ')} | ${outcome} |`;
}
