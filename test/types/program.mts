// What readers write against the declarations: with TypeScript 5.4, strict, every declaration looked at, where nothing but
// the language is declared, and where a page's names are. `npm run test:types` compiles it.

import { evaluate, inspect, type Pruned, prune } from 'osscar-wasm';
import { openSession } from 'osscar-wasm/layer';
import { openEngine, openModel, parsePreprocessing } from 'osscar-wasm/model';

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
// @ts-expect-error numbers are numbers
export const text = () => prune('model.onnx', { calibration: 'photos/', mean: '0.5' });
// @ts-expect-error there is always data
export const nothing = () => prune('model.onnx', { keep: 0.5 });
