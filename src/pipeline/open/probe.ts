// What a model is for samples of zeros.

import type { Engine, FloatTensor } from '../../engine/index.ts';
import { InputError, UnsupportedModelError } from '../../errors.ts';
import { describeValue, elements, type Model, type ValueInfo } from '../../graph/index.ts';
import { checkValues } from '../../limits.ts';
import { extentsOf, type ModelInput } from './inputs.ts';
import { contradictShapes, inferShapes } from './shapes.ts';

/** Shapes for samples of zeros. */
export async function probe(
  engine: Engine,
  model: Model,
  input: ModelInput,
  dims: readonly number[],
): Promise<ValueInfo> {
  return inferShapes(engine, model, zeros(model, input, dims));
}

/**
 * All inputs of a run, for samples of zeros.
 *
 * @throws {InputError} where these alone are too large
 */
export function zeros(model: Model, input: ModelInput, dims: readonly number[]): Record<string, FloatTensor> {
  checkValues(dims, `input "${input.name}"`);
  const nothing = (extents: readonly number[]) => {
    checkValues(extents, 'an input that goes along');
    return { dims: extents, data: new Float32Array(elements(extents)) };
  };
  const main = model.inputs.map(describeValue).find(({ name }) => name === input.name)!;
  const given = input.others.map((other) => [
    other.name,
    other.fill?.(dims) ?? nothing(extentsOf(other, main, dims)),
  ]);
  return { ...Object.fromEntries(given), [input.name]: nothing(dims) };
}

/** Nothing where the model does not take these. */
export async function probed(...args: Parameters<typeof probe>): Promise<ValueInfo | undefined> {
  try {
    const info = await probe(...args);
    return contradictShapes(args[1], info.shapes) ? undefined : info;
  } catch (error) {
    if (error instanceof InputError || error instanceof UnsupportedModelError) return undefined;
    throw error;
  }
}
