import { expect, test } from 'vitest';
import * as errors from '../../src/errors.ts';
import { packError, unpackError } from '../../src/pool/errors.ts';
import { DIST } from './built.ts';

const samples = [
  new errors.ShapeError('a shape'),
  new errors.NotPositiveDefiniteError('a pivot', 3, { value: -2 }),
  new errors.OutOfMemoryError('too much', 5e9),
  new errors.InputError('an option'),
  new errors.FormatError('a file'),
  new errors.UnsupportedModelError('a node', { node: 'conv1', op: 'Conv' }),
  new errors.TimeLimitError('too long', 60),
  new errors.WorkerLostError('gone', 'inverse', { attempts: 2 }),
];

test('every class of error there is crosses the border between threads', () => {
  const classes = Object.values(errors).filter((value) => value !== errors.OsscarError);
  expect(new Set(samples.map((error) => error.constructor))).toEqual(new Set(classes));
});

test('every class is called by its name, also where a minifier has called it otherwise', async () => {
  expect(samples.map(({ name }) => name)).toEqual(samples.map((error) => error.constructor.name));
  expect(new errors.OsscarError('ERR_OSSCAR_NEW', 'new').name).toBe('OsscarError');
  const minified: typeof errors = await import(new URL('browser/layer.js', DIST).href);
  expect(new minified.OutOfMemoryError('too much', 5e9)).toMatchObject({ name: 'OutOfMemoryError' });
  expect(minified.OutOfMemoryError.name).not.toBe('OutOfMemoryError');
});

test.each(samples)('$name keeps its class, code, fields and stack', (error) => {
  const crossed = unpackError(structuredClone(packError(error)));
  expect(crossed).toBeInstanceOf(error.constructor);
  expect(crossed).toBeInstanceOf(errors.OsscarError);
  expect({ ...crossed }).toEqual({ ...error });
  expect(crossed.message).toBe(error.message);
  expect(crossed.name).toBe(error.name);
  expect(crossed.stack).toBe(error.stack);
  expect(String(crossed)).toBe(String(error));
});

test('the base of all errors crosses it too', () => {
  const crossed = unpackError(packError(new errors.OsscarError('ERR_OSSCAR_NEW', 'new')));
  expect(crossed.constructor).toBe(errors.OsscarError);
  expect(crossed).toMatchObject({ code: 'ERR_OSSCAR_NEW', message: 'new' });
});
