// The script of a guard's thread, built into dist/guard.js: runs graphs and regular expressions out of strangers' files,
// wherever it can be stopped.

import { expose } from 'comlink';
import {
  type Engine,
  type EngineOptions,
  type EngineSession,
  type FloatTensor,
  openEngine,
} from '../engine/index.ts';
import { GraphBuilder, writeModel } from '../graph/index.ts';
import { type Encode, openTokenizer } from '../pipeline/index.ts';
import { installErrorTransfer } from '../pool/errors.ts';
import { platform } from '../pool/platform.ts';
import { handedOver } from '../pool/transfer.ts';

/** A session of this thread, for the other side. */
export interface Loaded extends Pick<EngineSession, 'inputs' | 'outputs'> {
  readonly id: number;
}

export class Foreign {
  #engine?: Engine;
  #encode?: Encode;
  #next = 0;
  readonly #sessions = new Map<number, EngineSession>();

  /** Answers once the script has loaded. */
  ready(): void {}

  /** @returns the engine's name */
  async openEngine(options: Pick<EngineOptions, 'threads' | 'wasmPaths'>): Promise<string> {
    this.#engine = await openEngine(options);
    // The runtime's own start is not the model's: it comes with the first session.
    const graph = new GraphBuilder();
    graph.output(graph.node('Identity', [graph.input('x', 'float32', [1])]), 'y', 'float32', [1]);
    const { model } = writeModel(graph.build('start'));
    await (await this.#engine.load(model)).release();
    return this.#engine.name;
  }

  async load(...args: Parameters<Engine['load']>): Promise<Loaded> {
    const session = await this.#engine!.load(...args);
    const id = this.#next++;
    this.#sessions.set(id, session);
    return { id, inputs: session.inputs, outputs: session.outputs };
  }

  async run(id: number, feeds: Readonly<Record<string, FloatTensor>>, fetches?: readonly string[]) {
    return handedOver(await this.#sessions.get(id)!.run(feeds, fetches));
  }

  async release(id: number): Promise<void> {
    const session = this.#sessions.get(id);
    this.#sessions.delete(id);
    await session?.release();
  }

  openTokenizer(tokenizer: object, config?: object): void {
    this.#encode = openTokenizer(tokenizer, config);
  }

  encode(texts: readonly string[]): Int32Array[] {
    return handedOver(texts.map((text) => this.#encode!(text)));
  }
}

installErrorTransfer();
expose(new Foreign(), platform().parent());
