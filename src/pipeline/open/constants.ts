// Weights that a model computes from constants alone become constants when it is opened.

import type { Engine } from '../../engine/index.ts';
import {
  computedWeights,
  elements,
  fromFloat32,
  type Model,
  part,
  sum,
  type Tensor,
  withConstants,
} from '../../graph/index.ts';
import { loadModel, withSessions } from './load.ts';

/** So many are computed of a single number, as the scales of a norm, all of them one, that PyTorch expands. */
const FEW = 2 ** 13;

/**
 * The same model with weights in the place of what computes them, where these are not more numbers than what they are made of.
 *
 * @param known  values that are taken for constants while weights are computed
 */
export async function computeConstants(
  engine: Engine,
  model: Model,
  known: readonly Tensor[] = [],
): Promise<Model> {
  const given = known.length > 0 ? withConstants(model, known) : model;
  const groups = computedWeights(given);
  if (groups.length === 0) return model;
  const values = groups.flatMap((group) => group.values);
  const anyShape = { shapes: new Map(), types: new Map() };
  return withSessions([() => loadModel(engine, part(given, [], values, anyShape))], async (session) => {
    const described = new Map(session.outputs.map((output) => [output.name, output]));
    const small = groups.flatMap(({ values, sources }) => {
      const outputs = values
        .map((name) => described.get(name)!)
        .filter(({ type }) => /^float(32|16)$/.test(type));
      const known = outputs.filter(({ dims }) => dims.length > 0);
      const count = sum(known.map(({ dims }) => elements(dims as number[])));
      return count <= (sum(sources.map(({ dims }) => elements(dims))) || FEW) ? outputs : [];
    });
    if (small.length === 0) return model;
    const results = await session.run(
      {},
      small.map(({ name }) => name),
    );
    const constants = small.map(({ name, type }): Tensor => {
      const { data, dims } = results[name];
      return fromFloat32(data, dims, { name, type: type as Tensor['type'] });
    });
    return withConstants(model, constants);
  });
}
