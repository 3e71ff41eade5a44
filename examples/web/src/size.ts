// The step in which a size is chosen: the trade-off curve, a slider along it, and what is left of each structure there.

import type { TradeoffReport } from 'osscar-wasm/model';
import { type DrawnChart, drawChart, tradeoffChart } from 'osscar-wasm/report';
import { byId, count, make, percent } from './dom.ts';
import type { Facts } from './workbench.ts';

const UNITS = { macs: 'multiply-adds', params: 'parameters', bytes: 'bytes', latency: 'ms' } as const;

const slider = byId<HTMLInputElement>('budget');
const output = byId<HTMLOutputElement>('budget-text');
const figure = byId('tradeoff');
const structures = byId('structures');

let drawn: DrawnChart | undefined;
let shown: { readonly tradeoff: TradeoffReport; readonly facts: Facts } | undefined;

/** From the smallest model on, as the slider goes. */
const points = () => shown!.tradeoff.points.toReversed();

export function showTradeoff(tradeoff: TradeoffReport, facts: Facts): void {
  shown = { tradeoff, facts };
  slider.max = String(tradeoff.points.length - 1);
  slider.value = String(points().indexOf(tradeoff.knee));
  const chart = tradeoffChart(tradeoff, tradeoff.knee.fraction);
  if (drawn) drawn.update(chart);
  else drawn = drawChart(figure, chart, { onPick: choose });
  showChoice();
}

/** The fraction of the dense model that was chosen. */
export const chosenFraction = () => points()[Number(slider.value)].fraction;

function choose(index: number): void {
  slider.value = String(index);
  showChoice();
}

slider.addEventListener('input', showChoice);

function showChoice(): void {
  const { tradeoff, facts } = shown!;
  const { fraction, size, loss, sizes } = points()[Number(slider.value)];
  const text = `${percent(fraction)} of the ${UNITS[tradeoff.of]} (${count(size)}), expected loss ${loss.toPrecision(2)}`;
  output.value = text;
  slider.setAttribute('aria-valuetext', text);
  drawn!.update(tradeoffChart(tradeoff, fraction));
  structures.replaceChildren(tableOf(facts, sizes));
}

function tableOf({ structures: all, parameters, macs }: Facts, sizes: Readonly<Record<string, number>>) {
  const cell = (text: string) => make('td', {}, text);
  const head = ['structure', 'stays', 'of its channels', 'of the parameters', 'of the multiply-adds'].map(
    (text) => make('th', { scope: 'col' }, text),
  );
  const rows = all.map(({ name, groups, ...share }) => {
    const kept = sizes[name] ?? groups;
    const bar = make('td', {}, make('meter', { max: groups, value: kept, ariaHidden: 'true' }));
    const texts = [
      `${kept} of ${groups}`,
      percent(share.parameters / parameters),
      percent(share.macs / macs),
    ];
    return make('tr', {}, make('th', { scope: 'row' }, name), bar, ...texts.map(cell));
  });
  const table = make('table', {}, make('thead', {}, make('tr', {}, ...head)), make('tbody', {}, ...rows));
  return make('div', { className: 'wide', tabIndex: 0, role: 'group', ariaLabel: 'Structures' }, table);
}
