// The built library, called as its readers do: with paths, and with all else that can stand for a model and its data.

import { getEventListeners } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { CheckpointWriter, memoryOutput, planSafetensors } from '../../src/checkpoint/index.ts';
import { readModel, writeModel } from '../../src/graph/index.ts';
import type * as Library from '../../src/index.ts';
import { spectrogramOf } from '../../src/pipeline/data/audio/spectrogram.ts';
import { encoderWeights, WAV2VEC2, WHISPER } from '../architectures/encoders.ts';
import { npy } from '../cli/models.ts';
import { fixture, MOBILENET } from '../cli/osscar.ts';
import { small } from '../hostile/models.ts';
import { withInputDims } from '../pipeline/edit.ts';
import { calibrationImages } from '../runtimes/images.ts';
import { run } from '../support/children.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { wav } from '../support/wav.ts';

const { evaluate, inspect, latency, openFolder, plan, prune }: typeof Library = await import(
  new URL('../../dist/node.js', import.meta.url).href
);

const folder = mkdtempSync(join(tmpdir(), 'osscar-run-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const images = calibrationImages(fixture('')).map(({ name }) => fixture(name));
const preprocessing = { mean: [0.286], std: [0.353] };
const settings = {
  ...preprocessing,
  ...({ keep: 0.5, target: 'self', correct: false } as const),
  ...({ threads: 1, simd: 'baseline' } as const),
};
const bytesOf = async (files: ReadonlyMap<string, Blob>, name: string) =>
  Buffer.from(await files.get(name)!.arrayBuffer());

/** A model whose weights are to be found somewhere else. */
async function externalTo(location: string): Promise<Buffer<ArrayBuffer>> {
  const externalName = 'x'.repeat(location.length);
  const { model } = writeModel(await readModel(small()), { externalThreshold: 0, externalName });
  return Buffer.from(Buffer.from(model).toString('latin1').replaceAll(externalName, location), 'latin1');
}

describe('prune', () => {
  let expected: Buffer;
  beforeAll(async () => {
    const picked = images.map((path) => [basename(path), readFileSync(path)] as const);
    const { files } = await prune(MOBILENET, { ...settings, calibration: picked });
    expected = await bytesOf(files, basename(MOBILENET));
  });

  test('writes what it is told to, which remembers its preprocessing', async () => {
    const output = join(folder, 'small.onnx');
    const calibration = fixture('calib');
    const { report, files } = await prune(MOBILENET, { ...settings, calibration, samples: 40, output });
    expect(files.size).toBe(0);
    expect(report.model.path).toBe(output);
    expect(report.settings).toMatchObject({ model: MOBILENET, calibration, samples: 40, mean: [0.286] });
    expect(report.parameters.after).toBeLessThan(0.4 * report.parameters.before);
    const { name, value, samples } = await evaluate(output, fixture('test'), { threads: 1, samples: 50 });
    expect([name, samples]).toEqual(['accuracy', 50]);
    expect(value).toBeGreaterThan(0.5);
    await expect(prune(MOBILENET, { ...settings, calibration, output })).rejects.toThrow(
      'overwrite it (`overwrite: true`)',
    );
  });

  test('makes no text of bytes that it is given, to see what an output would replace', async () => {
    const bytes = Object.assign(Uint8Array.of(0), {
      toString() {
        throw new Error('of a gigabyte four would be made');
      },
    });
    const output = join(folder, 'none.onnx');
    await expect(prune(MOBILENET, { ...settings, calibration: bytes, output })).rejects.toThrow(
      /"calibration/,
    );
  });

  const model = readFileSync(MOBILENET);
  const named = images.map((path) => [basename(path), readFileSync(path)] as const);
  test.each<[string, Library.Source, Library.Source, string]>([
    ['bytes', model, named, 'model.onnx'],
    [
      'files',
      new File([model], 'a.onnx'),
      named.map(([name, content]) => new File([content], name)),
      'a.onnx',
    ],
    ['several files, one of them the model', [['a.onnx', model]], named, 'a.onnx'],
    ['a folder that was picked', directory('net', [['a.onnx', model]]), directory('img', named), 'a.onnx'],
  ])('finds the same in %s', async (_, source, calibration, name) => {
    const { files } = await prune(source, { ...settings, calibration });
    expect([...files.keys()]).toEqual([name]);
    expect((await bytesOf(files, name)).equals(expected)).toBe(true);
  });

  test('goes on from one method to the next, as one run', async () => {
    const told: { overall: number; stage: string }[] = [];
    const compare = ['magnitude', 'ziplm'] as const;
    const options = { ...settings, calibration: fixture('calib'), samples: 40, compare };
    await prune(MOBILENET, { ...options, onProgress: ({ overall, stage }) => told.push({ overall, stage }) });
    const begins = told.filter(({ stage }, i) => stage === 'measuring' && told[i - 1]?.stage !== 'measuring');
    expect(begins.map(({ overall }) => Math.round(100 * overall))).toEqual([0, 33, 67]);
    const overall = told.map((it) => it.overall);
    expect(overall).toEqual([...overall].sort((a, b) => a - b));
  });

  test('does what it was told at first, whoever changes the object meanwhile', async () => {
    const told: Library.PruneSettings = { ...settings, calibration: named };
    const onKind = () => Object.assign(told, { samples: 20, keep: 0.25 });
    const { report, files } = await prune(model, Object.assign(told, { onKind }));
    expect(report.settings).toMatchObject({ keep: 0.5 });
    expect(report.settings).not.toHaveProperty('samples');
    expect((await bytesOf(files, 'model.onnx')).equals(expected)).toBe(true);
  });

  test('says that workers could not be started, and goes on without them', async () => {
    const threads = process.getBuiltinModule('node:worker_threads');
    const { Worker } = threads;
    onTestFinished(() => void Object.assign(threads, { Worker }));
    const Refused = class extends Worker {
      constructor(script: URL, options: object) {
        if (script.pathname.endsWith('/worker.js')) throw new Error('refused by policy');
        super(script, options);
      }
    };
    Object.assign(threads, { Worker: Refused });
    const notes: string[] = [];
    const { report, files } = await prune(model, {
      ...settings,
      ...{ calibration: named, threads: 2, onNote: (text: string) => notes.push(text) },
    });
    expect(notes).toContain(
      'warning: no workers could be started, and layers are solved on one thread: refused by policy',
    );
    expect(report.threads).toBe(1);
    expect((await bytesOf(files, 'model.onnx')).equals(expected)).toBe(true);
  });

  test.each(['onKind', 'onNote'])('is ended by what an async %s is rejected with', async (name) => {
    const unhandled: unknown[] = [];
    const take = (reason: unknown) => unhandled.push(reason);
    process.on('unhandledRejection', take);
    const on = () => Promise.reject(new Error('full'));
    const few = { ...settings, calibration: named.slice(0, 4), force: true };
    await expect(prune(model, { ...few, [name]: on })).rejects.toThrow('full');
    await new Promise((resolve) => setImmediate(resolve));
    process.off('unhandledRejection', take);
    expect(unhandled).toEqual([]);
  });

  test('finds the same behind addresses', async () => {
    const served = new Map(named.map(([name, content]) => [`/${name}`, content]));
    served.set('/net/a.onnx', model);
    const asked: string[] = [];
    const server = createServer(({ url }, response) => {
      asked.push(url!);
      const content = served.get(url!);
      response.writeHead(content ? 200 : 404).end(content);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    const at = (path: string) => `http://127.0.0.1:${port}${path}`;
    try {
      const calibration = named.map(([name]) => new URL(at(`/${name}`)));
      const { files } = await prune(at('/net/a.onnx'), { ...settings, calibration });
      expect((await bytesOf(files, 'a.onnx')).equals(expected)).toBe(true);
      await expect(inspect(at('/b.onnx'))).rejects.toThrow('/b.onnx": cannot be fetched (404');
      served.set('/net/stranger.onnx', await externalTo('%2e%2e/w.bin?'));
      await expect(inspect(at('/net/stranger.onnx'))).rejects.toThrow('404 Not Found');
      expect(asked.at(-1)).toBe('/net/%252e%252e/w.bin%3F');
    } finally {
      await new Promise((resolve) => server.close(resolve));
    }
  });

  test('takes labels from the folders of files that were picked together', async () => {
    const picked = images.slice(0, 20).map((path, i) => {
      const file = new File([readFileSync(path)], `${i}.png`);
      return Object.assign(file, { webkitRelativePath: `images/${path.split('/').at(-2)}/${i}.png` });
    });
    const { name, samples } = await evaluate(MOBILENET, picked, preprocessing);
    expect([name, samples]).toEqual(['accuracy', 20]);
  });

  test('fits to several views of each image, and refuses them where there are no images', async () => {
    const calibration = fixture('calib');
    const of = (augment: number) => prune(MOBILENET, { ...settings, calibration, samples: 20, augment });
    const { report, files } = await of(3);
    expect([report.calibration, report.samples]).toEqual([
      { path: calibration, samples: 60, seed: 0, augment: 3 },
      60,
    ]);
    const name = basename(MOBILENET);
    const once = await of(1);
    expect((await bytesOf(files, name)).equals(await bytesOf(once.files, name))).toBe(false);
    await expect(of(0)).rejects.toThrow('`augment`: expected a whole number from 1 to 1000, got 0');
    const ids = prune(fixture('opt-kjv'), {
      calibration: fixture('text/kjv-train.txt'),
      keep: 0.5,
      augment: 2,
    });
    await expect(ids).rejects.toThrow('`augment` is for calibration with a folder of images');
  });

  test('gives a folder back as its files', async () => {
    const { files, report } = await prune(fixture('opt-kjv'), {
      ...({ threads: 1, keep: 0.5, target: 'self', correct: false } as const),
      ...{ calibration: fixture('text/kjv-train.txt'), samples: 4, seqlen: 32 },
    });
    expect([...files.keys()]).toEqual(expect.arrayContaining(['config.json', 'model.safetensors']));
    expect(report.calibration).toMatchObject({ samples: 4, seqlen: 32, sampling: 'even' });
  });

  describe('of waveforms', () => {
    const how = { keep: 0.5, target: 'self', correct: false, threads: 1, simd: 'baseline' } as const;
    const COUNT = 12;
    /** As whole numbers of 16 bits. */
    const waves = (lengthOf: (i: number) => number) =>
      Array.from({ length: COUNT }, (_, i) =>
        Int16Array.from({ length: lengthOf(i) }, (_, t) => 9000 * Math.sin((i + 1) * t * t)),
      );
    const filesOf = (all: readonly Int16Array[]) =>
      all.map((it, i) => [`${i % 2 ? 'b' : 'a'}/${100 + i}.wav`, wav(it)] as const);
    const floats = (all: readonly Int16Array[]) =>
      Float32Array.from(
        all.flatMap((it) => [...it]),
        (x) => x / 32768,
      );

    const modelOf = async (prepared: object, config = WAV2VEC2) => {
      const output = memoryOutput();
      const weights = encoderWeights(config);
      const specs = Array.from(weights, ([name, { shape }]) => ({ name, shape, dtype: 'float32' as const }));
      const writer = new CheckpointWriter(output, planSafetensors(specs));
      for (const [name, { data }] of weights) await writer.write(name, data);
      await writer.writeFile('config.json', Buffer.from(JSON.stringify(config)));
      await writer.writeFile('preprocessor_config.json', Buffer.from(JSON.stringify(prepared)));
      await writer.finish();
      return [...output.files()];
    };

    test('takes those of the length that an array has', async () => {
      const model = await modelOf({ do_normalize: true, feature_size: 1 });
      const array = npy([COUNT, 90], floats(waves(() => 90)));
      const { report, files } = await prune(model, { ...how, calibration: [['waves.npy', array]] });
      expect(report.samples).toBe(COUNT);
      expect((await inspect([...files])).parameters).toBe(report.parameters.after);
    });

    test('takes audio files, each of its own length, as the same numbers by the name of the input', async () => {
      const model = await modelOf({ do_normalize: false, feature_size: 1, sampling_rate: 8000 });
      const all = waves((i) => 80 + i);
      const flat = all.map((it, i) => [`${100 + i}.wav`, wav(it, { rate: 8000 })] as const);
      const lines = all.map((it) => JSON.stringify({ input_values: [...floats([it])] }));
      const weightsOf = async (calibration: unknown) => {
        const { files } = await prune(model, { ...how, calibration: calibration as never });
        return bytesOf(files, 'model.safetensors');
      };
      const written = await weightsOf(new File([lines.join('\n')], 'waves.jsonl'));
      expect((await weightsOf(flat)).equals(written)).toBe(true);
      await expect(weightsOf([['a.wav', wav(all[0])]])).rejects.toThrow('16000 samples a second');
    });

    test('takes audio files for Whisper as spectrograms of these, padded to its window', async () => {
      // A window is of 18 frames.
      const spectrogram = { melBins: 5, fftSize: 400, hopLength: 160, seconds: 1 };
      const model = await modelOf(
        { feature_extractor_type: 'WhisperFeatureExtractor', feature_size: 5, chunk_length: 1 },
        WHISPER,
      );
      const all = waves((i) => 2000 + 60 * i);
      const made = spectrogramOf(spectrogram, 16000);
      const padded = (it: Int16Array) =>
        Float32Array.from({ length: 18 * 160 }, (_, i) => (it[i] ?? 0) / 32768);
      const array = npy([COUNT, 5, 18], Float32Array.from(all.flatMap((it) => [...made(padded(it))])));
      const weightsBy = async (calibration: unknown) => {
        const { files } = await prune(model, { ...how, calibration: calibration as never });
        return bytesOf(files, 'model.safetensors');
      };
      const written = await weightsBy([['x.npy', array]]);
      expect(
        (await weightsBy(all.map((it, i) => [`${100 + i}.wav`, wav(it)] as const))).equals(written),
      ).toBe(true);
    });

    test('takes audio files for an ONNX file, which remembers how they become waveforms', async () => {
      const b = new OnnxBuilder({ seed: 3 });
      const hidden = b.relu(b.conv(b.input([1, 64]), 12, 5, { dimensions: 1 }));
      const x = b.node('ReduceMean', [b.relu(b.conv(hidden, 8, 3, { dimensions: 1 }))], {
        axes: [2],
        keepdims: 0,
      });
      const model = new File([b.output(b.gemm(x, 2)).build() as Uint8Array<ArrayBuffer>], 'words.onnx');
      const all = waves(() => 64);
      const settings = { ...how, force: true, samplingRate: 16000 };
      const flat = all.map((it, i) => [`${100 + i}.wav`, wav(it)] as const);
      const { files } = await prune(model, { ...settings, calibration: flat });
      const array = npy([COUNT, 1, 64], floats(all));
      const arrays = await prune(model, { ...settings, calibration: [['x.npy', array]] });
      const smaller = await bytesOf(files, model.name);
      expect((await bytesOf(arrays.files, model.name)).equals(smaller)).toBe(true);
      expect(await evaluate(smaller, filesOf(all))).toMatchObject({ name: 'accuracy', samples: COUNT });
      const notes: string[] = [];
      await evaluate(model, filesOf(all), { normalize: true, onNote: (text) => notes.push(text) });
      expect(notes.join()).toContain(
        "chance is 0.500: are `samplingRate` (not given) and `normalize` (on) right, and the classes in the model's order",
      );
      const unlabeled =
        'x.npy": no labels; give an array of them as "labels" beside the inputs (numpy.savez)';
      await expect(evaluate(model, new File([array as never], 'x.npy'))).rejects.toThrow(unlabeled);
      const open = await withInputDims(new Uint8Array(await model.arrayBuffer()), ['n', 1, 't']);
      const songs = [['a/1.mp3', new Uint8Array(9)] as const, ['b/1.mp3', new Uint8Array(9)] as const];
      await expect(evaluate(open, songs)).rejects.toThrow('no WAV audio files in the folder, but 2 .mp3');
      await expect(evaluate(model, filesOf(all), { size: 32 })).rejects.toThrow('`size` 32: input');
      const slower = { ...settings, samplingRate: 8000 };
      const { files: others } = await prune(model, { ...slower, calibration: [['x.npy', array]] });
      const remembering = await bytesOf(others, model.name);
      await expect(evaluate(remembering, filesOf(all))).rejects.toThrow('and the model takes 8000');
    });
  });

  test.each<[string, Record<string, unknown>, string]>([
    ['no data', { calibration: undefined }, 'calibration samples are missing: `calibration`'],
    ['a dense model that guesses', { mean: 0, std: 1 }, 'with `mean: 0.286` `std: 0.353`'],
    ['means that are texts', { mean: '0.5' }, '`mean`: expected one number'],
    ['a name that is none', { kep: 0.5 }, '`kep`: there is no option of that name'],
    ['samples that are text', { samples: '12' }, '`samples`: expected a whole number from 1 on, got "12"'],
    ['threads without end', { threads: 1e9 }, '`threads`: expected a whole number from 1 to 128'],
    ['a switch that is text', { correct: 'false' }, '`correct`: expected true or false, got "false"'],
    ['nothing where a signal belongs', { signal: null }, '`signal`: expected an AbortSignal, got null'],
    ['a method that is not in a list', { compare: 'magnitude' }, '`compare`: expected a list of'],
    ['a ratio that is text', { keep: '0.5' }, '`keep` must be a number in (0, 1]'],
    ['ratios that are text', { keep: { all: '0.5' } }, '`keep` must be in (0, 1]'],
    ['a kind of ratio that is none', { keep: { al: 0.5 } }, '`keep.al`: expected all, heads, channels or'],
    ['an engine that is none', { engine: {} }, '`engine`: expected one of web, node, or an engine'],
    [
      'data that are none',
      { calibration: 5 },
      'expected a path, an address, a file, its bytes (Uint8Array) or several files as the calibration, got 5',
    ],
    [
      'files that are none',
      { calibration: [['a.png', 5]] },
      'or pairs of a name and bytes as the calibration, got ["a.png", 5]',
    ],
    ['paths', { calibration: ['a.png'] }, 'got "a.png"; of paths, give that of the folder'],
    ['a queue whose run lies nowhere', { queue: 'redis://a' }, 'where the workers find the run is missing'],
    [
      'two files of one name',
      {
        calibration: [
          ['a.png', new Uint8Array()],
          ['a.png', new Uint8Array()],
        ],
      },
      '"a.png": two files are called that',
    ],
    ['two budgets', { keep: undefined, macs: 0.5, params: 0.5 }, 'expected one budget'],
  ])('says of options what is wrong: %s', async (_, wrong, message) => {
    const options = { ...settings, calibration: fixture('calib'), samples: 40, ...wrong };
    await expect(prune(MOBILENET, options as Library.PruneSettings)).rejects.toThrow(message);
  });
});

test('inspect, plan and latency say what the commands say', async () => {
  const { file, kinds, parameters } = await inspect(MOBILENET, { threads: 1 });
  expect(file!.structures.filter(({ prunable }) => prunable)).toHaveLength(6);
  expect(kinds.channel.parameters).toBeLessThan(parameters);
  expect((await inspect(fixture('opt-kjv'))).folder).toMatchObject({ architecture: 'opt', blocks: 4 });
  expect(await plan(fixture('opt-kjv'), { keep: 0.5, threads: 1 })).toMatchObject({ fits: true });
  await expect(latency(fixture('opt-kjv'))).rejects.toThrow('measured of ONNX files, not of folders');
});

describe('plan', () => {
  const options = { keep: 0.5, target: 'self', threads: 1 } as const;
  const few = images.slice(0, 9).map((path) => [basename(path), readFileSync(path)] as const);

  test('counts the samples of a file that are given, each as often as it is seen', async () => {
    const planned = await plan(MOBILENET, { ...options, calibration: few });
    expect(planned.flops).toEqual((await plan(MOBILENET, { ...options, samples: 9 })).flops);
    const settings = { ...options, calibration: fixture('calib'), samples: 40, augment: 3 };
    expect((await plan(MOBILENET, settings)).flops).toEqual(
      (await plan(MOBILENET, { ...options, samples: 120 })).flops,
    );
  });

  test('knows from them how large what a model leaves open is', async () => {
    const bytes = await withInputDims(readFileSync(MOBILENET), ['n', 1, 'h', 'w']);
    await expect(plan(bytes, options)).rejects.toThrow('give the image size');
    expect(await plan(bytes, { ...options, calibration: few })).toMatchObject({ fits: true });
  });

  test('refuses samples that a run would refuse', async () => {
    const calibration = fixture('no-such-folder');
    await expect(plan(MOBILENET, { ...options, calibration })).rejects.toThrow('no-such-folder');
    const array = npy([2, 1, 28, 28], new Float32Array(2 * 784));
    const twice = plan(MOBILENET, { ...options, calibration: [['images.npy', array]], augment: 2 });
    await expect(twice).rejects.toThrow('`augment` is for calibration with a folder of images');
  });
});

test('a folder is opened by what it is', async () => {
  const opened = await openFolder(fixture('opt-kjv'));
  expect(await opened.list()).toContain('config.json');
  await opened.close();
  const inside = directory('1_Pooling', [['config.json', new Uint8Array(3)]]);
  const picked = await openFolder(directory('net', [['config.json', new Uint8Array(2)]], [inside]));
  expect(await picked.size('config.json')).toBe(2);
  expect(await picked.list('1_Pooling')).toEqual(['config.json']);
  await expect(openFolder(new File([], 'a.txt'))).rejects.toThrow('"a.txt": not a folder');
  expect(await picked.size('1_Pooling/config.json')).toBe(3);
});

test('paths are for where there is a disk', async () => {
  const page = `
    const { prune } = await import(${JSON.stringify(new URL('../../dist/index.js', import.meta.url).href)});
    await prune('model.onnx', { calibration: 'photos/', keep: 0.5 }).catch(({ message }) => console.log(message));`;
  const { stdout } = await run(process.execPath, ['--input-type=module', '-e', page]);
  expect(stdout).toContain('"model.onnx": models and data cannot be a path here; give a File, an address');
});

/** As browsers hand folders out. */
function directory(
  name: string,
  files: Iterable<readonly [string, Uint8Array]>,
  folders: readonly Library.DirectoryHandle[] = [],
): Library.DirectoryHandle {
  const entries = Array.from(files, ([file, content]) => {
    const handle = {
      kind: 'file',
      getFile: async () => new File([content as Uint8Array<ArrayBuffer>], file),
    };
    return [file, handle] as const;
  });
  return {
    kind: 'directory',
    name,
    async *entries() {
      yield* entries;
      for (const folder of folders) yield [folder.name, folder] as const;
    },
  };
}

test('a signal that several calls share keeps no listeners of them', async () => {
  const { signal } = new AbortController();
  const text = new File(['In the beginning God created the heaven and the earth.'.repeat(9)], 'a.txt');
  await evaluate(fixture('opt-kjv'), text, { threads: 2, seqlen: 32, signal });
  await inspect(MOBILENET, { signal });
  expect(getEventListeners(signal, 'abort')).toEqual([]);
});

test('what is no model or no options says so, and is no fault of ours', async () => {
  const wrong = async (...args: unknown[]) => (inspect as (...args: unknown[]) => Promise<unknown>)(...args);
  for (const model of [undefined, null, 5, true, {}])
    await expect(wrong(model)).rejects.toThrow('its bytes (Uint8Array) or several files as the model, got ');
  for (const options of [null, 5, 'x', []])
    await expect(wrong(MOBILENET, options)).rejects.toThrow('expected an object of options, got');
});

describe('places', () => {
  const buffer = () => new Uint8Array(readFileSync(MOBILENET)).buffer;

  test('bytes are given as fetch and File give them', async () => {
    const { name, parameters } = await inspect(buffer());
    expect([name, parameters]).toEqual(['model.onnx', 36160]);
    const within = await inspect([['b.onnx', buffer()]]);
    expect(within.parameters).toBe(36160);
  });

  test('files on the disk have addresses too, of which there may be several', async () => {
    expect((await inspect(pathToFileURL(MOBILENET))).parameters).toBe(36160);
    const urls = images.slice(0, 4).map((path) => pathToFileURL(path));
    const { samples } = await evaluate(MOBILENET, urls, {
      ...preprocessing,
      labels: new TextEncoder().encode(urls.map((url) => `${basename(url.pathname)},0`).join('\n')),
    });
    expect(samples).toBe(4);
  });

  function transferred(): ArrayBuffer {
    const bytes = buffer();
    structuredClone(bytes, { transfer: [bytes] });
    return bytes;
  }

  test.each<readonly [source: unknown, message: string]>([
    [[], 'the list of files for the model is empty'],
    [new Map(), 'the list of files for the model is empty'],
    [new Response(), 'got an object of Response; give what its `blob()` gives'],
    [
      new Response('a').body,
      'got an object of ReadableStream; read it first: await new Response(stream).blob()',
    ],
    [Promise.resolve(new Blob()), 'got a promise; await it'],
    [[new URL('ftp://a/b.onnx')], 'nothing is read from ftp:// addresses'],
    [new URL('blob:nodedata:1'), 'nothing is read from blob: addresses; give its bytes, or the blob'],
    [new Float32Array(4), 'as the model, got an object of Float32Array; numbers are given as a file: .npy'],
    [new SharedArrayBuffer(4), 'an object of SharedArrayBuffer; give a Uint8Array of it'],
    [[new Float32Array(4)], 'pairs of a name and bytes as the model, got an object of Float32Array'],
    [
      [['snapshots/1a2b/config.json', new Blob(['{}'])]],
      '"model.onnx": is a cache of downloads; give the version: "model.onnx/snapshots/1a2b"',
    ],
    [{ files: new Map() }, 'got an object; give its `files`'],
    [transferred(), '"model.onnx": is empty, as its buffer was transferred to another thread; give a copy'],
    [[['a.onnx', transferred()]], '"a.onnx": is empty, as its buffer was transferred'],
  ])('%o is no model', async (source, message) => {
    await expect(inspect(source as never)).rejects.toThrow(message);
  });

  test('what a file holds is no path, and not all of it is repeated', async () => {
    await expect(inspect(`data:;base64,${'A'.repeat(1000)}`)).rejects.toThrow(
      /^"data:;base64,A{87}…": nothing is read from data: addresses; give its bytes/,
    );
    await expect(inspect('In the beginning '.repeat(5000))).rejects.toThrow(
      /^"[^"]{100}…": expected a path as the model; text itself is given in a file: new File\(\[text\]/,
    );
  });
});
