import { readFileSync } from 'node:fs';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import type { Engine, FloatTensor } from '../../src/engine/index.ts';
import { readModel } from '../../src/graph/index.ts';
import { openKernels } from '../../src/kernel/index.ts';
import { measureRates, openModel } from '../../src/pipeline/index.ts';
import { describe as describeConfig } from '../support/describe.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { OPT_30B_CONFIG } from '../support/opt-30b.ts';
import { engine } from './fixtures.ts';

/** What a run takes, and a look at the clock. */
const RUN_MS = 40;
const LOOK_MS = 10;
let now = 0;

/** Runs nothing, and says what it was given. */
const clockwork = () => {
  const loaded: { model: Uint8Array; feeds: Readonly<Record<string, FloatTensor>> }[] = [];
  const { load }: Engine = {
    name: 'clockwork',
    load: async (model, external) => {
      const { inputs, outputs, release } = await engine.load(model, external);
      await release();
      const run = async (feeds: Readonly<Record<string, FloatTensor>>) => {
        loaded.push({ model, feeds });
        now += RUN_MS;
        return {};
      };
      return { inputs, outputs, run, release: async () => {} };
    },
  };
  return { loaded, engine: { name: 'clockwork', load } };
};

beforeEach(() => {
  vi.spyOn(performance, 'now').mockImplementation(() => {
    now += LOOK_MS;
    return now;
  });
  return () => vi.restoreAllMocks();
});

const GFLOPS = (macs: number) => (2 * macs) / ((RUN_MS + LOOK_MS) * 1e6);

describe('the engine is timed', () => {
  test('on a batch of the model that is to be pruned', async () => {
    const b = new OnnxBuilder({ seed: 5 });
    const x = b.relu(b.conv(b.input([3, 12, 12]), 16, 3));
    const bytes = b.output(b.gemm(b.flatten(b.globalAveragePool(x)), 10)).build();
    const opened = await openModel(bytes, { engine });
    const { loaded, engine: clock } = clockwork();
    const rates = await measureRates(clock, await openKernels(), opened);
    const [{ model, feeds }] = loaded;
    const { nodes } = await readModel(model);
    expect(nodes.map(({ opType }) => opType)).toContain('Conv');
    expect(Object.values(feeds).map(({ dims }) => dims)).toEqual([[64, 3, 12, 12]]);
    expect(rates.engine / 1e9).toBeCloseTo(GFLOPS(64 * opened.macs), 3);
  });

  test('on a window through the first block of a folder of which config.json alone is read', async () => {
    const config = JSON.parse(
      readFileSync(new URL('../fixtures/opt-kjv/config.json', import.meta.url), 'utf8'),
    );
    const language = describeConfig(config);
    const { loaded, engine: clock } = clockwork();
    const rates = await measureRates(clock, await openKernels(), language, [32]);
    const { hidden_size: hidden, ffn_dim: ffn } = config;
    expect(Object.values(loaded[0].feeds).map(({ dims }) => dims)).toEqual([[1, 32, hidden]]);
    const products = 4 * hidden ** 2 + 2 * hidden * ffn;
    expect(rates.engine / 1e9 / GFLOPS(32 * products)).toBeCloseTo(1, 1); // and biases
  });

  test('on products of matrices where a model or a window is large, a model takes what nobody can make up, or is not there', async () => {
    const b = new OnnxBuilder();
    const asks = b.output(b.add(b.gemm(b.input([8]), 8), b.input([8], 'more'))).build();
    const large = describeConfig(OPT_30B_CONFIG);
    const config = JSON.parse(
      readFileSync(new URL('../fixtures/opt-kjv/config.json', import.meta.url), 'utf8'),
    );
    const models: [Parameters<typeof measureRates>[2], number][] = [
      [undefined, 32],
      [large, 32],
      [await openModel(asks, { engine }), 32],
      [describeConfig({ ...config, max_position_embeddings: 2 ** 30 }), 2 ** 30],
    ];
    for (const [model, tokens] of models) {
      const { loaded, engine: clock } = clockwork();
      const rates = await measureRates(clock, await openKernels(), model, [tokens]);
      expect(Object.values(loaded[0].feeds).map(({ dims }) => dims)).toEqual([[512, 512]]);
      expect(rates.engine / 1e9).toBeCloseTo(GFLOPS(512 ** 3), 3);
    }
  });
});
