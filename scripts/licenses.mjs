// The licence texts of the packages whose code a bundle contains, as their licences ask.

import { existsSync, readdirSync, readFileSync } from 'node:fs';

/** @param inputs  the paths of the bundled files, as esbuild's metafile has them */
export function licenses(inputs) {
  const folders = new Set();
  for (const path of inputs) {
    const folder = /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0];
    if (folder) folders.add(folder);
  }
  return [...folders].sort().map(notice).join('\n');
}

function notice(folder) {
  const { name, version, license } = JSON.parse(readFileSync(`${folder}/package.json`, 'utf8'));
  // What was compiled into a package has its own beside its code.
  const folders = [folder, `${folder}/codec`].filter(existsSync);
  const texts = folders.flatMap((it) => {
    const file = readdirSync(it).find((entry) => /^licen[cs]e/i.test(entry));
    return file ? [readFileSync(`${it}/${file}`, 'utf8')] : [];
  });
  const missing = `scripts/licenses/${name.replace('/', '+')}.txt`;
  if (existsSync(missing)) texts.push(readFileSync(missing, 'utf8')); // of what the package leaves out
  return `== ${name} ${version}\n\n${texts.join('\n') || `Licence: ${license}\n`}`;
}
