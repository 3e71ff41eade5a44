import { expect, test } from 'vitest';
import { InputError } from '../../src/errors.ts';
import { type Manifest, openRun } from '../../src/pipeline/store/manifest.ts';
import { memoryStore } from '../../src/pipeline/store/store.ts';

const manifest: Manifest = {
  model: { name: 'a.onnx', hash: 'a1a1a1a1a1' },
  data: { name: 'calib', hash: 'c1c1c1c1c1' },
  version: '0.1.0',
};
const held = async () => {
  const store = memoryStore();
  await openRun(store, manifest);
  await store.write('a', Uint8Array.of(1));
  return store;
};

test('a run goes on under its manifest, whatever its parts are called now', async () => {
  const store = await held();
  const before = await store.read('manifest.json');
  await openRun(store, manifest);
  await openRun(store, { ...manifest, model: { ...manifest.model, name: 'moved.onnx' } });
  expect(await store.read('manifest.json')).toEqual(before);
});

test.each<[Partial<Manifest>, string]>([
  [{ model: { name: 'b.onnx', hash: 'b2' } }, 'holds a run of model "a.onnx", not of "b.onnx"'],
  [
    { model: { name: 'a.onnx', hash: 'b2b2b2b2b2' } },
    'holds a run of model "a.onnx" (a1a1a1a1), not of "a.onnx" (b2b2b2b2)',
  ],
  [{ data: { name: 'other', hash: 'd2' } }, 'holds a run of calibration data "calib", not of "other"'],
  [{ version: '0.2.0' }, 'holds a run of osscar "0.1.0", not of "0.2.0"'],
])('a run of something else is refused: %o', async (other, message) => {
  const error = await openRun(await held(), { ...manifest, ...other }).catch((it) => it);
  expect(error).toBeInstanceOf(InputError);
  expect(error.message).toBe(`work folder "memory": ${message}; give another \`work\` folder`);
});

test('a store that is no run’s is refused, and one whose manifest is damaged', async () => {
  const store = memoryStore();
  await store.write('thesis.txt', Uint8Array.of(1));
  await expect(openRun(store, manifest)).rejects.toThrow('"memory": is not empty, and holds no run; give');
  for (const text of ['', '{"model"', '[]']) {
    await store.write('manifest.json', new TextEncoder().encode(text));
    await expect(openRun(store, manifest)).rejects.toThrow(
      'work folder "memory": its manifest.json is damaged; give another `work` folder',
    );
  }
  await store.write('manifest.json', new TextEncoder().encode('{"model":null}'));
  await expect(openRun(store, manifest)).rejects.toThrow('holds a run of model "?", not of "a.onnx"');
});
