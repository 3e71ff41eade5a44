// A whole prune of a small network, the same in every runtime; what may differ between them is handed in.

/**
 * @param osscar  the library, however the runtime comes by it
 * @param read  bytes of a file of test/fixtures
 * @param job  `images` as `[{ name, label }]`, `simd`, and the options of the engine
 */
export async function pruneFixture(osscar, read, { images, simd, engine: engineOptions }) {
  const engine = await osscar.openEngine(engineOptions);
  const kernels = await osscar.openKernels({ simd });
  const model = await osscar.openModel(await read('fashion-mobilenet.onnx'), { engine });
  const preprocessing = osscar.parsePreprocessing({ mean: '0.2860', std: '0.3530' });
  const entries = images.map(({ name, label }) => ({ name, label, read: () => read(name) }));
  const calibration = osscar.imageDataset(entries, preprocessing, model.input.shape);
  const target = { kind: 'dense', blend: 0.5 };
  const { written, report } = await osscar.pruneModel(model, {
    engine,
    kernels,
    calibration,
    keep: 0.5,
    target,
  });
  const digest = await crypto.subtle.digest('SHA-256', written.model);
  return {
    kept: Object.fromEntries(report.layers.map(({ name, kept }) => [name, [...kept]])),
    sha256: Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, '0')).join(''),
    bytes: written.model.byteLength,
    simd: kernels.simd,
  };
}
