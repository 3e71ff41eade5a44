// The time that a model takes here.

import { InputError } from '../errors.ts';
import { type LatencyTable, measureLatency } from '../pipeline/index.ts';
import { modelFile } from './beside.ts';
import { ownOptions } from './check.ts';
import { closing } from './closing.ts';
import { openModelFile } from './open.ts';
import type { LatencySettings } from './options.ts';
import { MODEL_NAME, placeOf, type Source } from './source.ts';

/**
 * The time that an ONNX model takes on this machine, as a function of what its structures keep.
 *
 * @throws {InputError} for a folder
 *
 * @example
 * const latencyTable = await latency('model.onnx', { threads: 1 });
 * await prune('model.onnx', { calibration: 'photos/', latency: 0.6, latencyTable, output: 'faster.onnx' });
 */
export async function latency(model: Source, options: LatencySettings = {}): Promise<LatencyTable> {
  options = ownOptions('latency', options);
  const place = await placeOf(model, MODEL_NAME, options.signal);
  const file = await modelFile(place);
  if (file === undefined)
    throw new InputError(`"${place.path}": latency is measured of ONNX files, not of folders`);
  return closing(async (opened) => {
    const { model, engine } = await openModelFile(file, options, opened);
    return measureLatency(model, { engine, signal: options.signal, onProgress: options.onProgress });
  });
}
