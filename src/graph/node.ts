// Reading and changing the attributes of a node. Attribute messages are replaced, never changed in place.

import { create } from '@bufbuild/protobuf';
import {
  type AttributeProto,
  AttributeProto_AttributeType,
  AttributeProtoSchema,
  type GraphProto,
  type NodeProto,
} from './onnx_pb.ts';
import { toSafe } from './tensor.ts';

/** Attributes that are references to a function's parameters carry no value and count as absent. */
export function attribute(node: NodeProto, name: string): AttributeProto | undefined {
  return node.attribute.find((a) => a.name === name);
}

export function attributeInt(node: NodeProto, name: string, otherwise: number): number {
  const found = attribute(node, name);
  return found ? toSafe(found.i) : otherwise;
}

export function attributeInts(node: NodeProto, name: string): number[] | undefined {
  return attribute(node, name)?.ints.map(toSafe);
}

export function attributeFloat(node: NodeProto, name: string, otherwise: number): number {
  return attribute(node, name)?.f ?? otherwise;
}

export function attributeString(node: NodeProto, name: string, otherwise: string): string {
  const found = attribute(node, name);
  return found ? new TextDecoder().decode(found.s) : otherwise;
}

export function setAttributeInt(node: NodeProto, name: string, value: number): void {
  removeAttribute(node, name);
  node.attribute.push(
    create(AttributeProtoSchema, { name, i: BigInt(value), type: AttributeProto_AttributeType.INT }),
  );
}

export function setAttributeInts(node: NodeProto, name: string, values: readonly number[]): void {
  removeAttribute(node, name);
  const ints = values.map(BigInt);
  node.attribute.push(create(AttributeProtoSchema, { name, ints, type: AttributeProto_AttributeType.INTS }));
}

export function removeAttribute(node: NodeProto, name: string): void {
  node.attribute = node.attribute.filter((a) => a.name !== name);
}

/** True for the operators of the ONNX standard itself. */
export function isStandard(node: NodeProto): boolean {
  return node.domain === '' || node.domain === 'ai.onnx';
}

/** The graphs inside a node: branches of If, bodies of Loop and Scan. */
export function subgraphs(node: NodeProto): GraphProto[] {
  return node.attribute.flatMap((a) => (a.g ? [a.g, ...a.graphs] : a.graphs));
}

/** Values of enclosing graphs that the graphs inside a node read. */
export function captured(node: NodeProto): string[] {
  const names = new Set<string>();
  for (const graph of subgraphs(node)) {
    const inner = new Set<string>();
    for (const input of graph.input) inner.add(input.name);
    for (const tensor of graph.initializer) inner.add(tensor.name);
    for (const tensor of graph.sparseInitializer) inner.add(tensor.values?.name ?? '');
    for (const child of graph.node) {
      for (const name of reads(child)) if (!inner.has(name)) names.add(name);
      for (const name of child.output) inner.add(name);
    }
    for (const output of graph.output) if (!inner.has(output.name)) names.add(output.name);
  }
  return [...names];
}

/** Every value that a node needs: its inputs that are present, and what its inner graphs capture. */
export function reads(node: NodeProto): string[] {
  const inputs = node.input.filter((name) => name !== '');
  return node.attribute.some((a) => a.g || a.graphs.length > 0) ? [...inputs, ...captured(node)] : inputs;
}
