// What servers may answer with, and how what they send is ended.

import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { InputError } from '../../src/errors.ts';
import { readModel, writeModel } from '../../src/graph/index.ts';
import { limits } from '../../src/limits.ts';
import { evaluate, inspect, latency, plan, prune } from '../../src/run/index.ts';
import { placeOf } from '../../src/run/source.ts';
import { small } from '../hostile/models.ts';

const file = Buffer.alloc(1000, 'osscar');
const external = writeModel(await readModel(small()), { externalThreshold: 0, externalName: 'endless' });

const answers: Readonly<Record<string, (response: ServerResponse) => void>> = {
  '/whole': (response) => void response.end(file),
  '/%zz': (response) => void response.end(file),
  '/packed': (response) => void response.setHeader('content-encoding', 'gzip').end(gzipSync(file)),
  '/broken': (response) => void response.setHeader('content-encoding', 'gzip').end(file),
  '/short': (response) => {
    response.setHeader('content-length', file.length + 1).write(file);
    setTimeout(() => response.destroy(), 10);
  },
  '/disk': (response) => void response.writeHead(302, { location: 'file:///etc/passwd' }).end(),
  '/endless': (response) => {
    response.write(file);
    server.emit('endless', response);
  },
  '/model': (response) => void response.end(external.model),
};

const server = createServer(({ url }, response) => answers[url!](response));
beforeAll(() => once(server.listen(0, '127.0.0.1'), 'listening'));
afterAll(() => void server.close());
const at = (path: string) => `http://127.0.0.1:${(server.address() as AddressInfo).port}${path}`;

test.each(['/whole', '/packed', '/%zz'])('reads %s', async (path) => {
  const place = await placeOf(at(path), 'model.onnx');
  expect(Buffer.from(await place.read()).equals(file)).toBe(true);
});

test.each(['/broken', '/short', '/disk'])('says in one line that %s cannot be fetched', async (path) => {
  const place = placeOf(at(path), 'model.onnx');
  await expect(place).rejects.toThrow(/^"http:[^"]+": cannot be fetched \(.+\)$/);
  await expect(place).rejects.toThrow(InputError);
});

test.each(['/whole', '/packed', '/endless'])('takes no more of %s than the limit', async (path) => {
  const { downloadBytes } = limits;
  limits.downloadBytes = file.length - 1;
  try {
    await expect(placeOf(at(path), 'model.onnx')).rejects.toThrow(
      'cannot be fetched (more than 999 bytes, limits.downloadBytes)',
    );
  } finally {
    limits.downloadBytes = downloadBytes;
  }
});

test('ends what comes too slowly', async () => {
  const { downloadSeconds } = limits;
  limits.downloadSeconds = 0;
  try {
    await expect(placeOf(at('/endless'), 'model.onnx')).rejects.toThrow(
      'cannot be fetched (less than 1 MiB in 0 s, limits.downloadSeconds)',
    );
  } finally {
    limits.downloadSeconds = downloadSeconds;
  }
});

describe('a signal ends what would be fetched for ever:', () => {
  const model = () => new Map([['a.onnx', small()]]);
  const sources: Readonly<Record<string, (source: string, signal: AbortSignal) => Promise<unknown>>> = {
    'a model, by inspect': (source, signal) => inspect(source, { signal }),
    'by prune': (source, signal) => prune(source, { signal, keep: 0.5, calibration: source }),
    'by plan': (source, signal) => plan(source, { signal, keep: 0.5 }),
    'by latency': (source, signal) => latency(source, { signal }),
    'by evaluate': (source, signal) => evaluate(source, model(), { signal }),
    'calibration data': (source, signal) => prune(model(), { signal, keep: 0.5, calibration: source }),
    'one of several files': (source, signal) => evaluate(model(), [new URL(source)], { signal }),
    'external data': (_, signal) => inspect(at('/model'), { signal }),
  };

  test.each(Object.keys(sources))('%s', async (name) => {
    const controller = new AbortController();
    const asked = once(server, 'endless');
    const call = sources[name](at('/endless'), controller.signal);
    call.catch(() => {});
    const [response] = await asked;
    controller.abort(new Error('enough'));
    await expect(call).rejects.toThrow(/^enough$/);
    if (!response.closed) await once(response, 'close');
  });
});
