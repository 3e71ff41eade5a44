// Which channels of a model are tied to each other, and which of those sets can be pruned.
//
// Every layer puts a fresh label on the channel axis of its output. Rules, one per operator, carry labels
// forward in topological order: they hand a label on to an axis of an output, tie two labels (Add, Mul), tie
// a constant to one (a slope, BatchNormalization's parameters), consume it (the next layer's weights) or pin
// it, which means that the channels must all stay, with a reason. Where a reshape splits channels into heads the
// label becomes coarser; where a Split takes a fused projection apart it is split too. Patterns play no part, and
// names only where a cache of keys and values enters and leaves the graph.

import { markBranches } from './bypass.ts';
import { isFloat } from './dtype.ts';
import type { Graph, Use } from './graph.ts';
import type { Axis, Label, OpenEdit } from './labels.ts';
import { type Shapes, sharedKey, sharing } from './linear.ts';
import type { Model } from './model.ts';
import { captured, reads } from './node.ts';
import type { NodeProto } from './onnx_pb.ts';
import { broadcast, isElementwise } from './operators/elementwise.ts';
import { mixedBy, tieFeatures, turnedFeatures } from './operators/features.ts';
import { expand } from './operators/layout.ts';
import { concat } from './operators/pieces.ts';
import { reduce } from './operators/spatial.ts';
import { type Carrier, called, type Operator, Propagation } from './propagation.ts';
import { followSizes, handedOn, isIndifferent, pinCounted } from './sizes.ts';
import { type State, statesMade } from './states.ts';
import type { Analysis, Edit, HeadsMode, Reader, Structure } from './structure.ts';
import type { ValueInfo } from './subgraph.ts';
import { elements, fromIntegers, groupBy, sum, type Tensor } from './tensor.ts';
import { reasonForWhole, wholeAttentions } from './whole-heads.ts';

export interface AnalysisOptions {
  /** Whether channels that shortcuts tie may be pruned: all layers of the stream lose the same ones. Default false. */
  readonly residual?: boolean;
  /** What goes of attention: heads (`fewer`, the default), or features of each of them (`narrow`) where that can be, and heads where not. */
  readonly heads?: HeadsMode;
}

/** What is known of the samples. */
interface Sampled {
  /** Of a network that runs step by step, which stay as large as they are. */
  readonly states?: readonly State[];
  /** Dims of every value in a run of a sample as large as those to come. Default: `shapes`. */
  readonly sample?: Shapes;
}

/** @param shapes  dims of every value in a run on any batch */
export function analyse(
  model: Model,
  shapes: Shapes,
  { residual = false, heads = 'fewer', ...sampled }: AnalysisOptions & Sampled = {},
): Analysis {
  let state = settled(model, shapes, sampled, () => heads === 'narrow');
  let found = structuresOf(state, residual);
  if (heads === 'narrow') {
    const whole = wholeAttentions(state, found);
    if ([...state.narrowed].some((node) => whole.has(node))) {
      state = settled(model, shapes, sampled, (node) => !whole.has(node));
      found = structuresOf(state, residual);
    }
    for (const structure of found.values()) {
      const reason = reasonForWhole(state, whole, structure);
      if (reason !== undefined) structure.wholeHeads = reason;
    }
  }
  const place = (name: string) => model.position(model.node(name)!);
  const order = ({ consumers, producers }: Structure) => place(consumers[0]?.node ?? producers[0].node);
  const structures = [...found.values()].sort((a, b) => order(a) - order(b));
  for (const [, ...more] of groupBy(structures, ({ name }) => name).values()) {
    for (const [i, structure] of more.entries()) structure.name += `:${i + 2}`;
  }
  markBranches(model, structures);
  return { structures, ...(state.shared.size > 0 && { shared: [...state.shared] }) };
}

/** What is known once all of a graph is walked. @param narrows  whether heads lose features at a node, and none of them goes */
function settled(
  model: Model,
  shapes: Shapes,
  { states = [], sample }: Sampled,
  narrows: Propagation['narrows'],
): Propagation {
  const state = propagated(model, shapes, { states, sample }, narrows);
  for (const { name } of model.outputs) output(state, name, states);
  for (const { name } of model.inputs) foreignHeads(state, name);
  settle(state);
  return state;
}

function structuresOf(state: Propagation, residual: boolean): Map<Label, Structure> {
  const { model } = state;
  const roots = rootsOf(state).filter((label) => label.producers.length > 0);
  const place = (name: string) => model.position(model.node(name)!);
  const carriers = state.carriers();
  return new Map(
    roots.map((label) => [label, structureOf(state, label, carriers.get(label) ?? [], place, residual)]),
  );
}

function propagated(
  model: Model,
  shapes: Shapes,
  { states = [], sample }: Sampled = {},
  narrows?: Propagation['narrows'],
): Propagation {
  const state = new Propagation(model, shapes, narrows, sample);
  const made = statesMade(model, states);
  for (const { name } of model.inputs) cachedHeads(state, name, states);
  for (const node of model.nodes) {
    if (state.passed.has(node)) continue;
    if (made.has(node)) handOut(state, node);
    else visit(state, node);
    followSizes(state, node);
  }
  return state;
}

/** Operators that take parts of what they read first, or repeat it, by integers behind it. */
const TAKES: ReadonlySet<string> = new Set(['Slice', 'Split', 'Gather', 'Expand']);

/**
 * Integers by which parts of weights are taken or copies made and that are computed from numbers of channels, as PyTorch's attention takes its
 * query weights from those of all three, and a norm without scales has as many ones: the same in every run of this model. Of a smaller one they may be others, so that they are of use
 * only for what is computed once and for all.
 *
 * @param info  shapes as `analyse` has them
 */
export function channelCounts(
  model: Model,
  { shapes, types }: Pick<ValueInfo, 'shapes' | 'types'>,
): Tensor[] {
  const asked = model.nodes.flatMap(({ opType, domain, input: [data, ...others] }) => {
    const weight = TAKES.has(opType) && domain === '' ? model.tensors.get(data) : undefined;
    const isInteger = (value: string) => types.get(value) === 'int64' && model.producer(value) !== undefined;
    return weight && isFloat(weight.type) ? others.filter(isInteger) : [];
  });
  if (asked.length === 0) return [];
  const state = propagated(model, shapes);
  return [...new Set(asked)].flatMap((value) => {
    const [sizes, dims] = [state.sizes.get(value), state.dims(value)];
    const isKnown = sizes?.every(({ axis, isFixed }) => (axis ? isOfLayers(axis) : isFixed));
    return sizes && dims && isKnown && sizes.length === elements(dims)
      ? fromIntegers(
          value,
          sizes.map((size) => size.value),
          dims,
        )
      : [];
  });
}

/** Whether an axis holds what layers make and nothing else, in whatever run. */
function isOfLayers({ label, outer, isMerged }: Axis): boolean {
  return outer === 1 && !isMerged && label.leaves().every(({ producers }) => producers.length > 0);
}

function visit(state: Propagation, node: NodeProto): void {
  const operator = state.model.operator(node);
  const resizes = [1, 2, 3].some((input) =>
    state.sizes.get(node.input[input] ?? '')?.some(({ axis }) => axis),
  );
  if (operator?.kind === 'source') operator.rule(state, node);
  else if (operator?.kind === 'pass' && isWeight(state, node, 0) && isComputed(state, node)) {
    followConstant(state, node, operator);
  } else if (
    resizes ||
    reads(node).some((value) => state.isLabelled(value)) ||
    isSpread(state, node, operator)
  )
    follow(state, node, operator);
}

const isComputed = ({ model }: Propagation, node: NodeProto) =>
  reads(node).some((value) => !model.tensors.has(value));

function isWeight(state: Propagation, node: NodeProto, input: number): boolean {
  const tensor = state.constant(node, input);
  return tensor !== undefined && isFloat(tensor.type) && elements(tensor.dims) > 1;
}

/** What a node makes of a constant by sizes that are computed can be cut with what it is tied to. */
function followConstant(state: Propagation, node: NodeProto, operator: Operator): void {
  const [value] = node.input;
  for (const [place, extent] of state.dims(value)!.entries()) {
    if (extent < 2) continue;
    const axis = state.free(extent);
    state.slice(axis, node, 0, place);
    state.mark(value, place, axis);
  }
  follow(state, node, operator);
  state.clear(value); // other nodes may cut it otherwise
}

/** Whether numbers for all channels meet constants by channel: what comes of them can be cut with what it is tied to. */
function isSpread(state: Propagation, node: NodeProto, operator?: Operator): boolean {
  const output = state.dims(node.output[0]);
  if (operator?.rule !== broadcast || !output) return false;
  const isSmaller = (value: string) => elements(state.dims(value) ?? output) < elements(output);
  const computed = node.input.filter((value) => value !== '' && !state.model.tensors.has(value));
  return computed.every(isSmaller) && node.input.some((_, input) => isWeight(state, node, input));
}

function follow(state: Propagation, node: NodeProto, operator?: Operator): void {
  const isJoin = operator?.kind === 'join';
  const data = isJoin ? node.input.filter((value) => value !== '') : node.input.slice(0, 1);
  const parameters = isJoin ? [] : node.input.slice(1).filter((value) => value !== '');
  // No rule expects parameters computed from channels, or labels that a graph inside the node sees.
  const expected = ![...parameters, ...captured(node)].some((value) => state.isLabelled(value));
  const known = [...data, ...parameters, node.output[0]].every((value) => state.dims(value) !== undefined);
  if (operator && expected && known) operator.rule(state, node);
  else state.pinAll(node, `${called(node)} cannot be seen through`);
}

/** Axes of caches, by how many there are, that may be heads, or channels of a convolution. */
const CHANNELS_OF_CACHES: Readonly<Record<number, readonly number[]>> = { 3: [1, 2], 4: [1] };

const isCache = (name: string) => /(^|[^a-z])(past|present)([^a-z]|$)/i.test(name);

// The heads of cached keys and values are cut with those of the layers that add to them, and so are the channels of what a convolution over tokens has of the last ones.
function cachedHeads(state: Propagation, input: string, states: readonly State[]): void {
  const dims = state.dims(input) ?? [];
  const keepsSize = dims.length === 3 && states.some((it) => it.input === input);
  if (!isCache(input) || keepsSize) return;
  for (const index of CHANNELS_OF_CACHES[dims.length] ?? []) {
    if (dims[index] < 2) continue;
    const axis = state.free(dims[index]);
    axis.label.isHead = dims.length === 4;
    state.edit(axis, { kind: 'dim', value: input, index }, input);
    state.mark(input, index, axis);
  }
}

/** A cache that does not go on as an output, as those of an encoder, is made by another model, which goes on giving all heads. */
function foreignHeads(state: Propagation, input: string): void {
  for (const [place, axis] of state.labelled(input)) {
    const goesOn = state.model.outputs.some(
      ({ name }) => isCache(name) && state.axes(name)[place]?.label.root() === axis.label.root(),
    );
    if (!goesOn) state.pin(axis, `another model makes the graph input "${input}"`);
  }
}

/** States have all channels: labels end where they are made. */
function handOut(state: Propagation, node: NodeProto): void {
  for (const [input, value] of node.input.entries()) {
    for (const [place, axis] of state.labelled(value)) refill(state, node, input, { value, place, axis });
    if (input > 0) pinCounted(state, node, state.sizes.get(value) ?? []);
  }
}

/** @param input  of the node, or −1 of what it makes */
function refill(
  state: Propagation,
  node: NodeProto,
  input: number,
  { value, place, axis }: { value: string; place: number; axis: Axis },
): void {
  const rank = state.dims(value)!.length;
  if (axis.outer > 1 || axis.isMerged) state.pin(axis, `${called(node)} merges it into a state`);
  else state.slice(axis, node, input, place, 0, { tensor: value, whole: axis.extent, state: { rank } });
}

function output(state: Propagation, name: string, states: readonly State[]): void {
  const rank = state.dims(name)?.length;
  const maker = states.some((it) => it.output === name) && state.model.producer(name);
  for (const [place, axis] of state.labelled(name)) {
    if (maker) refill(state, maker, -1, { value: name, place, axis });
    else if (
      isCache(name) &&
      CHANNELS_OF_CACHES[rank ?? 0]?.includes(place) &&
      axis.label.leaves().every(({ isHead }) => isHead)
    ) {
      state.edit(axis, { kind: 'dim', value: name, index: place }, name);
    } else state.pin(axis, `it is the graph output "${name}"`);
  }
  for (const { axis } of state.sizes.get(name) ?? [])
    state.pin(axis, `its number is the graph output "${name}"`);
}

/**
 * What can only be judged once every label is known: pins the labels of agreements that did not come about, and of
 * edits that another node would suffer from.
 */
function settle(state: Propagation): void {
  for (const { labels, reason } of state.agreements) {
    const agree = () => {
      const [first, ...others] = labels.map((label) => label.leaves());
      return others.every((own) => own.length === first.length && own.every((leaf, i) => leaf === first[i]));
    };
    const leaves = labels.flatMap((label) => label.leaves());
    if (agree() || (tieFeatures(state, leaves) && agree())) continue;
    for (const label of labels) label.pin(reason);
  }
  for (const { value, fromEnd, axis, reason } of state.reductions)
    if (!comesBack(state, value, fromEnd, axis.label)) state.pin(axis, reason);
  const edits = rootsOf(state).flatMap((label) => label.edits.map((edit) => ({ ...edit, label })));
  for (const list of atPlaces(edits).values()) {
    const labels = () => new Set(list.map(({ label }) => label.root()));
    const found = () =>
      disputed(
        state,
        list.map((edit) => ({ ...edit, label: edit.label.root() })),
      );
    let source = found();
    if (source && tieFeatures(state, labels())) source = found();
    if (!source) continue;
    state.shared.add(source.name);
    for (const label of labels()) label.pin(`${called(source)} gives a shape that other nodes read too`);
  }
}

/** Reductions that are as large of fewer channels. */
const LEVELS: ReadonlySet<string> = new Set(['ReduceMean', 'ReduceMax', 'ReduceMin']);

/**
 * Whether all that is made of a number for all channels becomes part of each of these channels, or goes to layers, which can be
 * refitted: attention over places reads means and maxima.
 */
function comesBack(state: Propagation, value: string, fromEnd: number, label: Label): boolean {
  const wanted = label.leaves();
  const isLevel = LEVELS.has(state.model.producer(value)!.opType);
  const made = new Set([value]); // grows
  for (const value of made) {
    const uses = state.model.uses(value);
    if (uses.length === 0 || state.model.isOutput(value)) return false;
    for (const { node, index } of uses) {
      state.patience.spend();
      const { rule, layer } = state.model.operator(node) ?? {};
      const [output] = node.output;
      if (isLevel && layer && index === 0 && state.constant(node, 1)) continue;
      if (isLevel && rule === concat && !state.isLabelled(output)) {
        made.add(output);
        continue;
      }
      const place = (state.dims(output)?.length ?? 0) - fromEnd;
      // a mean of means has the axis as long as it has all axes
      const keeps = rule === reduce && state.dims(output)?.length === state.dims(value)?.length;
      const goesOn = isElementwise(rule) || (rule === expand && index === 0);
      if ((!goesOn && !keeps) || place < 0) return false;
      const own = state.axes(output)[place]?.label.leaves();
      if (!own && state.dims(output)![place] === 1) made.add(output);
      else if (own?.length !== wanted.length || own.some((leaf, i) => leaf !== wanted[i])) return false;
    }
  }
  return true;
}

/** The node with a constant in a shape that several nodes read, where it cannot be edited: all of them must want that. */
function disputed(
  state: Propagation,
  edits: readonly (OpenEdit & { label: Label })[],
): NodeProto | undefined {
  const { model } = state;
  const { place } = edits[0];
  const source = 'node' in place ? model.node(place.node) : undefined;
  if (source?.opType !== 'Concat' && source?.opType !== 'Mul') return undefined;
  const labels = [...new Set(edits.map(({ label }) => label))];
  const byReader = groupBy(edits, ({ reader }) => reader);
  const wanted = (reader: string) => {
    const own = byReader.get(reader) ?? [];
    return String(own.map(({ label, extent }) => `${labels.indexOf(label)}: ${extent}`).sort());
  };
  const own = wanted(edits[0].reader);
  const agrees = ({ node, index }: Use) =>
    handedOn(node, index) !== undefined ||
    (isIndifferent(state, node, index) && !(place.kind === 'infer' && node.opType === 'Equal')) ||
    ((index > 0 || node.opType === 'ConstantOfShape') && wanted(node.name) === own);
  const values = new Set(source.output.slice(0, 1)); // grows with what is made of them
  for (const value of values) {
    const uses = model.uses(value);
    if (model.isOutput(value) || !uses.every(agrees)) return source;
    for (const { node, index } of uses) {
      const output = handedOn(node, index);
      if (output !== undefined) values.add(output);
    }
  }
  return undefined;
}

const rootsOf = ({ labels }: Propagation) => [...new Set(labels.flatMap((label) => label.leaves()))];

/**
 * The first sum of channels that a layer reads and of what it, or one behind it, makes to be added to them: without one, sums
 * are of layers side by side, or of what an unrolled recurrence adds up in a step. What multiplies others, as the weights of an
 * attention over branches or a gate, is no summand of its own.
 */
function shortcutOf(state: Propagation, label: Label, carriers: readonly Carrier[]): NodeProto | undefined {
  const { model } = state;
  const sums = new Set(label.sums);
  const readers = new Set(label.consumers.flatMap(({ map }) => (map.isRecurrent ? [] : [map.node])));
  const made = new Set(label.producers.map(({ output }) => output));
  const carried = new Set(carriers.map(({ value }) => value));
  const behind = new Set<string>(); // values behind a reader
  const fed = new Set<string>(); // those of the channels that layers behind a reader make
  const before = new Set<string>(); // values that a reader was given, and what these are made of
  const carriedBy = (node: NodeProto) => node.input.filter((value) => carried.has(value));
  const goesRound = (summand: string) => {
    for (let value = summand; ; ) {
      if (before.has(value)) return true;
      const producer = model.producer(value);
      const [from, ...more] = producer ? carriedBy(producer) : [];
      if (from === undefined || more.length > 0) return false;
      state.patience.spend();
      value = from;
    }
  };
  /** As the difference of an old state and a new one, which a gate multiplies. */
  const isFactor = ({ output: [sum] }: NodeProto) => {
    const isGate = ({ node }: Use) => !state.model.operator(node)?.sum && carriedBy(node).length > 1;
    const uses = [...model.uses(sum)];
    for (const { node } of uses) if (node.opType === 'Cast') uses.push(...model.uses(node.output[0]));
    return uses.some(isGate) && uses.every((use) => use.node.opType === 'Cast' || isGate(use));
  };
  for (const node of sums.size > 0 ? model.nodes : []) {
    if (readers.has(node.name)) {
      const open = [node.input[0]];
      for (let value = open.pop(); value !== undefined; value = open.pop()) {
        if (before.has(value)) continue;
        state.patience.spend();
        before.add(value);
        const producer = model.producer(value);
        if (producer) open.push(...reads(producer));
      }
    }
    const isBehind = readers.has(node.name) || (behind.size > 0 && reads(node).some((it) => behind.has(it)));
    if (isBehind) {
      state.patience.spend();
      const own = carriedBy(node);
      const isRound = own.some((value) => fed.has(value) && own.some((it) => it !== value && goesRound(it)));
      if (sums.has(node) && isRound && !isFactor(node)) return node;
      const isFed = own.length > 0 && own.every((value) => fed.has(value));
      for (const output of node.output) {
        behind.add(output);
        if (made.has(output) || isFed) fed.add(output);
      }
    }
    sums.delete(node);
    if (sums.size === 0) return undefined;
  }
  return undefined;
}

function structureOf(
  state: Propagation,
  label: Label,
  carriers: readonly Carrier[],
  place: (node: string) => number,
  residual: boolean,
): Structure {
  const { model } = state;
  const byPlace = (a: { node: string }, b: { node: string }) => place(a.node) - place(b.node);
  const producers = label.producers.sort(byPlace);
  const consumers = [
    ...readersOf(model, label, place),
    // These read what is made of the channels, and have no rows of theirs.
    ...mixedBy(state, label)
      .flatMap((mixed) => readersOf(model, mixed, place))
      .map((reader) => ({ ...reader, groupSize: 0, blocks: [] })),
  ].sort(byPlace);
  const slices = label.slices.map(({ extent, ...slice }) => ({ ...slice, block: extent / label.groups }));
  const values = carriers.map(({ extent, ...value }) => ({ ...value, block: extent / label.groups }));
  const norms = label.norms.map(({ extent, ...norm }) => ({ ...norm, block: extent / label.groups }));
  const edits = editsOf(label);
  const blocks = [...slices, ...norms, ...consumers.flatMap((reader) => reader.blocks)];
  const units = [...blocks.map(({ block }) => block), ...edits.map(({ unit }) => unit)];
  if (!units.every(Number.isInteger)) label.pin('numbers in the graph contradict each other'); // of a malformed file
  const shortcut = shortcutOf(state, label, carriers);
  const features = turnedFeatures(state, label, {
    groups: label.groups,
    producers,
    consumers,
    slices,
    norms,
  });
  if (typeof features === 'string') label.pin(features);
  const reason = reasonOf(label, consumers, residual ? undefined : shortcut);
  return {
    name: producers[0].node,
    layer: (consumers.find(({ isRecurrent }) => !isRecurrent) ?? consumers[0])?.node ?? '',
    kind: label.isHead ? 'head' : 'channel',
    groups: label.groups,
    groupSize: consumers[0]?.groupSize ?? 1,
    prunable: reason === undefined,
    ...(reason !== undefined && { reason }),
    isResidual: shortcut !== undefined,
    producers,
    consumers,
    values,
    slices,
    edits,
    norms,
    ...(typeof features === 'object' && { features }),
  };
}

/** Each layer once, wherever it is in the graph and however often the channels lie side by side in its input. */
function readersOf(model: Graph, { consumers, groups }: Label, place: (node: string) => number): Reader[] {
  const inOrder = [...consumers].sort((a, b) => place(a.map.node) - place(b.map.node));
  return [...groupBy(inOrder, ({ map }) => sharedKey(model, map)).values()].map((list) => {
    const byNode = [...groupBy(list, ({ map }) => map.node).values()];
    const [map] = sharing(
      model,
      byNode.map(([{ map }]) => map),
    );
    // Those of other nodes are the same.
    const blocks = byNode[0]
      .map(({ map: _, extent, ...range }) => ({ ...range, block: extent / groups }))
      .sort((a, b) => a.offset - b.offset);
    return { ...map, groupSize: sum(blocks.map(({ block }) => block)), blocks };
  });
}

/** One edit for each place: what its first reader needs is what all of them do. */
function editsOf({ edits, groups }: Label): Edit[] {
  return [...atPlaces(edits).values()].map((list) => {
    const [{ place, reader }] = list;
    if (place.kind === 'infer') return { ...place, unit: 0 };
    const parts = list.filter((edit) => edit.reader === reader); // it may count several parts of the label
    return { ...place, unit: sum(parts.map(({ extent }) => extent / groups)) };
  });
}

const atPlaces = <T extends OpenEdit>(edits: readonly T[]) =>
  groupBy(edits, ({ place }) => JSON.stringify(place));

/** @param shortcut  where there is one, it keeps the channels whole */
function reasonOf(
  label: Label,
  consumers: readonly Reader[],
  shortcut: NodeProto | undefined,
): string | undefined {
  const reasons = new Set(label.pins);
  if (shortcut) {
    // what users know it by goes first
    const residual = `residual stream: tied across ${label.producers.length} producers by ${called(shortcut)}`;
    return [residual, ...reasons].slice(0, 2).join('; ');
  }
  const [first, ...more] = reasons;
  if (first !== undefined) return more.length > 0 ? `${first} (and ${more.length} more)` : first;
  if (consumers.every(({ isRecurrent }) => isRecurrent)) return 'no layer reads it';
  if (label.groups < 2) return 'it has a single channel';
  return undefined;
}
