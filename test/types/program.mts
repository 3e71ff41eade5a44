// What readers write against the declarations: with TypeScript 5.4, strict, every declaration looked at, where nothing but
// the language is declared, and where a page's names are. `npm run test:types` compiles it.

import {
  type AnalyzeSettings,
  analyze,
  type BeforeAfter,
  type EvaluateSettings,
  evaluate,
  inspect,
  type LatencySettings,
  type LayerReport,
  latency,
  type MethodReport,
  type Plan,
  type PlanSettings,
  type ProgressStep,
  type Pruned,
  type PruneSettings,
  plan,
  prune,
} from 'osscar-wasm';
import { openSession } from 'osscar-wasm/layer';
import { openEngine, openModel, parsePreprocessing } from 'osscar-wasm/model';
import { reportHtml } from 'osscar-wasm/report';

export async function run(bytes: Uint8Array): Promise<Pruned> {
  const { file } = await inspect('model.onnx', { mean: [0.286], std: 0.353 });
  const names: string[] = file?.structures.map(({ name }) => name) ?? [];
  const { value }: { value: number } = await evaluate('model.onnx', 'test/');
  const session = await openSession({ threads: 1 });
  const model = await openModel(bytes, { engine: await openEngine(), name: names[0] });
  const scale: number = parsePreprocessing({ mean: 0.5 }).scale;
  return prune('model.onnx', {
    calibration: [['a.png', bytes]],
    macs: value * scale * model.macs * session.threads,
  });
}
/** What reports are made of has names. */
export function rows({ report }: Pruned): string[] {
  const { bytes, layers, comparison = [] } = report;
  const share = ({ before, after }: BeforeAfter) => after / before;
  const row = ({ name, kept, groups }: LayerReport) => `${name} ${kept.length}/${groups}`;
  const other = ({ method, metric }: MethodReport) => `${method} ${metric && share(metric)}`;
  return [String(share(bytes)), ...layers.map(row), ...comparison.map(other)];
}
export const page = ({ report }: Pruned): Promise<string> => reportHtml(report);
export const bar = ({ done, total }: ProgressStep) => done / total;
export const peak = ({ bytes }: Plan) => bytes.total;
/** Settings that are made before they are used. */
export async function calls(
  settings: PruneSettings,
  others: readonly [AnalyzeSettings, EvaluateSettings, LatencySettings],
) {
  const planning: PlanSettings = { ...settings, machines: 4 };
  await plan('model.onnx', planning);
  await plan('model.onnx', settings);
  await analyze(new ArrayBuffer(8), others[0]);
  await evaluate('model.onnx', 'test/', others[1]);
  await latency('model.onnx', others[2]);
}
// @ts-expect-error all sizes are found
export const sizes = () => analyze('model.onnx', { calibration: 'photos/', macs: 0.5 });
// @ts-expect-error nothing is pruned
export const measured = () => evaluate('model.onnx', 'test/', { keep: 0.5 });
// @ts-expect-error numbers are numbers
export const text = () => prune('model.onnx', { calibration: 'photos/', mean: '0.5' });
// @ts-expect-error there is always data
export const nothing = () => prune('model.onnx', { keep: 0.5 });
