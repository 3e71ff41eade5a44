// What weights are stored as, and the time that it takes onnxruntime to load and to run them: MatMuls, and the embedding that a language
// model's head is tied to. In onnxruntime-web, and in onnxruntime-node where that is installed:
//   npm run bench -- stored [--quick] [--json]

import { loadNative } from '../src/disk/engine.ts';
import { type Engine, type EngineSession, openEngine } from '../src/engine/index.ts';
import {
  floatWeights,
  GraphBuilder,
  isFitted,
  type Model,
  onSteps,
  STORED_TYPES,
  type StoredType,
  steppedMaps,
  storeWeights,
  writeModel,
} from '../src/graph/index.ts';
import { randomArray } from '../test/support/random.ts';
import { type Bench, bench, pair, round } from './support/bench.ts';
import { check } from './support/check.ts';
import { list } from './support/table.ts';

/** Of outputs of about 1: what q4 rounds the other operand by, which has eight bits in some runtimes. */
const ROUNDING = 0.05;
const ROWS = 64;

interface Network {
  readonly name: string;
  readonly model: Model;
  /** What one row of its input has. */
  readonly width: number;
}

await bench('stored', async (b) => {
  const runtime = await loadNative(false);
  const engines = [await openEngine({ threads: 1 })];
  if (runtime) engines.push(await openEngine({ runtime, session: { intraOpNumThreads: 1 } }));
  const rows = [];
  for (const network of b.quick ? [products(2, 64), tied(100, 64)] : [products(8, 2048), tied(50_000, 768)]) {
    const files = filesOf(network);
    for (const engine of engines)
      for (const type of STORED_TYPES) rows.push(await timed(b, engine, network, files, type));
  }
  b.emit({
    name: 'types',
    title: 'One thread, by turns with float32; times and bytes are of those of float32, fastest run / median',
    rows,
    grid: list(rows, {
      network: (row) => row.network,
      by: (row) => row.by,
      type: (row) => row.type,
      bytes: (row) => round(row.bytes),
      load: (row) => round(row.load),
      '1 row': (row) => pair(row.one, row.oneMedian),
      [`${ROWS} rows`]: (row) => pair(row.many, row.manyMedian),
    }),
  });
});

function products(layers: number, width: number): Network {
  const g = new GraphBuilder();
  let value = g.input('x', 'float32', ['rows', width]);
  for (let i = 0; i < layers; i++) value = g.node('MatMul', [value, matrix(g, `layer${i}`, width, width)]);
  g.output(value, 'y', 'float32', ['rows', width]);
  return { name: `${layers} MatMuls of ${width} × ${width}`, model: g.build('products'), width };
}

/** An embedding, and the head of a language model that is tied to it. */
function tied(vocabulary: number, width: number): Network {
  const g = new GraphBuilder();
  const table = matrix(g, 'table', vocabulary, width);
  const x = g.node('Gather', [table, g.input('x', 'int64', ['rows'])]);
  const turned = g.node('Transpose', [table], { perm: [1, 0] });
  g.output(g.node('MatMul', [x, turned]), 'y', 'float32', ['rows', vocabulary]);
  return { name: `a tied head of ${vocabulary} × ${width}`, model: g.build('tied'), width: 1 };
}

/** Such that what it makes of numbers of about 1 are numbers of about 1. */
function matrix(g: GraphBuilder, name: string, rows: number, cols: number): string {
  const values = Float32Array.from(randomArray(rows * cols, 1), (x) => x * Math.sqrt(3 / cols));
  return g.floats(name, values, [rows, cols]);
}

interface Files {
  readonly float32: Uint8Array;
  readonly stored: Readonly<Record<StoredType, { readonly bytes: Uint8Array; readonly exact: Uint8Array }>>;
}

/** @returns of every type, and of what it is exactly as float32 */
function filesOf({ model, width }: Network): Files {
  const values = model.nodes.flatMap(({ input, output }) => [input[0], output[0]]);
  const shapes = new Map(values.map((value) => [value, [ROWS, width]]));
  const steps = onSteps(model, width > 1 ? steppedMaps(model, shapes) : []);
  const stored = STORED_TYPES.map((type) => {
    const it = storeWeights(model, type, isFitted(type) ? steps : undefined);
    return [type, { bytes: writeModel(it).model, exact: writeModel(floatWeights(it)).model }];
  });
  return { float32: writeModel(model).model, stored: Object.fromEntries(stored) };
}

async function timed(
  { time }: Bench,
  engine: Engine,
  { name, width }: Network,
  { float32, stored }: Files,
  type: StoredType,
) {
  const feeds = (rows: number) => {
    const values = randomArray(rows * width, 2);
    const data = Float32Array.from(values, (value, i) => (width > 1 ? value : i));
    return { x: { dims: width > 1 ? [rows, width] : [rows], data } };
  };
  const { bytes, exact } = stored[type];
  const files = [float32, bytes];
  const sessions: EngineSession[] = [];
  const loadMs: number[] = [];
  for (const file of [...files, ...files]) {
    const start = performance.now();
    sessions.push(await engine.load(file, [], { asUsed: true }));
    loadMs.push(performance.now() - start);
  }
  for (const session of sessions.splice(0, 2)) await session.release(); // the first has the runtime loaded too
  const oracle = await engine.load(exact);
  const [own, expected] = await Promise.all([sessions[1], oracle].map((it) => it.run(feeds(ROWS))));
  check(`${name} as ${type}`, own.y.data, expected.y.data, ROUNDING);
  await oracle.release();
  const ratios = [];
  for (const rows of [1, ROWS]) {
    const [floats, of] = sessions.map((session) => ({ run: () => session.run(feeds(rows)) }));
    const { floats: whole, of: part } = await time({ floats, of });
    ratios.push([part.min / whole.min, part.median / whole.median]);
  }
  for (const session of sessions) await session.release();
  const [[one, oneMedian], [many, manyMedian]] = ratios;
  const of = { bytes: bytes.length / float32.length, load: loadMs[3] / loadMs[2] };
  const by = engine.name.split(' ')[0];
  return { network: name, by, type, ...of, one, oneMedian, many, manyMedian };
}
