import { readFileSync } from 'node:fs';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FormatError, OsscarError } from '../../src/errors.ts';
import { describeValue, Model, readModel, toFloat32, writeModel } from '../../src/graph/index.ts';
import {
  AttributeProtoSchema,
  type GraphProto,
  GraphProtoSchema,
  AttributeProto_AttributeType as Kind,
  type ModelProto,
  ModelProtoSchema,
  NodeProtoSchema,
  SparseTensorProtoSchema,
  StringStringEntryProtoSchema,
  TensorProtoSchema,
  ValueInfoProtoSchema,
} from '../../src/graph/onnx_pb.ts';
import { toIntegers } from '../../src/graph/tensor.ts';
import { encodeTensor } from '../../src/graph/wire.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { difference, randomValue, run, runModel } from './running.ts';

/** Not `toEqual`, which takes its time over a megabyte. */
const same = (a: Uint8Array, b: Uint8Array) => a.length === b.length && a.every((byte, i) => byte === b[i]);
const fixture = (name: string) => readFileSync(new URL(`../fixtures/${name}.onnx`, import.meta.url));

function small(): Uint8Array {
  const b = new OnnxBuilder();
  const x = b.relu(b.conv(b.input([2, 4, 4]), 4, 3));
  return b.output(b.gemm(b.flatten(b.globalAveragePool(x)), 3)).build();
}

/** The small model with something changed. */
function edited(change: (graph: GraphProto, model: ModelProto) => void): Uint8Array {
  const proto = fromBinary(ModelProtoSchema, small());
  change(proto.graph!, proto);
  return toBinary(ModelProtoSchema, proto);
}

const node = (opType: string, input: string[], output: string[]) =>
  create(NodeProtoSchema, { opType, input, output });

describe('readModel', () => {
  it('reads what writeModel writes, byte for byte the second time', async () => {
    for (const bytes of [small(), fixture('fashion-resnet-bn'), fixture('fashion-mobilenet')]) {
      const once = writeModel(await readModel(bytes)).model;
      expect(same(writeModel(await readModel(once)).model, once)).toBe(true);
    }
  });

  it('writes fields around the weights as protobuf does: strings, comments, unknown ones', async () => {
    const unknown = () => [{ no: 1023, wireType: 2, data: Uint8Array.of(2, 7, 9) }];
    const bytes = edited((graph, model) => {
      const [first] = graph.initializer;
      Object.assign(first, { docString: 'behind the data', $unknown: unknown() });
      graph.initializer.push(
        create(TensorProtoSchema, { name: 's', dataType: 8, dims: [1n], stringData: [Uint8Array.of(65)] }),
        create(TensorProtoSchema, { name: 'e', dataType: 1, dims: [0n] }),
      );
      Object.assign(graph, { docString: 'of the graph', $unknown: unknown() });
      Object.assign(model, { docString: 'of the model', $unknown: unknown() });
      model.metadataProps = [create(StringStringEntryProtoSchema, { key: 'k', value: 'v' })];
    });
    const model = await readModel(bytes);
    const proto = fromBinary(ModelProtoSchema, writeModel(model).model);
    expect(proto.graph!.initializer.map((tensor) => tensor.docString)).toContain('behind the data');
    proto.graph!.initializer = Array.from(model.tensors.values(), (tensor) => encodeTensor(tensor));
    expect(same(writeModel(model).model, toBinary(ModelProtoSchema, proto))).toBe(true);
  });

  it('gives sparse tensors their zeros', async () => {
    const bytes = edited((graph) => {
      for (const [i, dims] of [[3n], [3n, 2n]].entries()) {
        const indices = { dataType: 7, dims, int64Data: i ? [0n, 1n, 1n, 0n, 1n, 2n] : [1n, 3n, 5n] };
        const values = { name: `sparse ${i}`, dataType: 1, dims: [3n], floatData: [1, -2, 3] };
        const sparse = create(SparseTensorProtoSchema, { values, indices, dims: [2n, 3n] });
        graph.sparseInitializer.push(sparse);
        const value = { name: 'sparse_value', type: Kind.SPARSE_TENSOR, sparseTensor: sparse };
        const constant = { opType: 'Constant', output: [`constant ${i}`], attribute: [value] };
        graph.node.unshift(create(NodeProtoSchema, constant));
      }
    });
    const { tensors } = await readModel(bytes);
    for (const name of ['sparse 0', 'sparse 1', 'constant 0', 'constant 1']) {
      expect(tensors.get(name)!.dims).toEqual([2, 3]);
      expect([...toFloat32(tensors.get(name)!)]).toEqual([0, 1, 0, -2, 0, 3]);
    }
  });

  it('refuses a convolution whose kernel_shape is not that of its weights', async () => {
    const bytes = (ints: bigint[]) =>
      edited(({ node: [conv] }) => {
        conv.name = 'first';
        const others = conv.attribute.filter(({ name }) => name !== 'kernel_shape');
        conv.attribute = [
          ...others,
          create(AttributeProtoSchema, { name: 'kernel_shape', type: Kind.INTS, ints }),
        ];
      });
    await readModel(bytes([3n, 3n]));
    for (const ints of [[5n, 5n], [3n], [3n, 3n, 3n]])
      await expect(readModel(bytes(ints))).rejects.toThrow(
        `model: "first" has a kernel_shape of ${ints}, and its weights "`,
      );
  });

  it.each([
    ['a place beyond its end', [2n, 3n], [6n], 'the place 6 is outside [2,3]'],
    ['a place before it', [2n, 3n], [-1n], 'the place -1 is outside [2,3]'],
    ['more places than numbers', [2n, 3n], [1n, 2n], 'it has 1 numbers, and places [2] for them'],
    [
      'more zeros than there may be',
      [2n ** 20n, 2n ** 20n],
      [1n],
      '1099511627776 values, more than 268435456',
    ],
  ])('refuses a sparse tensor with %s', async (_, dims, int64Data, message) => {
    const bytes = edited((graph) => {
      const indices = { dataType: 7, dims: [BigInt(int64Data.length)], int64Data };
      const values = { name: 'sparse', dataType: 1, dims: [1n], floatData: [1] };
      graph.sparseInitializer = [create(SparseTensorProtoSchema, { values, indices, dims })];
    });
    await expect(readModel(bytes)).rejects.toThrow(message);
  });

  it('changes nothing that a model computes', async () => {
    for (const name of ['fashion-resnet', 'fashion-resnet-bn', 'fashion-mobilenet']) {
      const input = randomValue([2, 1, 28, 28]);
      const model = await readModel(fixture(name));
      expect(difference((await run(fixture(name), { input })).logits, await runModel(model, input))).toBe(0);
    }
  });

  it('takes nodes in any order and leaves a sorted list as it is', async () => {
    const names = async (change: (graph: GraphProto) => void) =>
      (await readModel(edited(change))).nodes.map(({ output }) => output[0]);
    const sorted = await names(() => {});
    expect(await names((graph) => graph.node.reverse())).toEqual(sorted);
    expect(await names((graph) => graph.node.push(...graph.node.splice(1, 2)))).toEqual(sorted);
  });

  it('sorts a long chain that comes the wrong way round', async () => {
    const model = await readModel(
      edited((graph) => {
        const end = graph.output[0].name;
        const chain = Array.from({ length: 20_000 }, (_, i) =>
          node('Relu', [i === 0 ? end : `r${i - 1}`], [`r${i}`]),
        );
        graph.node.unshift(...chain.reverse());
        graph.output[0].name = 'r19999';
      }),
    );
    expect(model.nodes.at(-1)!.output).toEqual(['r19999']);
  });

  it('leaves extents open that are declared as 0 or −1', async () => {
    const model = await readModel(
      edited((graph) => {
        const { value } = graph.input[0].type!;
        if (value.case !== 'tensorType') throw new Error('no tensor');
        value.value.shape!.dim[0].value = { case: 'dimValue', value: -1n };
        value.value.shape!.dim[2].value = { case: 'dimValue', value: 0n };
      }),
    );
    expect(describeValue(model.inputs[0])).toEqual({ name: 'input', type: 'float32', dims: [-1, 2, -1, 4] });
    const [output] = Object.values(await run(writeModel(model).model, { input: randomValue([3, 2, 5, 4]) }));
    expect(output.dims[0]).toBe(3);
  });

  it('keeps fields that it does not know', async () => {
    const extra = Uint8Array.of(0xfa, 0x3f, 2, 7, 9); // field 1023, two bytes
    const nested = edited((graph) => {
      graph.node[0].$unknown = [{ no: 1023, wireType: 2, data: Uint8Array.of(2, 7, 9) }];
      graph.initializer[0].$unknown = [{ no: 1023, wireType: 2, data: Uint8Array.of(2, 7, 9) }];
    });
    const bytes = new Uint8Array([...nested, ...extra]);
    const written = writeModel((await readModel(bytes)).clone()).model;
    const proto = fromBinary(ModelProtoSchema, written);
    for (const message of [proto, proto.graph!.node[0], proto.graph!.initializer[0]]) {
      expect(message.$unknown?.map(({ no, data }) => [no, ...data])).toEqual([[1023, 2, 7, 9]]);
    }
  });

  it('gives every node a unique name', async () => {
    const model = await readModel(
      edited((graph) => {
        for (const [i, n] of graph.node.entries()) n.name = i % 2 ? '' : 'same';
      }),
    );
    const names = model.nodes.map((n) => n.name);
    expect(new Set(names).size).toBe(names.length);
    expect(names[0]).toBe('same');
    expect(names).not.toContain('');
  });

  it('turns Constant nodes and Identity of constants into initialisers', async () => {
    const constant = (name: string, attribute: Parameters<typeof create<typeof AttributeProtoSchema>>[1]) =>
      create(NodeProtoSchema, {
        opType: 'Constant',
        output: [name],
        attribute: [create(AttributeProtoSchema, attribute)],
      });
    const model = await readModel(
      edited((graph) => {
        graph.node.unshift(
          constant('c1', { name: 'value_int', i: 5n, type: Kind.INT }),
          constant('c2', { name: 'value_floats', floats: [1, 2], type: Kind.FLOATS }),
          constant('c3', {
            name: 'value',
            type: Kind.TENSOR,
            t: create(TensorProtoSchema, { dims: [1n], dataType: 7, int64Data: [9n] }),
          }),
          node('Identity', ['c2'], ['c4']),
        );
        graph.node.push(node('Add', ['c4', 'c4'], ['sum']));
      }),
    );
    expect(toIntegers(model.tensors.get('c1')!)).toEqual([5]);
    expect([...toFloat32(model.tensors.get('c2')!)]).toEqual([1, 2]);
    expect(toIntegers(model.tensors.get('c3')!)).toEqual([9]);
    expect(model.nodes.map((n) => n.opType)).not.toContain('Identity');
    expect(model.nodes.at(-1)!.input).toEqual(['c2', 'c2']);
  });

  it('does not take initialisers for inputs, as older files have it', async () => {
    const bytes = edited((graph, proto) => {
      proto.irVersion = 3n;
      for (const { name } of graph.initializer) graph.input.push(create(ValueInfoProtoSchema, { name }));
    });
    const model = await readModel(bytes);
    expect(model.inputs.map((input) => input.name)).toEqual(['input']);
    const input = randomValue([2, 2, 4, 4]);
    expect(difference(await runModel(await readModel(small()), input), await runModel(model, input))).toBe(0);
  });

  it('keeps metadata and lets it be set', async () => {
    const model = await readModel(small());
    model.setMetadata('a', '1');
    model.setMetadata('b', '2');
    model.setMetadata('a', '3');
    const again = await readModel(writeModel(model).model);
    expect([again.metadata('a'), again.metadata('b'), again.metadata('c')]).toEqual(['3', '2', undefined]);
    expect(again.opset).toBe(17);
  });

  it('sees values that inner graphs capture', async () => {
    const inner = create(GraphProtoSchema, {
      name: 'inner',
      node: [node('Relu', ['input'], ['y'])],
      output: [create(ValueInfoProtoSchema, { name: 'y' })],
    });
    const model = await readModel(
      edited((graph) => {
        const branch = node('If', ['input'], ['z']);
        branch.attribute = [
          create(AttributeProtoSchema, { name: 'then_branch', g: inner, type: Kind.GRAPH }),
        ];
        graph.node.push(branch);
      }),
    );
    expect(model.uses('input').map(({ node: n, index }) => [n.opType, index])).toEqual([
      ['Conv', 0],
      ['If', 0],
      ['If', -1],
    ]);
  });

  const broken: Record<string, [Uint8Array, RegExp]> = {
    'an empty file': [new Uint8Array(), /^m: the file is empty$/],
    'a truncated file': [fixture('fashion-resnet').subarray(0, 5000), /^m: no readable ONNX model: /],
    'a PNG file': [Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10), /^m: no .*ONNX model/],
    text: [new TextEncoder().encode('{"format": "json"}'), /^m: no .*ONNX model/],
    'no graph': [
      edited((_, model) => {
        model.graph = undefined;
      }),
      /^m: no ONNX model: it has no graph$/,
    ],
    'no operator set': [
      edited((_, model) => {
        model.opsetImport = [];
      }),
      /^m: it names no version/,
    ],
    'an unknown element type': [
      edited((graph) => {
        graph.initializer[0].dataType = 99;
      }),
      /^m: tensor "w_0": unknown element type 99$/,
    ],
    'data that is too short': [
      edited((graph) => {
        graph.initializer[0].dims = [4n, 2n, 3n, 4n];
      }),
      /^m: tensor "w_0": expected 384 bytes for float32 \[4,2,3,4\], got 288$/,
    ],
    'typed data that is too long': [
      edited((graph) => {
        graph.initializer[0] = create(TensorProtoSchema, {
          name: 'w_0',
          dims: [1n],
          dataType: 1,
          floatData: [1, 2],
        });
      }),
      /^m: tensor "w_0": expected 4 bytes for float32 \[1\], got 8$/,
    ],
    'a negative dimension': [
      edited((graph) => {
        graph.initializer[0].dims = [-4n, 2n];
      }),
      /^m: tensor "w_0": negative dimension -4$/,
    ],
    'dimensions that overflow': [
      edited((graph) => {
        graph.initializer[0].dims = [2n ** 40n, 2n ** 40n];
      }),
      /^m: tensor "w_0": dimensions .* overflow$/,
    ],
    'two initialisers of one name': [
      edited((graph) => graph.initializer.push(graph.initializer[0])),
      /^m: two initialisers are called "w_0"$/,
    ],
    'a value that is computed twice': [
      edited((graph) => graph.node.push(node('Relu', ['input'], ['conv_2']))),
      /^m: node "Relu_5" defines "conv_2", which exists already$/,
    ],
    'an input that is computed': [
      edited((graph) => graph.node.push(node('Relu', ['input'], ['input']))),
      /^m: node "Relu_5" defines "input", which exists already$/,
    ],
    'a value that no object can have': [
      edited((graph) => graph.node.push(node('Relu', ['input'], ['__proto__']))),
      /^m: node "Relu_5" defines "__proto__", which is no name for a value here; rename it$/,
    ],
    'a value that nothing computes': [
      edited((graph) => {
        graph.node[1].input[0] = 'nowhere';
      }),
      /^m: node "relu_3" reads "nowhere", which nothing computes$/,
    ],
    'no weights': [
      edited((graph) => {
        graph.initializer = [];
      }),
      /^m: node "conv_2" reads "w_0", which nothing computes \(the file holds no weights; export it with them\)$/,
    ],
    'a cycle': [
      edited((graph) => {
        graph.node[0].input[0] = 'relu_3';
      }),
      /^m: the graph has a cycle: "relu_3" reads "conv_2" of "conv_2", which depends on it$/,
    ],
    'a name without end': [
      edited((graph) => {
        graph.node[0].name = 'n'.repeat(5000);
      }),
      /^m: the name "n{40}…" has 5000 characters, more than 4096 \(limits\.onnxName\)$/,
    ],
    'an output that nothing computes': [
      edited((graph) => {
        graph.output[0].name = 'nowhere';
      }),
      /^m: no node computes the output "nowhere"$/,
    ],
    'a node without an operator': [
      edited((graph) => {
        graph.node[0].opType = '';
      }),
      /^m: node "conv_2" has no operator$/,
    ],
    'graphs inside graphs without end': [
      toBinary(ModelProtoSchema, nestedModel(120)),
      /^m: no readable ONNX model: messages lie more than 100 deep within each other \(limits\.onnxDepth\)$/,
    ],
  };
  for (const [what, [bytes, message]] of Object.entries(broken)) {
    it(`says what is wrong with ${what}`, async () => {
      const error = await readModel(bytes, { name: 'm' }).catch((e: unknown) => e);
      expect(error).toBeInstanceOf(FormatError);
      expect((error as Error).message).toMatch(message);
    });
  }

  it('gives a model or an error of this library for any damage', async () => {
    const bytes = small();
    const damage = fc.record({
      flips: fc.array(fc.tuple(fc.nat(bytes.length - 1), fc.nat(255)), { maxLength: 8 }),
      length: fc.oneof(fc.constant(bytes.length), fc.nat(bytes.length)),
    });
    const property = fc.asyncProperty(damage, async ({ flips, length }) => {
      const copy = Uint8Array.from(bytes);
      for (const [at, value] of flips) copy[at] = value;
      const result = await readModel(copy.subarray(0, length)).catch((error: unknown) => error);
      if (result instanceof Model) writeModel(result);
      else expect(result).toBeInstanceOf(OsscarError);
    });
    await fc.assert(property, { numRuns: 2000, seed: 1 });
  });
});

describe('external data', () => {
  it('goes to one aligned file and comes back', async () => {
    const model = await readModel(fixture('fashion-resnet'));
    const written = writeModel(model, { externalThreshold: 0, externalName: 'weights/fashion.bin' });
    expect(written.externalName).toBe('weights/fashion.bin');
    const file = new Uint8Array(await new Blob(written.external as BlobPart[]).arrayBuffer());
    expect(written.model.length).toBeLessThan(60_000);
    const offsets: number[] = [];
    const again = await readModel(written.model, {
      external: async (location, offset, length) => {
        expect(location).toBe('weights/fashion.bin');
        offsets.push(offset);
        return file.subarray(offset, offset + length);
      },
    });
    expect(offsets.every((offset) => offset % 4096 === 0)).toBe(true);
    expect(same(writeModel(again).model, writeModel(model).model)).toBe(true);
  });

  const external = (entries: Record<string, string>, ...more: (readonly [string, string])[]) =>
    edited((graph) => {
      const tensor = graph.initializer[0];
      tensor.rawData = new Uint8Array();
      tensor.dataLocation = 1;
      tensor.externalData = [...Object.entries(entries), ...more].map(([key, value]) => ({
        $typeName: 'onnx.StringStringEntryProto',
        key,
        value,
      }));
    });
  const zeros = (_location: string, _offset: number, length: number) => new Uint8Array(length);

  it('never asks for a file outside the folder of the model', async () => {
    for (const location of [
      '',
      '/etc/passwd',
      '../x',
      'a/../../x',
      'C:\\x',
      'c:x',
      '..\\x',
      'http://x/y',
      'a//b',
      'a\0b',
    ]) {
      const read = readModel(external({ location }), { name: 'm', external: () => expect.fail(location) });
      await expect(read).rejects.toThrow(/is not inside the model's folder/);
    }
    const model = await readModel(fixture('fashion-resnet'));
    expect(() => writeModel(model, { externalName: '../x' })).toThrow(/externalName/);
  });

  it('shares bytes as tied tensors do, and no more: a small file would take any amount of memory', async () => {
    const shared = (places: readonly (readonly [location: string, offset: number])[]) => {
      const bytes = edited((graph) => {
        const [first] = graph.initializer;
        first.rawData = new Uint8Array();
        first.dataLocation = 1;
        const tied = places.map(([location, offset], i) => ({
          ...first,
          name: i === 0 ? first.name : `tied ${i}`,
          externalData: Object.entries({ location, offset: `${offset}` }).map(([key, value]) => ({
            $typeName: 'onnx.StringStringEntryProto' as const,
            key,
            value,
          })),
        }));
        graph.initializer.splice(0, 1, ...tied);
      });
      return readModel(bytes, { name: 'm', external: zeros });
    };
    const four = Array(4).fill(['w.bin', 0] as const);
    await expect(shared(four)).resolves.toBeDefined();
    await expect(shared([...four, ['w.bin', 288], ['x.bin', 0]])).resolves.toBeDefined();
    await expect(shared([...four, ['w.bin', 0]])).rejects.toThrow(
      new FormatError(
        'm: its tensors take 1440 bytes of 288 in the files beside it: they share more than tied ones do',
      ),
    );
    await expect(shared([...four, ['./w.bin', 1], ['././w.bin', 2]])).rejects.toThrow(
      'take 1728 bytes of 290',
    );
  });

  it('checks ranges before it reads and lengths after', async () => {
    const location = 'w.bin';
    const options = { name: 'm', external: zeros };
    const valid = await readModel(external({ location, offset: '4096' }), options);
    expect(valid.tensors.get('w_0')!.bytes.length).toBe(288);
    const ranges: Record<string, string>[] = [
      { offset: '-1' },
      { offset: 'x' },
      { offset: '1e300' },
      { offset: '1e1' },
      { offset: '0x10' },
      { offset: '' },
      { length: '100' },
      { length: '1e12' },
    ];
    for (const entries of ranges) {
      await expect(readModel(external({ location, ...entries }), options)).rejects.toThrow(
        /external range (?!.*undefined).* bytes, and whole numbers$/,
      );
    }
    const twice = external({ location }, ['location', 'x.bin']);
    await expect(readModel(twice, options)).rejects.toThrow('an entry of its external data comes twice');
    await expect(readModel(external({ location }), { name: 'm' })).rejects.toThrow(
      /"w.bin", which was not given/,
    );
    const short = { name: 'm', external: () => new Uint8Array(3) };
    await expect(readModel(external({ location }), short)).rejects.toThrow(
      '"w.bin" gave 3 bytes at 0, expected 288',
    );
    const failing = {
      name: 'm',
      external: () => {
        throw new Error('no such file');
      },
    };
    await expect(readModel(external({ location }), failing)).rejects.toThrow(
      'm: tensor "w_0": cannot read "w.bin": no such file',
    );
  });
});

function nestedModel(depth: number): ModelProto {
  let graph = create(GraphProtoSchema, { name: 'g' });
  for (let i = 0; i < depth; i++) {
    const attribute = create(AttributeProtoSchema, { name: 'g', g: graph, type: Kind.GRAPH });
    graph = create(GraphProtoSchema, {
      node: [create(NodeProtoSchema, { opType: 'If', attribute: [attribute] })],
    });
  }
  return create(ModelProtoSchema, { irVersion: 8n, graph, opsetImport: [{ version: 17n }] });
}
