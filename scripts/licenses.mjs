// The licence texts of the packages whose code a bundle contains, as their licences ask.

import { readdirSync, readFileSync } from 'node:fs';

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
  const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
  const text = file ? readFileSync(`${folder}/${file}`, 'utf8') : `Licence: ${license}\n`;
  return `== ${name} ${version}\n\n${text}`;
}
