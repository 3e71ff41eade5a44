// A chart of a report, in the colours of the reader's theme, with its numbers in a table for who cannot see it.

import uPlot from 'uplot';
import { expectMethods, expectObject } from '../expect.ts';
import { table } from './markup.ts';

/** One or several lines over the same x. */
export interface Chart {
  /** Of the axes, with their units. */
  readonly names: readonly [x: string, y: string];
  /** Ascending. */
  readonly x: readonly number[];
  readonly y: readonly (number | null)[];
  /** Points that stand out: places in x, by what they are. */
  readonly marks: Readonly<Record<string, number>>;
}

/** A chart on a page. */
export interface DrawnChart {
  /** Another chart of the same kind in its place. */
  update(chart: Chart): void;
}

/** What a chart does when it is used. */
export interface ChartOptions {
  /** Called with the place in x that the reader points at and clicks. */
  readonly onPick?: (index: number) => void;
}

const HEIGHT = 280;
/** CSS variables of the marks' colours, and their sizes: no two look alike without colour either. */
const MARKS = [
  { colour: '--other', size: 13 },
  { colour: '--third', size: 7 },
] as const;
const DARK = '(prefers-color-scheme: dark)';

const colour = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const digits = (value: number | null) => (value === null ? '' : String(Number(value.toPrecision(4))));

/**
 * Draws into the figure, and again whenever its width or the theme changes.
 *
 * @example
 * drawChart(figure, { names: ['groups kept', 'error'], x: [1, 2, 4], y: [0.9, 0.4, 0], marks: { chosen: 1 } });
 */
export function drawChart(figure: HTMLElement, first: Chart, options: ChartOptions = {}): DrawnChart {
  expectMethods('drawChart', 'figure', figure, 'an element of the page', 'append');
  expectObject('drawChart', 'chart', first);
  let chart = first;
  let plot: uPlot | undefined;
  const numbers = numbersOf();
  const redraw = () => {
    plot?.destroy();
    plot = plotOf(figure, chart, options);
    figure.append(numbers);
  };
  redraw();
  list(numbers, chart);
  new ResizeObserver(() => {
    if (plot && plot.width !== figure.clientWidth && figure.clientWidth > 0)
      plot.setSize({ width: figure.clientWidth, height: HEIGHT });
  }).observe(figure);
  matchMedia(DARK).addEventListener('change', redraw);
  return {
    update(next) {
      chart = next;
      plot!.setData(dataOf(chart));
      list(numbers, chart);
    },
  };
}

function plotOf(figure: HTMLElement, chart: Chart, { onPick }: ChartOptions): uPlot {
  const { names, marks } = chart;
  const [line, text, grid] = ['--mark', '--text', '--line'].map(colour);
  const stroke = { stroke: grid, width: 1 };
  const value = (_: uPlot, it: number | null) => (it === null ? '–' : digits(it));
  const plot = new uPlot(
    {
      width: figure.clientWidth,
      height: HEIGHT,
      scales: { x: { time: false } },
      axes: names.map((label) => ({ label, stroke: text, grid: stroke, ticks: stroke })),
      series: [
        { label: names[0], value },
        { label: names[1], value, stroke: line, width: 2, points: { show: false } },
        ...Object.keys(marks).map((label, i) => {
          const mark = MARKS[i % MARKS.length];
          const fill = colour(mark.colour);
          return { label, value, stroke: fill, width: 0, points: { show: true, size: mark.size, fill } };
        }),
      ],
    },
    dataOf(chart),
    figure,
  );
  // For paper, which is light whatever the theme: see the style sheet.
  figure.dataset.theme = matchMedia(DARK).matches ? 'dark' : 'light';
  const canvas = plot.root.querySelector('canvas')!;
  canvas.setAttribute('role', 'img');
  canvas.setAttribute('aria-label', `${names[1]} by ${names[0]}, in numbers below`);
  plot.over.addEventListener('click', () => {
    if (typeof plot.cursor.idx === 'number') onPick?.(plot.cursor.idx);
  });
  return plot;
}

function dataOf({ x, y, marks }: Chart): uPlot.AlignedData {
  const marked = Object.values(marks).map((at) => y.map((value, i) => (i === at ? value : null)));
  return [[...x], [...y], ...marked];
}

/** Closed at first. */
function numbersOf(): HTMLDetailsElement {
  const details = document.createElement('details');
  details.append(document.createElement('summary'), document.createElement('div'));
  details.firstElementChild!.textContent = 'Numbers';
  details.lastElementChild!.className = 'numbers';
  return details;
}

function list(details: HTMLDetailsElement, { names, x, y, marks }: Chart): void {
  const rows = x.map((value, i) => {
    const what = Object.keys(marks).filter((name) => marks[name] === i);
    return [digits(value), digits(y[i]), what.join(', ')];
  });
  details.lastElementChild!.innerHTML = table([...names, 'what'], rows);
}
