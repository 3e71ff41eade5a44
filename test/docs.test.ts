// What README.md, CONTRIBUTING.md and docs/ tell the reader: programs are run, command lines are held against the
// command's help, files must be there.

import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import packageJson from '../package.json' with { type: 'json' };
import { run } from './support/children.ts';

interface Block {
  /** For messages: file and line. */
  readonly at: string;
  readonly language: string;
  readonly text: string;
}

const pages = [
  'README.md',
  'CONTRIBUTING.md',
  ...readdirSync('docs')
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
].map((path) => ({ path, text: readFileSync(path, 'utf8') }));

const blocks = pages.flatMap(({ path, text }) =>
  Array.from(text.matchAll(/^```(\w*)\n(.*?)^```$/gms), ({ 1: language, 2: content, index }): Block => {
    return { at: `${path}:${text.slice(0, index).split('\n').length + 1}`, language, text: content };
  }),
);

/** In the repository, where `osscar-wasm` is the package itself; of each run its own. */
mkdirSync('build', { recursive: true });
const FOLDER = mkdtempSync('build/docs-');
/** Some of the images. */
const PHOTOS = `${FOLDER}/photos`;
beforeAll(() => {
  const photos = readdirSync('test/fixtures/calib', { recursive: true, encoding: 'utf8' });
  for (const name of photos.filter((name) => name.endsWith('.png')).filter((_, i) => i % 5 === 0))
    cpSync(join('test/fixtures/calib', name), join(PHOTOS, name));
});
afterAll(() => rmSync(FOLDER, { recursive: true, force: true }));

const node = (...args: readonly string[]) => run(process.execPath, args);

/** What the reader has: by the use that tells what it is. */
const GIVEN: readonly [use: RegExp, definition: string][] = [
  [/openModel\(bytes\b/, `const bytes = await readFile('test/fixtures/fashion-mobilenet.onnx');`],
  [
    /imageDataset\(files\b/,
    `const files = (await readdir('test/fixtures/calib', { recursive: true }))
      .filter((name) => name.endsWith('.png')).filter((_, i) => i % 25 === 0)
      .map((name) => ({ name, read: () => readFile(join('test/fixtures/calib', name)) }));`,
  ],
];
/** Files that the reader has, under the names that programs give them; outputs go into the folder of the programs. */
const FILES: readonly [name: string, path: string][] = [
  ["'model.onnx'", "'test/fixtures/fashion-mobilenet.onnx'"],
  ["'photos/'", `'${PHOTOS}'`],
  ["'test/'", "'test/fixtures/test'"],
  ["'opt-125m/'", "'test/fixtures/opt-kjv'"],
  ["'text.txt'", "'test/fixtures/text/kjv-train.txt'"],
  ["'smaller.onnx'", `'${FOLDER}/smaller.onnx'`],
];
const PRELUDE = `import { readdir, readFile } from 'node:fs/promises'; import { dirname, join } from 'node:path';`;
/** A report of what was pruned must say that something was. */
const EPILOGUE = `if (typeof report !== 'undefined' && !(report.parameters.after < report.parameters.before))
  throw new Error('nothing was pruned');`;

/** What programs are known to print. */
const OUTPUTS: Readonly<Record<string, RegExp>> = {
  'docs/threads.md': /^128 of 256 inputs kept, relative error 0\.\d{3}\n$/,
};

const programs = blocks.filter(
  ({ language, text }) => language === 'js' && /from 'osscar-wasm(\/\w+)?'/.test(text),
);

describe('a program', () => {
  test('is shown for every entry of the package', () => {
    const imported = programs.flatMap(({ text }) =>
      Array.from(text.matchAll(/from '(osscar-wasm[^']*)'/g), ([, name]) => name),
    );
    expect(new Set(imported)).toEqual(new Set(['osscar-wasm', 'osscar-wasm/layer', 'osscar-wasm/model']));
  });

  test.each(programs)('runs and ends: $at', async ({ at, text }) => {
    const given = GIVEN.filter(([use]) => use.test(text)).map(([, definition]) => definition);
    const file = join(FOLDER, `${at.replace(/\W+/g, '-')}.mjs`);
    const program = FILES.reduce((all, [name, path]) => all.replaceAll(name, path), text);
    writeFileSync(file, [PRELUDE, ...given, program, EPILOGUE].join('\n'));
    const { code, stdout, output } = await node(file);
    expect(code, `${at}\n${text}\n${output}`).toBe(0);
    const page = at.split(':')[0];
    if (page in OUTPUTS) expect(stdout).toMatch(OUTPUTS[page]);
    else expect(stdout !== '', `${at} prints what it logs`).toBe(text.includes('console.log('));
  });
});

/** Without the blocks. */
const prose = pages.map(({ path, text }) => ({ path, text: text.replace(/^```.*?^```$/gms, '') }));

/** Whether the package has it: its pages have to lead somewhere there too. */
function isPublished(path: string): boolean {
  return packageJson.files.some((pattern) =>
    pattern.endsWith('/*.md')
      ? dirname(path) === dirname(pattern) && path.endsWith('.md')
      : path === pattern || path.startsWith(`${pattern}/`),
  );
}

test.each(prose)('$path names files that are there', ({ path, text }) => {
  const links = Array.from(text.matchAll(/\]\((?!https?:)([^)#]+)/g), ([, link]) =>
    join(dirname(path), link),
  );
  const quoted = Array.from(
    text.matchAll(/`((?:assembly|bench|docs|examples|scripts|src|test)\/[\w./-]+)`/g),
    ([, name]) => name,
  );
  for (const name of [...links, ...quoted]) expect(existsSync(name), name).toBe(true);
  if (path === 'README.md') for (const link of links) expect(isPublished(link), link).toBe(true);
});

/** Lines of `sh` blocks, continued ones as one, without comments; and commands within the text. */
const commandLines = [
  ...blocks
    .filter(({ language }) => language === 'sh')
    .flatMap(({ at, text }) =>
      text
        .replace(/\\\n/g, ' ')
        .split('\n')
        .map((line) => ({ at, line: line.replace(/(^|\s)#.*/, '').trim() })),
    ),
  ...prose.flatMap(({ path, text }) =>
    Array.from(text.matchAll(/`((?:osscar|npm) [^`]+)`/g), ([, line]) => ({ at: path, line })),
  ),
];

interface Flag {
  readonly names: readonly string[];
  readonly hasValue: boolean;
}

/** The flags of a command, as its help lists them. */
async function flagsOf(command: string): Promise<Flag[]> {
  const { code, stdout } = await node('dist/cli.js', command, '--help');
  expect(code, `osscar ${command} --help`).toBe(0);
  return Array.from(stdout.matchAll(/^ {2}(?:(-\w), )?(--[\w-]+)( <)?/gm), ([, short, long, value]) => ({
    names: short ? [short, long] : [long],
    hasValue: value !== undefined,
  }));
}

describe('a command line', () => {
  const commands = new Map<string, Flag[]>();
  /** Those that take no model or folder. */
  const alone = new Set<string>();
  beforeAll(async () => {
    const { stdout } = await node('dist/cli.js', '--help');
    for (const [, name, argument] of stdout.matchAll(/^ {2}(\w+) \[options\]( <\w+>)?/gm)) {
      commands.set(name, await flagsOf(name));
      if (argument === undefined) alone.add(name);
    }
    expect([...commands.keys()]).toEqual(expect.arrayContaining(['inspect', 'prune', 'eval']));
  });

  const lines = commandLines.flatMap(({ at, line }) => {
    const words = /^(?:npx osscar|osscar|node dist\/cli\.js) (.+)/.exec(line)?.[1].split(/\s+/);
    return words ? [{ at, line, words }] : [];
  });

  test.each(lines)('has a command and flags that there are, and a model: $line', ({ at, words }) => {
    const [name, ...others] = words;
    const flags = commands.get(name);
    expect(flags, `${at}: osscar ${name}`).toBeDefined();
    if (others.length === 0) return; // named in the text
    const rest = alone.has(name) ? others : others.slice(1);
    if (!alone.has(name)) expect(others[0], `${at}: osscar ${name}`).toMatch(/^[^-]/);
    for (let i = 0; i < rest.length; i++) {
      const flag = flags?.find(({ names }) => names.includes(rest[i]));
      expect(flag, `${at}: osscar ${name} ${rest[i]}`).toBeDefined();
      if (flag?.hasValue) expect(rest[++i], `${at}: the value of ${flag.names}`).toMatch(/^[^-]/);
    }
    for (const path of words.filter((word) => word.startsWith('test/fixtures'))) {
      expect(existsSync(path), `${at}: ${path}`).toBe(true);
    }
    // What a reader of the published package is told to use has to be in it.
    for (const [, path] of words.join(' ').matchAll(/node_modules\/osscar-wasm\/(\S+)/g)) {
      expect(existsSync(path), `${at}: ${path}`).toBe(true);
      expect(packageJson.files, `${at}: ${path}`).toContain(path);
    }
  });

  test('of npm has a script that there is', () => {
    const scripts = commandLines.flatMap(
      ({ line }) => /^npm (?:run )?(?!i |audit\b)([\w:]+)/.exec(line)?.[1] ?? [],
    );
    expect(scripts).toContain('start');
    for (const script of scripts) expect(packageJson.scripts).toHaveProperty([script]);
  });

  test.each(['README.md', 'docs/command.md'])('flags in the text of %s are those of a command', (page) => {
    const known = new Set([...commands.values()].flat().flatMap(({ names }) => names));
    const { text } = prose.find(({ path }) => path === page)!;
    const named = Array.from(text.matchAll(/`(--[^`]+)`/g), ([, code]) => code.match(/--[\w-]+/g)!).flat();
    expect(named.length).toBeGreaterThan(10);
    for (const flag of named) expect(known).toContain(flag);
  });
});
