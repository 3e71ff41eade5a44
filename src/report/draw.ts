// Draws what a report's markup leaves room for.

import { expectObject, expectObjects } from '../expect.ts';
import type { Tradeoff } from '../pipeline/index.ts';
import { type Chart, drawChart } from './chart.ts';
import { type Drawn, UNITS } from './markup.ts';

/** @param root  holds the markup of the report */
export function drawReport(root: ParentNode, { curves, tradeoff }: Drawn): void {
  const figureOf = (name: string) => root.querySelector<HTMLElement>(`[data-chart="${name}"]`);
  const area = figureOf('curves');
  if (area) drawCurves(area, curves);
  if (tradeoff) drawChart(figureOf('tradeoff')!, tradeoffChart(tradeoff, tradeoff.chosen));
}

/**
 * The chart of a trade-off, from the smallest model on.
 * @param chosen  of the dense size
 *
 * @example
 * drawChart(figure, tradeoffChart(tradeoff, 0.5));
 */
export function tradeoffChart(tradeoff: Tradeoff, chosen: number): Chart {
  expectObject('tradeoffChart', 'tradeoff', tradeoff);
  const { of, points, knee } = tradeoff;
  expectObjects('tradeoffChart', 'tradeoff.points', points);
  const all = points.toReversed();
  const nearest = (fraction: number) => {
    const distances = all.map((point) => Math.abs(point.fraction - fraction));
    return distances.indexOf(Math.min(...distances));
  };
  return {
    names: [`% of the ${UNITS[of]}`, 'expected loss'],
    x: all.map(({ fraction }) => 100 * fraction),
    y: all.map(({ loss }) => loss),
    marks: { chosen: nearest(chosen), knee: nearest(knee.fraction) },
  };
}

function drawCurves(figure: HTMLElement, curves: Drawn['curves']): void {
  if (curves.length === 0) {
    figure.append('This method has no curves.');
    return;
  }
  const select = document.createElement('select');
  for (const { name } of curves) select.add(new Option(name));
  const label = document.createElement('label');
  label.append('Structure ', select);
  figure.append(label);
  const chart = (): Chart => {
    const { errors, kept } = curves[select.selectedIndex];
    return {
      names: ['groups kept', 'relative error'],
      x: errors.map((_, i) => i),
      y: errors,
      marks: { chosen: kept },
    };
  };
  const drawn = drawChart(figure, chart());
  select.addEventListener('change', () => drawn.update(chart()));
}
