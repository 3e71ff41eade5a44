// How many samples a network takes at a time. Where sizes were traced into it as numbers (`x.view(4, -1)`, `torch.ones(len(x), 1)`) it
// takes as many as it was exported with, whatever it declares.

import { type Engine, isOfEngine } from '../../engine/index.ts';
import { OutOfMemoryError } from '../../errors.ts';
import { attributeInt, type Model, type Tensor, toIntegers, type ValueInfo } from '../../graph/index.ts';
import type { ModelInput } from './inputs.ts';
import { probe, probed } from './probe.ts';
import { runsOverSteps } from './shapes.ts';

/** Samples of a run that shows where they are counted; of a model that takes so many at a time, as many times these. */
export const SEVERAL = 2;

/** Numbers of samples that are tried where neither one nor several are taken, none of them above. */
const [MOST_TRIED, MOST_SAMPLES] = [16, 1024];
/** Of a shape that is written down. */
const MOST_AXES = 8;

/**
 * The input with the number of samples that the network takes, where that is not any; as it is where none was found.
 *
 * @param folded  the same network, with all constants computed
 * @param input  with a sample's dimensions known
 */
export async function heldInput(
  engine: Engine,
  model: Model,
  folded: Model,
  input: ModelInput,
): Promise<ModelInput> {
  if (input.fixedBatch || ![model, folded].some(hasWritten)) return input;
  const withSamples = (count: number) => probed(engine, model, input, [count, ...input.shape]);
  const held = (fixedBatch: number): ModelInput => ({ ...input, fixedBatch, isHeld: true });
  const one = await withSamples(1);
  if (one) {
    try {
      const several = await withSamples(SEVERAL);
      return several && !areOne(model, one, several) ? input : held(1);
    } catch (error) {
      if (error instanceof OutOfMemoryError) return input;
      throw error;
    }
  }
  const error = await probe(engine, model, input, [1, ...input.shape]).catch((it) => it);
  if (isOfEngine(error) && !/\[ShapeInferenceError\]|cannot run/.test(error.message)) return input;
  const others = writtenBatches(model);
  for (const count of others) if (await withSamples(count)) return held(count);
  if (!isOfEngine(error)) return input;
  error.message += `; nor does it take ${others.join(', ')} of [${input.shape.join(', ')}]: give a size that it was exported for, or export it with open ones`;
  throw error;
}

/** Whether a number of samples may be written into a network: most are told to have none without being loaded. */
function hasWritten({ nodes, tensors }: Model): boolean {
  return nodes.some((node) => {
    const { opType, input } = node;
    const constants = input.map((name) => tensors.get(name));
    if (opType === 'Expand' && constants[0]?.dims.some((dim) => dim > 1)) return true;
    if (opType === 'Reshape' || opType === 'Expand') return firstOf(constants[1]) > 0;
    if (runsOverSteps(node)) return constants[5] !== undefined;
    const isBeside =
      opType === 'Concat' && attributeInt(node, 'axis', 0) !== 0 && constants.includes(undefined);
    return isBeside && constants.some((tensor) => tensor && tensor.dims.length > 1);
  });
}

/** The first number of a shape that is written down. */
function firstOf(shape: Tensor | undefined): number {
  return shape?.type === 'int64' && shape.dims.length === 1 && shape.dims[0] > 0 ? toIntegers(shape)[0] : 0;
}

/** Whether several samples give no more than one does, as where they are laid out as one. */
function areOne({ outputs }: Model, ...[one, several]: ValueInfo[]): boolean {
  const dimsOf = ({ shapes }: ValueInfo) => outputs.map(({ name }) => shapes.get(name) ?? []);
  return dimsOf(one).every(([first]) => first === 1) && String(dimsOf(one)) === String(dimsOf(several));
}

/** What shapes begin with, and constants where that is not 1, as of states: [1, samples, …]. */
function writtenBatches(model: Model): number[] {
  const tensors = [...model.tensors.values()];
  const ofShapes = tensors
    .filter(
      ({ type, dims: [axes = 0, ...more] }) => type === 'int64' && axes <= MOST_AXES && more.length === 0,
    )
    .flatMap((tensor) => [...toIntegers(tensor).slice(0, 1)]);
  const ofConstants = tensors
    .filter(({ dims }) => dims.length > 1)
    .map(({ dims }) => dims.find((dim) => dim > 1) ?? 1);
  const found = new Set([SEVERAL, ...ofShapes, ...ofConstants.sort((a, b) => a - b)]);
  return [...found].filter((count) => count > 1 && count <= MOST_SAMPLES).slice(0, MOST_TRIED);
}
