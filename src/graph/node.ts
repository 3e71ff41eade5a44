// Tools for messages, mostly for nodes and their attributes, which are replaced, never changed in place.

import { create, type Message } from '@bufbuild/protobuf';
import { InputError } from '../errors.ts';
import {
  type AttributeProto,
  AttributeProto_AttributeType,
  AttributeProtoSchema,
  type GraphProto,
  type NodeProto,
} from './onnx_pb.ts';
import { toSafe } from './tensor.ts';

/** An integer, integers, a text, `{ float }` or `{ graph }`: the kinds of attribute that the operators here take. */
export type BuildAttribute = number | readonly number[] | string | { float: number } | { graph: GraphProto };

/** A shallow copy that keeps unset fields unset: lists and inner messages are shared with the original. */
export function copyMessage<T extends Message>(message: T): T {
  // Defaults of proto2 fields live on the prototype, what was set is own.
  return Object.assign(Object.create(Object.getPrototypeOf(message)), message);
}

/** @throws {InputError} where a rule, or what rules are made of, is handed something else */
export function expectNode(node: NodeProto): void {
  if (!node?.attribute?.find) throw new InputError('expected a node of a model, as rules are given');
}

/** Attributes that are references to a function's parameters carry no value and count as absent. */
export function attribute(node: NodeProto, name: string): AttributeProto | undefined {
  expectNode(node);
  return node.attribute.find((a) => a.name === name);
}

/**
 * An integer, or `otherwise` where there is none.
 *
 * @example
 * const axis = attributeInt(node, 'axis', -1);
 */
export function attributeInt(node: NodeProto, name: string, otherwise: number): number {
  const found = attribute(node, name);
  return found ? toSafe(found.i) : otherwise;
}

/**
 * A list of integers.
 *
 * @example
 * const strides = attributeInts(node, 'strides') ?? [1, 1];
 */
export function attributeInts(node: NodeProto, name: string): number[] | undefined {
  return attribute(node, name)?.ints.map(toSafe);
}

/** The axes of its input that a Transpose gives, in their order; by default the other way round. */
export function transposeOrder(node: NodeProto, rank: number): number[] {
  return attributeInts(node, 'perm') ?? [...Array(rank).keys()].reverse();
}

/**
 * A number, or `otherwise` where there is none.
 *
 * @example
 * const alpha = attributeFloat(node, 'alpha', 0.01);
 */
export function attributeFloat(node: NodeProto, name: string, otherwise: number): number {
  return attribute(node, name)?.f ?? otherwise;
}

/**
 * A text, or `otherwise` where there is none.
 *
 * @example
 * const mode = attributeString(node, 'mode', 'nearest');
 */
export function attributeString(node: NodeProto, name: string, otherwise: string): string {
  const found = attribute(node, name);
  return found ? new TextDecoder().decode(found.s) : otherwise;
}

export function attributeOf(name: string, value: BuildAttribute): AttributeProto {
  const { INT, INTS, FLOAT, STRING, GRAPH } = AttributeProto_AttributeType;
  if (typeof value === 'number') return create(AttributeProtoSchema, { name, i: BigInt(value), type: INT });
  if (typeof value === 'string')
    return create(AttributeProtoSchema, { name, s: new TextEncoder().encode(value), type: STRING });
  if ('graph' in value) return create(AttributeProtoSchema, { name, g: value.graph, type: GRAPH });
  if ('float' in value) return create(AttributeProtoSchema, { name, f: value.float, type: FLOAT });
  return create(AttributeProtoSchema, { name, ints: value.map(BigInt), type: INTS });
}

export function setAttribute(node: NodeProto, name: string, value: BuildAttribute): void {
  removeAttribute(node, name);
  node.attribute.push(attributeOf(name, value));
}

export function removeAttribute(node: NodeProto, name: string): void {
  node.attribute = node.attribute.filter((a) => a.name !== name);
}

/** The domain of onnxruntime's own operators: what exporters and optimisers make of the standard's. */
export const MICROSOFT = 'com.microsoft';

/** True for the operators of the ONNX standard itself. */
export function isStandard(node: NodeProto): boolean {
  return node.domain === '' || node.domain === 'ai.onnx';
}

/** True for operators that give other numbers every time. */
export function isRandom({ opType }: NodeProto): boolean {
  return /^(Random|Bernoulli|Multinomial)/.test(opType);
}

/** The graphs inside a node: branches of If, bodies of Loop and Scan. */
export function subgraphs(node: NodeProto): GraphProto[] {
  return node.attribute.flatMap((a) => (a.g ? [a.g, ...a.graphs] : a.graphs));
}

/** Values that a graph has itself: its inputs, constants and what its nodes make. */
export function definedBy(graph: GraphProto): string[] {
  return [
    ...[...graph.input, ...graph.initializer].map(({ name }) => name),
    ...graph.sparseInitializer.map(({ values }) => values?.name ?? ''),
    ...graph.node.flatMap(({ output }) => output),
  ];
}

/** Values of enclosing graphs that the graphs inside a node read. */
export function captured(node: NodeProto): string[] {
  const names = new Set<string>();
  for (const graph of subgraphs(node)) {
    const inner = new Set(definedBy(graph)); // in any order: engines sort these too
    const read = [...graph.node.flatMap(reads), ...graph.output.map(({ name }) => name)];
    for (const name of read) if (!inner.has(name)) names.add(name);
  }
  return [...names];
}

/** Every value that a node needs: its inputs that are present, and what its inner graphs capture. */
export function reads(node: NodeProto): string[] {
  return [...node.input.filter((name) => name !== ''), ...captured(node)];
}
