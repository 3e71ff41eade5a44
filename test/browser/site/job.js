// Work that gives the same bits in every runtime; what differs between them is handed in.

/**
 * A whole prune of a small network.
 *
 * @param osscar  the library, however the runtime comes by it
 * @param read  bytes of a file of test/fixtures
 * @param job  `images` as `[{ name, label }]`, `simd`, and the options of the engine
 */
export async function pruneFixture(osscar, read, { images, simd, engine: engineOptions }) {
  const engine = await osscar.openEngine(engineOptions);
  const session = await osscar.openSession({ simd, threads: 1 });
  const model = await osscar.openModel(await read('fashion-mobilenet.onnx'), { engine });
  const preprocessing = osscar.parsePreprocessing({ mean: [0.286], std: [0.353] });
  const entries = images.map(({ name, label }) => ({ name, label, read: () => read(name) }));
  const calibration = osscar.imageDataset(entries, preprocessing, model.input.shape);
  const target = { kind: 'dense', blend: 0.5 };
  const { written, report } = await osscar.prune(model, {
    engine,
    session,
    calibration,
    keep: 0.5,
    target,
  });
  return {
    kept: Object.fromEntries(report.layers.map(({ name, kept }) => [name, [...kept]])),
    sha256: await sha256(written.model),
    bytes: written.model.byteLength,
    simd: session.simd,
  };
}

const INPUTS = 600; // above what one thread does alone
const OUTPUTS = 24;
const ROWS = 900;

/**
 * Three layers pruned by a session, the last in tiles, and where it has workers with a file; their inputs are sums of exact products, the
 * same in every engine.
 */
export async function pruneLayersBySession(osscar, { threads, simd }) {
  const session = await osscar.openSession({ threads, simd });
  const W0 = integers(INPUTS * OUTPUTS, 1);
  const solve = async (seed) => {
    const statistics = session.statistics(INPUTS, OUTPUTS, false);
    await statistics.addRows(integers(ROWS * INPUTS, seed));
    const layer = { fit: await statistics.finish(), W: W0, groupSize: 4 };
    return session.solveLayers([layer], { method: 'osscar' }, 60);
  };
  const solveTiled = async () => {
    const shape = { p: INPUTS, m: OUTPUTS, groupSize: 4, keep: 60, edge: 128 };
    const statistics = session.tiledStatistics(INPUTS, OUTPUTS, false, shape.edge);
    await statistics.addRows(integers(ROWS * INPUTS, 4));
    const layer = { fit: await statistics.finish(), W: W0, groupSize: 4 };
    const { total } = osscar.tiledPlan(shape, session.maximumBytes, Number.POSITIVE_INFINITY).memory;
    return session.solveTiled(layer, {}, 60, session.threads > 1 ? { memory: total - 1 } : {});
  };
  const layers = [...(await Promise.all([2, 3].map(solve))), await solveTiled()];
  const { threads: running, shared, reason } = session;
  await session.close();
  return {
    kept: layers.map(({ kept }) => kept),
    sha256: await Promise.all(layers.map(({ layers: [{ W }] }) => sha256(W))),
    threads: running,
    shared,
    reason,
  };
}

/** Small whole numbers from a linear congruential generator, as f32. */
function integers(length, seed) {
  let state = seed;
  return Float32Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state >>> 28) - 8;
  });
}

async function sha256(bytes) {
  const digest = await crypto.subtle.digest('SHA-256', bytes);
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/**
 * What a stranger's files ask to be run, beside this thread.
 *
 * @param job  `seconds` of the guard; a `tokenizer` and a `text`, or the bytes of a `model`
 * @returns what came of it, or the error
 */
export async function runGuarded(osscar, read, { seconds, tokenizer, text, model }) {
  const guard = osscar.openGuard({ seconds });
  const open = async (bytes) => osscar.openModel(bytes, { engine: await guard.engine({ threads: 1 }) });
  try {
    if (model) await open(Uint8Array.from(model));
    const encode = await guard.tokenizer(tokenizer);
    const [tokens] = await encode([text]);
    const { analysis } = await open(await read('fashion-mobilenet.onnx'));
    return { tokens: [...tokens], structures: analysis.structures.length };
  } catch ({ code, message, seconds }) {
    return { error: { code, message, seconds } };
  } finally {
    await guard.close();
  }
}
