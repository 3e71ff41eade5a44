import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import { openEngine, whatIsWrong } from '../../src/engine/onnxruntime.ts';
import { FormatError, InputError } from '../../src/errors.ts';
import { readModel } from '../../src/graph/index.ts';
import { decodeImage } from '../../src/pipeline/index.ts';
import { osscar, osscarJson, refused, temporaryFolder } from '../cli/osscar.ts';
import { edited } from '../pipeline/edit.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { looping, small, withDims, withNames } from './models.ts';

const folder = temporaryFolder();
function file(name: string, content: Uint8Array | string): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

describe.concurrent('dimensions of an input', () => {
  test('that are negative are open', async () => {
    const batch = file('batch.onnx', await withDims([-1, 1, 28, 28]));
    expect((await osscarJson('inspect', batch)).structures).toHaveLength(3);
    const image = file('image.onnx', await withDims([1, 1, -1, -1]));
    await refused(['inspect', image], /input "\w+" has open dimensions \[1, \?, \?\]; give the image size/);
    expect((await osscarJson('inspect', image, '--size', '28')).structures).toHaveLength(3);
  });

  test('that are huge are refused before anything is allocated', async () => {
    const side = 2 ** 31 - 1;
    const path = file('huge.onnx', await withDims([1, 1, side, side]));
    await refused(
      ['inspect', path],
      /^osscar: huge\.onnx: input "\w+" \[1, 1, \d+, \d+\] has \d+ values, more than/,
    );
    const open = file('open.onnx', await withDims([1, 1, 'h', 'w']));
    await refused(['inspect', open, '--size', '65535'], /open\.onnx: .*has 4294836225 values, more than/);
  });
});

test('a value that is put beside itself until no memory holds it is refused before anything is run', async () => {
  const b = new OnnxBuilder();
  let last = b.conv(b.input([4, 2, 2]), 4, 1);
  for (let i = 0; i < 40; i++) last = b.node('Concat', [last, last], { axis: 2 });
  const path = file('doubled.onnx', b.output(b.globalAveragePool(last)).build());
  await refused(
    ['inspect', path],
    /^osscar: doubled\.onnx: "concat\w+" \[1, 4, \d+, 2\] has 2147483648 values, more than the 1073741824 /,
  );
});

describe.concurrent('a loop without an end', () => {
  test.each([
    ['of 2⁶² turns', 2n ** 62n],
    ['of a condition that stays', undefined],
  ])('is stopped after the time that it may take: %s', async (name, turns) => {
    const path = file(`loop ${turns}.onnx`, await looping(turns));
    await refused(
      ['inspect', path, '--timeout', '1'],
      /\.onnx: (loading|running) the model took longer than 1 s \(--timeout\)$/m,
    );
    expect(name).toBeTruthy();
  });

  test('of few turns runs', async () => {
    const path = file('short.onnx', await looping(3n));
    expect((await osscarJson('inspect', path)).structures).toEqual([]);
  });
});

describe.concurrent('names of nodes that would steer a terminal', () => {
  const names = (i: number) => `\x1b]0;owned\x07\x1b[2J\nosscar: all fine ${i}\u202e\x9b31m`;
  const ACTIVE = /(?!\n)[\p{Cc}\u202e]/u;

  test('are escaped on standard output, each on its own line', async () => {
    const path = file('names.onnx', await withNames(names));
    const { stdout, stderr, code } = await osscar('inspect', path, '--threads', '1');
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).not.toMatch(ACTIVE);
    expect(stdout).not.toMatch(/^osscar: all fine/m);
    expect(stdout).toContain('\\u001b]0;owned\\u0007\\u001b[2J\\u000aosscar: all fine');
  });

  test('are whole in JSON, and escaped there too', async () => {
    const path = file('json.onnx', await withNames(names));
    const { stdout } = await osscar('inspect', path, '--threads', '1', '--json');
    expect(stdout).not.toMatch(ACTIVE);
    expect(JSON.parse(stdout).structures.map(({ name }: { name: string }) => name)).toContain(names(0));
  });

  test('are escaped in errors', async () => {
    const b = new OnnxBuilder();
    b.output(b.node('Bogus\x1b[31m\nosscar: all fine', [b.input([1, 28, 28])]));
    const { stderr, code } = await osscar('inspect', file('error.onnx', b.build()), '--threads', '1');
    expect(code).toBe(2);
    expect(stderr).toMatch(/^osscar: error\.onnx: [^\n]*Bogus\\u001b\[31m[^\n]*\n$/);
    expect(stderr).not.toMatch(ACTIVE);
  });
});

test.each([
  [
    "Can't create a session. ERROR_CODE: 6, ERROR_MESSAGE: [ShapeInferenceError] Attribute pads has incorrect size\n\nat x",
    '[ShapeInferenceError] Attribute pads has incorrect size',
  ],
  [
    "Can't create a session. ERROR_CODE: 1, ERROR_MESSAGE: /mnt/s/onnxruntime/core/providers/cpu/nn/lrn.h:22 onnxruntime::LRN<float>::LRN(const OpKernelInfo &) [T = float] size_ > 0 was false. ",
    'size_ > 0 was false. ',
  ],
  [
    'failed to call OrtRun(). ERROR_CODE: 1, ERROR_MESSAGE: Non-zero status code returned while running Pad node. Status Message: /mnt/s/onnxruntime/core/framework/tensor.cc:83 virtual OrtValue *onnxruntime::OpKernelContext::OutputMLValue(int, const TensorShape &) const too large',
    'Non-zero status code returned while running Pad node. Status Message: too large',
  ],
  [
    "Can't create a session. ERROR_CODE: 1, ERROR_MESSAGE: /mnt/s/onnxruntime/core/providers/common.h:81 AutoPadType onnxruntime::StringToAutoPadType(const std::string &) false was false. Unknown AutoPadType String",
    'Unknown AutoPadType String',
  ],
  ['narrowing_error', 'narrowing_error'],
  [
    'failed to call OrtRun(). ERROR_CODE: 2, ERROR_MESSAGE: : 2 : INVALID_ARGUMENT : Tensor shape is too large',
    'Tensor shape is too large',
  ],
])('of what onnxruntime says, only what is wrong is told: %j', (message, wrong) => {
  expect(whatIsWrong(message)).toBe(wrong);
});

describe('where onnxruntime cannot start, that is said, and not that it cannot load the model:', () => {
  const policy =
    'CompileError: WebAssembly.instantiate(): violates the following Content Security policy directive';
  const magic =
    'CompileError: WebAssembly.instantiate(): expected magic word 00 61 73 6d, found 3c 21 64 6f @+0';
  test.each([
    [
      'RangeError: WebAssembly.Memory(): could not allocate memory',
      /^there is no address space for a WebAssembly memory \(see ulimit -v\)$/,
    ],
    [
      policy,
      /^CompileError: .* directive; in a page .*\.wasm lies beside .* policy allows 'wasm-unsafe-eval'$/,
    ],
    [
      `RuntimeError: Aborted(${magic}). Build with -sASSERTIONS for more info., [cpu] Error: previous call to 'initWasm()' failed.`,
      /^CompileError: [^;]*@\+0; in a page its ort-wasm-simd-threaded\.wasm lies beside the script/,
    ],
  ])('%s', async (message, why) => {
    const create = () => Promise.reject(new Error(`no available backend found. ERR: [wasm] ${message}`));
    const runtime = { InferenceSession: { create }, Tensor: class {}, env: { wasm: {}, versions: {} } };
    const engine = await openEngine({ runtime });
    const error: Error = await engine.load(new Uint8Array(1)).catch((thrown) => thrown);
    const [before, said] = error.message.split('cannot start: ');
    expect(before).toBe('engine: onnxruntime ');
    expect(said).toMatch(why);
  });
});

test('a name without end does not hide what is said of it', () => {
  const { message } = new FormatError(`tensor "w": cannot read "${'x'.repeat(1e5)}": no such file`);
  expect(message).toMatch(/^tensor "w": cannot read "x{99}…x{98}": no such file$/);
});

test.each([2n ** 40n, -5n, 0n])('version %s of the standard operators is none', async (version) => {
  const bytes = await edited(small(), ({ proto }) => {
    proto.opsetImport[0].version = version;
  });
  const error: Error = await readModel(bytes).catch((thrown) => thrown);
  expect(error).toBeInstanceOf(FormatError);
  expect(error.message).toContain(`operators (opset) is ${version}, and there is none such`);
});

test('where a page has not got the script of onnxruntime, that is said', async () => {
  vi.doMock('#onnxruntime', () => Promise.reject(new TypeError('Failed to fetch')));
  const error = await openEngine().catch((thrown) => thrown);
  vi.doUnmock('#onnxruntime');
  expect(error).toBeInstanceOf(InputError);
  expect(error.message).toMatch(
    /^engine: onnxruntime cannot be loaded: .*; in a page all scripts of the package lie beside each other$/s,
  );
});

test('where it has not got another one, it is said what for', async () => {
  vi.doMock('../../src/pipeline/data/images/codecs/jpeg.ts', () =>
    Promise.reject(new TypeError('Failed to fetch')),
  );
  const photo = Uint8Array.of(0xff, 0xd8, 0xff, 0xe0);
  const error = await decodeImage(photo, 'photo.jpg').catch((thrown) => thrown);
  vi.doUnmock('../../src/pipeline/data/images/codecs/jpeg.ts');
  expect(error).toBeInstanceOf(InputError);
  expect(error.message).toMatch(
    /^what decodes JPEG cannot be loaded: .*; in a page all scripts of the package lie beside each other$/s,
  );
});

describe('a file of another format is called what it is', () => {
  const at = (position: number, magic: string) =>
    Buffer.concat([Buffer.alloc(position), Buffer.from(magic, 'latin1')]);
  test.each([
    [
      'PyTorch .pt',
      'PK\x03\x04rest',
      /it is a zip archive; unpack it, or .* a \.pt file of PyTorch, export it with torch\.onnx/,
    ],
    ['older .pt', '\x80\x02}q\x00.', /it is a Python pickle, .*torch\.onnx\.export/],
    ['TensorFlow Lite', at(4, 'TFL3'), /it is a TensorFlow Lite model; convert it/],
    ['GGUF', 'GGUF\x03\0\0\0', /it is a GGUF file; give the Hugging Face folder/],
    ['safetensors', at(8, '{"a":{}}'), /it is a safetensors file; give the folder/],
    ['Keras', '\x89HDF\r\n', /it is an HDF5 file/],
    ['Git LFS', 'version https://git-lfs.github.com/spec/v1\n', /git lfs pull/],
    ['a web page', '<!doctype html>', /a web page/],
  ])('%s', async (_, content, message) => {
    const bytes = typeof content === 'string' ? Buffer.from(content, 'latin1') : content;
    const error = await readModel(new Uint8Array(bytes), { name: 'm' }).catch((it) => it);
    expect(error).toBeInstanceOf(FormatError);
    expect(error.message).toMatch(message);
    expect(error.message).not.toMatch(/illegal tag|DataView|premature/);
  });

  test('a quantized model, with what to do', async () => {
    const b = new OnnxBuilder();
    const x = b.input([1, 28, 28]);
    const weights = b.weight([4, 3], 1);
    const y = b.node('MatMulNBits', [x, weights], { K: 4, N: 4, bits: 4, block_size: 16 });
    await refused(
      ['inspect', file('quantized.onnx', b.output(y).build())],
      /quantized\.onnx: .*quantized weights \("\S+"\): prune the float model, then quantise the result/,
    );
  });
});

describe('a damaged file', () => {
  test('says which field is broken, at every length that it is cut to', async () => {
    const bytes = small();
    let named = 0;
    for (let length = 1; length < bytes.length; length += 7) {
      const error = await readModel(bytes.subarray(0, length), { name: 'm' }).then(
        () => undefined,
        (it) => it,
      );
      if (!error) continue;
      expect(error).toBeInstanceOf(FormatError);
      expect(error.message).not.toMatch(/DataView|premature|Invalid|undefined/);
      if (/^m: no readable ONNX model: [\w.[\] ]+ is (cut short|damaged) \(byte \d+\)$/.test(error.message))
        named++;
    }
    expect(named).toBeGreaterThan(bytes.length / 14);
    const cut = await readModel(bytes.subarray(0, -3), { name: 'm' }).catch((it) => it);
    expect(cut.message).toMatch(/^m: no readable ONNX model: (graph|opset_import)/);
  });

  test('is read from the fixtures whole', async () => {
    const path = join(import.meta.dirname, '../fixtures/fashion-mobilenet.onnx');
    expect((await readModel(new Uint8Array(readFileSync(path)))).nodes.length).toBeGreaterThan(10);
  });
});
