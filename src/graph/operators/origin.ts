// Where positions of a value were in a value before it: of nodes that move, copy or scale what is there, and add constants to it.

import { attributeInt, transposeOrder } from '../node.ts';
import type { NodeProto } from '../onnx_pb.ts';
import { called, type Propagation, wrapAxis } from '../propagation.ts';
import { elements, sum } from '../tensor.ts';
import { boundsOf } from './pieces.ts';

/** A node, and for each of some positions of a value the one of its output that is there. */
export interface Origin {
  readonly node: NodeProto;
  readonly positions: readonly number[];
}

/** Of which more are not followed: a graph may name any sizes. */
const MOST_POSITIONS = 2 ** 22;
/** Positions that take no longer to follow than a label. */
const POSITIONS_PER_LABEL = 64;

/** Follows positions of a value to the node that `isOrigin`; gives the name of what cannot be followed on the way there. */
export function originOf(
  state: Propagation,
  value: string,
  positions: readonly number[],
  isOrigin: (node: NodeProto) => boolean,
): Origin | string {
  for (let [own, at] = [value, positions]; ; ) {
    const node = state.model.producer(own);
    if (!node) return `"${own}"`;
    if (isOrigin(node)) return { node, positions: at };
    state.patience.spend(Math.ceil(at.length / POSITIONS_PER_LABEL));
    const index = dataOf(state, node);
    const [from, to] = [state.dims(node.input[index] ?? ''), state.dims(own)];
    const isShort = positions.length <= MOST_POSITIONS;
    const back = isShort && from && to && stepBack(state, node, own, from, to);
    if (!back) return called(node);
    [own, at] = [node.input[index], back === 'same' ? at : at.map(moved(back, to))];
  }
}

/** How a position is that of another value: by what an axis of it adds for each of its own. */
interface StepBack {
  readonly start: number;
  readonly strides: readonly number[];
}

const moved =
  ({ start, strides }: StepBack, dims: readonly number[]) =>
  (position: number): number => {
    let [to, left] = [start, position];
    for (let place = dims.length - 1; place >= 0; place--) {
      to += strides[place] * (left % dims[place]);
      left = Math.floor(left / dims[place]);
    }
    return to;
  };

/** Which input of a node it moves: of a sum, a product or a quotient the one that is as large as what comes of it. */
function dataOf(state: Propagation, node: NodeProto): number {
  if (node.opType === 'Add') return state.constant(node, 0) ? 1 : 0;
  return node.opType === 'Mul' && elements(state.dims(node.input[0]) ?? []) === 1 ? 1 : 0;
}

function stepBack(
  state: Propagation,
  node: NodeProto,
  value: string,
  from: readonly number[],
  to: readonly number[],
): StepBack | 'same' | undefined {
  const strides = from.map((_, place) => elements(from.slice(place + 1)));
  const over = (otherwise: number) => wrapAxis(attributeInt(node, 'axis', otherwise), from.length);
  switch (node.opType) {
    case 'Identity':
    case 'Reshape':
    case 'Unsqueeze':
    case 'Squeeze':
      return 'same';
    case 'Transpose':
      return { start: 0, strides: transposeOrder(node, from.length).map((axis) => strides[axis]) };
    case 'Tile': // as an Expand where it repeats single positions
    case 'Expand': {
      const missing = to.length - from.length;
      const isWhole = to.every((extent, place) => [1, extent].includes(from[place - missing] ?? 1));
      const own = to.map((_, place) => (from[place - missing] > 1 ? strides[place - missing] : 0));
      return isWhole ? { start: 0, strides: own } : undefined;
    }
    case 'Split': {
      const place = over(0);
      const before = node.output.slice(0, node.output.indexOf(value));
      const sizes = before.map((it) => state.dims(it)?.[place] ?? Number.NaN);
      const start = sum(sizes) * strides[place];
      return Number.isInteger(start) ? { start, strides } : undefined;
    }
    case 'Slice': {
      const { starts, axes, steps, isReversed } = boundsOf(state, node);
      if (!starts || from.some((_, place) => isReversed(place))) return undefined;
      const own = [...strides];
      let start = 0;
      for (const [i, first] of starts.entries()) {
        const place = wrapAxis(axes[i], from.length);
        start += Math.min(first < 0 ? Math.max(0, first + from[place]) : first, from[place]) * strides[place];
        own[place] *= steps[i] ?? 1;
      }
      return { start, strides: own };
    }
    case 'Gather': {
      const place = over(0);
      const [index, ...more] = state.integers(node, 1) ?? [];
      if (index === undefined || more.length > 0) return undefined;
      const added = to.length - from.length + 1; // axes of the one index
      const own = [
        ...strides.slice(0, place),
        ...new Array<number>(added).fill(0),
        ...strides.slice(place + 1),
      ];
      return { start: wrapAxis(index, from[place]) * strides[place], strides: own };
    }
    case 'Add':
    case 'Mul':
    case 'Div': {
      const other = 1 - dataOf(state, node);
      // a scale of all alike, computed or not, so that features can be turned before it
      const isPlain =
        node.opType === 'Add'
          ? state.constant(node, other) !== undefined
          : elements(state.dims(node.input[other]) ?? [0]) === 1;
      return isPlain && String(from) === String(to) ? 'same' : undefined;
    }
    default:
      return undefined;
  }
}
