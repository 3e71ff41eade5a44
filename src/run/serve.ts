// A worker of a queue: opens the runs that its jobs are of, out of the store that it shares with who has asked for them.

import { chooseSimd, type Simd } from '../kernel/index.ts';
import {
  engineKind,
  Findings,
  holds,
  openLanguageModel,
  openModel,
  type RunStore,
  readDescription,
  type ServedRun,
  Server,
  type Snapshot,
  storedFile,
  storedFolder,
  storedRun,
  storedSamples,
  UnfitError,
} from '../pipeline/index.ts';
import { openSession } from '../pool/index.ts';
import { closing, type Opened } from './closing.ts';
import { engineFor } from './engine.ts';
import { host } from './host.ts';
import { openGuarded } from './open.ts';
import type { ModelOptions } from './options.ts';

/** How a worker works. The engine is of the build that the run's is, unless one is handed over. */
export interface ServeSettings extends Pick<ModelOptions, 'threads' | 'timeout' | 'signal' | 'engine'> {
  /** A folder for what does not fit the memory. Default: the temporary one. */
  readonly scratch?: string;
}

/**
 * Calls `run` with what does jobs on a store, and closes all that they have opened in the end.
 *
 * @throws {UnfitError} of a job, where this machine cannot work on its run
 */
export function serving<R>(
  store: RunStore,
  settings: ServeSettings,
  run: (server: Server) => Promise<R>,
): Promise<R> {
  return closing(async (opened) => {
    const runs = new Map<string, Promise<ServedRun>>();
    const open = (hash: string) => {
      const known = runs.get(hash) ?? openRun(store, hash, settings, opened);
      runs.set(hash, known);
      known.catch(() => runs.delete(hash));
      return known;
    };
    return run(new Server(store, open));
  });
}

async function openRun(
  store: RunStore,
  hash: string,
  settings: ServeSettings,
  opened: Opened,
): Promise<ServedRun> {
  const key = `runs/${hash}`;
  if (!(await holds(store, key)))
    throw new UnfitError(`"${store.name}" is not the folder of the run that the queue has jobs of`);
  const snapshot = await readDescription<Snapshot>(store, key);
  const { threads } = settings;
  const simd = snapshot.simd as Simd;
  await chooseSimd(simd).catch((cause) => {
    throw new UnfitError(cause.message);
  });
  const calibration = storedSamples(store, snapshot.samples);
  const { engine: given = snapshot.engine.startsWith('onnxruntime-node') ? 'node' : 'web' } = settings;
  const { model, engine } = await openModelOf(store, snapshot, { ...settings, engine: given }, opened);
  if (engineKind(engine) !== snapshot.engine)
    throw new UnfitError(`the run is of ${snapshot.engine}, and here is ${engineKind(engine)}`);
  // On the calling thread a large layer would keep the worker from saying that it lives, and others would begin it too.
  const session = opened(
    await openSession({ threads: threads === 1 ? 2 : threads, simd, scratch: settings.scratch }),
  );
  const findings = new Findings({ store, origin: [simd, snapshot.engine], isReader: true });
  const scratch = await host.scratch?.(opened, settings.scratch);
  const { activationBytes, layerBytes } = snapshot;
  const means = { engine, session, calibration, findings, scratch, activationBytes, layerBytes };
  return storedRun(model, snapshot, means);
}

async function openModelOf(store: RunStore, { model }: Snapshot, settings: ServeSettings, opened: Opened) {
  const { name, files } = model;
  if (model.kind === 'folder') {
    const folder = opened(storedFolder(store, name, files));
    const { heads, image, part } = model;
    return {
      model: await openLanguageModel(folder, { heads, image, part }),
      engine: await engineFor(settings),
    };
  }
  const { bytes, external } = await storedFile(store, files);
  return openGuarded(settings, opened, (engine) =>
    openModel(bytes, { external, ...model.how, name, engine }),
  );
}
