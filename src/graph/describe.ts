// What a graph declares of its inputs and outputs.

import { typeFromCode } from './dtype.ts';
import type { ValueInfoProto } from './onnx_pb.ts';

/** What a graph says of one of its inputs or outputs: −1 for an extent that is open, else its name. */
export interface DescribedValue {
  readonly name: string;
  /** As onnxruntime names it; `non-tensor` for sequences and the like. */
  readonly type: string;
  readonly dims: readonly (number | string)[];
}

export function describeValue({ name, type }: ValueInfoProto): DescribedValue {
  if (type?.value.case !== 'tensorType') return { name, type: 'non-tensor', dims: [] };
  const { elemType, shape } = type.value.value;
  const dims = (shape?.dim ?? []).map(({ value }) => {
    if (value.case === 'dimValue') return Number(value.value);
    return value.case === 'dimParam' && value.value !== '' ? value.value : -1;
  });
  return { name, type: typeFromCode(elemType) ?? 'undefined', dims };
}
