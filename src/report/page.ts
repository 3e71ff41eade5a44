// The script of a report's page: draws its curves, in the colours of the reader's theme.

import uPlot from 'uplot';
import type { Drawn } from './html.ts';

const HEIGHT = 280;
const drawn: Drawn = JSON.parse(document.getElementById('drawn')!.textContent!);
const colour = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

interface Chart {
  readonly x: readonly number[];
  readonly y: readonly (number | null)[];
  /** The point of x that was chosen. */
  readonly chosen: number;
}

const NAMES = ['groups kept', 'relative error'] as const;

/** In the place of what was there. */
function draw(figure: HTMLElement, { x, y, chosen }: Chart): void {
  figure.querySelector('.uplot')?.remove();
  const [line, other, text, grid] = ['--mark', '--other', '--text', '--line'].map(colour);
  const stroke = { stroke: grid };
  const plot = new uPlot(
    {
      width: figure.clientWidth,
      height: HEIGHT,
      scales: { x: { time: false } },
      axes: NAMES.map((label) => ({ label, stroke: text, grid: stroke, ticks: stroke })),
      series: [
        { label: NAMES[0] },
        { label: NAMES[1], stroke: line, width: 2, points: { show: false } },
        { label: 'chosen', stroke: other, width: 0, points: { show: true, size: 12, fill: other } },
      ],
    },
    [[...x], [...y], y.map((value, i) => (i === chosen ? value : null))],
    figure,
  );
  const canvas = plot.root.querySelector('canvas')!;
  canvas.setAttribute('role', 'img');
  canvas.setAttribute('aria-label', `${NAMES[1]} by ${NAMES[0]}, in numbers below`);
}

/** The numbers of a chart, for who cannot see it. */
function list(details: HTMLDetailsElement, { x, y, chosen }: Chart): void {
  const rows = x.map(
    (value, i) => `${value}\t${y[i]?.toPrecision(4) ?? ''}${i === chosen ? '\tchosen' : ''}`,
  );
  details.lastElementChild!.textContent = [NAMES.join('\t'), ...rows].join('\n');
}

/** The whole figure: which structure, its curve, its numbers. */
function show(figure: HTMLElement): void {
  if (drawn.curves.length === 0) {
    figure.append('This method has no curves.');
    return;
  }
  const select = document.createElement('select');
  for (const { name } of drawn.curves) select.add(new Option(name));
  const label = document.createElement('label');
  label.append('Structure ', select);
  const details = document.createElement('details');
  const summary = document.createElement('summary');
  summary.textContent = 'Numbers';
  details.append(summary, document.createElement('pre'));
  const redraw = () => {
    const { errors, kept } = drawn.curves[select.selectedIndex];
    const chart = { x: errors.map((_, i) => i), y: errors, chosen: kept };
    draw(figure, chart);
    list(details, chart);
  };
  figure.append(label);
  redraw();
  figure.after(details);
  select.addEventListener('change', redraw);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
  addEventListener('resize', redraw);
}

show(document.getElementById('curves')!);
