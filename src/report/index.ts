// Reports for people: a page of their own, or a part of the host's page. `osscar-wasm/report`; its style sheet is
// `osscar-wasm/report.css`.

import { expectMethods } from '../expect.ts';
import type { SavedReport } from '../pipeline/index.ts';
import { drawReport } from './draw.ts';
import { drawnOf, expectReport, reportMarkup } from './markup.ts';

export type { SavedReport, Tradeoff } from '../pipeline/index.ts';
export { type Chart, type ChartOptions, type DrawnChart, drawChart } from './chart.ts';
export { tradeoffChart } from './draw.ts';
export { reportHtml } from './html.ts';

/**
 * Shows a report within the host's page, in the place of what the element held. What a model or a path says is text in
 * it, and never markup.
 *
 * @param level  of its headings
 * @throws {InputError} where it is no report, or there is no element
 *
 * @example
 * showReport(document.querySelector<HTMLElement>('#report')!, report);
 */
export function showReport(element: HTMLElement, report: SavedReport, level = 2): void {
  expectMethods('showReport', 'element', element, 'an element of the page', 'querySelector');
  expectReport('showReport', report);
  element.innerHTML = reportMarkup(report, level);
  drawReport(element, drawnOf(report));
}
