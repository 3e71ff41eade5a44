// A report as one HTML file: opens from disk under a policy that lets nothing in or out, reads without a script, and draws
// its curves with one.

import type { SavedReport } from '../pipeline/index.ts';
import { drawnOf, escaped, expectReport, reportMarkup, titleOf } from './markup.ts';

/** Made by the build out of page.ts, page.css and uPlot. */
declare const REPORT_SCRIPT: string;
declare const REPORT_STYLE: string;

/**
 * A whole page. Everything that a model or a path could say is text in it, and never markup.
 *
 * @throws {InputError} where it is no report
 *
 * @example
 * await writeFile('report.html', await reportHtml(JSON.parse(await readFile('report.json', 'utf8'))));
 */
export async function reportHtml(report: SavedReport): Promise<string> {
  expectReport('reportHtml', report);
  const title = escaped(titleOf(report));
  const policy = [
    "default-src 'none'",
    `script-src ${await hashOf(REPORT_SCRIPT)}`,
    `style-src ${await hashOf(REPORT_STYLE)}`,
    "base-uri 'none'",
    "form-action 'none'",
  ].join('; ');
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${title}</title>
<style>${REPORT_STYLE}</style>
</head>
<body>
<main>
<h1>${title}</h1>
${reportMarkup(report)}
</main>
<script type="application/json" id="drawn">${json(drawnOf(report))}</script>
<script>${REPORT_SCRIPT}</script>
</body>
</html>
`;
}

/** Within a script element only `</script` and `<!--` mean anything. */
const json = (value: unknown) => JSON.stringify(value).replaceAll('<', '\\u003c');

async function hashOf(text: string): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text));
  return `'sha256-${btoa(String.fromCharCode(...new Uint8Array(digest)))}'`;
}
