// What files from strangers ask to be run, on a thread that can be ended in the middle of it: graphs, whose loops need
// not end, and the regular expressions of tokenizers. Not a sandbox: both run in WebAssembly or in V8's own engine of
// regular expressions, and can reach nothing; what they can do is take time.

import { type Remote, wrap } from 'comlink';
import type { Engine, EngineOptions, EngineSession } from '../engine/index.ts';
import { InputError, OutOfMemoryError, TimeLimitError, WorkerLostError } from '../errors.ts';
import { said } from '../expect.ts';
import { ADDRESS, expectOptions, LATER, NUMBER, type Options, SIGNAL } from '../options.ts';
import type { Script, WorkerHandle } from '../pool/environment.ts';
import { installErrorTransfer } from '../pool/errors.ts';
import { platform } from '../pool/platform.ts';
import type { Foreign, Loaded } from './worker.ts';

/** What `openGuard` can be told; all of it can be left out. */
export interface GuardOptions {
  /**
   * How long one call may take: loading a model, running one sample (a batch has as many times as long), encoding a
   * million characters. Default 60.
   */
  readonly seconds?: number;
  /** Ends whatever runs, and rejects its promise with the signal's reason. */
  readonly signal?: AbortSignal;
  /** Where dist/guard.js is, for hosts that do not keep it beside the module that starts it. */
  readonly workerUrl?: string | URL;
}

const OPTIONS: Options<GuardOptions> = { seconds: NUMBER, signal: SIGNAL, workerUrl: ADDRESS };

type GuardedEngine = Pick<EngineOptions, 'threads' | 'wasmPaths'>;
/** Judged on the thread. */
const ENGINE_OPTIONS: Options<GuardedEngine> = { threads: LATER, wasmPaths: LATER };

/** Longer than anything that is meant to end on the machines of today, short enough to be waited for. */
const SECONDS = 60;
/** Samples of a calibration batch at most; a batch gets no more time than that. */
const LARGEST_BATCH = 64;
/** Characters that a tokenizer takes seconds for, at worst, on slow machines. */
const CHARACTERS = 2 ** 20;
/** Of the seconds that a call may take, how many are counted at a time. */
const STEP = 1;
const SCRIPT: Script = {
  name: './guard.js',
  start: () => new Worker(new URL('./guard.js', import.meta.url), { type: 'module' }),
};

/** Texts to token ids. */
export type GuardedEncode = (texts: readonly string[]) => Promise<Int32Array[]>;

/**
 * Starts a thread for what files from strangers ask to be run.
 *
 * @throws {InputError} for an impossible limit
 *
 * @example
 * const guard = openGuard({ seconds: 60 });
 * const model = await openModel(bytes, { engine: await guard.engine() });
 * await guard.close();
 */
export function openGuard(options: GuardOptions = {}): Guard {
  expectOptions('openGuard', options, OPTIONS);
  const { seconds = SECONDS } = options;
  if (!(seconds > 0))
    throw new InputError(`openGuard: "seconds" expected a number above 0, got ${said(seconds)}`);
  return new Guard({ ...options, seconds });
}

/** Of a page whose policy or origin has no workers, of a service worker. */
function refused(why: string, cause?: unknown): WorkerLostError {
  // In the library's words: the command takes no engine of one's own.
  const hint =
    'bundlers take guard.js as an entry (docs/runtimes.md); where there are no workers, the library takes "engine" (await openEngine()), without a limit of time';
  return new WorkerLostError(
    `guard: its thread does not start: ${why.replace(/\.$/, '')}; ${hint}, and token ids for text`,
    'guard',
    { cause },
  );
}

/** @throws {WorkerLostError} where there are no workers */
function started(url?: string | URL): WorkerHandle {
  try {
    return platform().spawn(SCRIPT, url);
  } catch (cause) {
    throw refused((cause as Error).message, cause);
  }
}

/** A thread for what files from strangers ask to be run. It is gone once something took too long on it. */
export class Guard {
  readonly #seconds: number;
  readonly #handle: WorkerHandle;
  readonly #remote: Remote<Foreign>;
  /** Why the thread is gone. */
  #ended?: unknown;
  #hasAnswered = false;
  readonly #waiting = new Set<(reason: unknown) => void>();
  /** Signals outlive guards. */
  readonly #signal?: AbortSignal;
  readonly #onAbort = () => this.#end(this.#signal!.reason);

  /** @internal */
  constructor({ seconds, signal, workerUrl }: GuardOptions & { readonly seconds: number }) {
    installErrorTransfer();
    this.#seconds = seconds;
    this.#handle = started(workerUrl);
    this.#handle.onLost((why, memory) => {
      const lost = `guard: its thread is lost: ${why}`;
      if (memory !== undefined) this.#end(new OutOfMemoryError(lost, memory));
      else this.#end(this.#hasAnswered ? new WorkerLostError(lost, 'guard') : refused(why));
    });
    this.#remote = wrap<Foreign>(this.#handle.endpoint);
    this.#handle.hold(false); // whoever listens to a thread is kept by it
    this.#signal = signal;
    if (signal?.aborted) this.#onAbort();
    else signal?.addEventListener('abort', this.#onAbort);
  }

  /** onnxruntime-web on this thread. Loading and running throw a {@link TimeLimitError} where they take too long. */
  async engine(options: GuardedEngine = {}): Promise<Engine> {
    expectOptions('guard.engine', options, ENGINE_OPTIONS);
    const { threads, wasmPaths } = options;
    const name = await this.#call((remote) => remote.openEngine({ threads, wasmPaths }));
    return {
      name,
      load: async (...args) => {
        const loaded = await this.#within('loading the model', 1, (remote) => remote.load(...args));
        return this.#session(loaded);
      },
    };
  }

  /**
   * A tokenizer on this thread, as `openTokenizer` opens it.
   *
   * @throws {FormatError} where it is malformed or of an unknown kind
   */
  async tokenizer(tokenizer: object, config?: object): Promise<GuardedEncode> {
    // The thread's own start is not the file's.
    await this.#call((remote) => remote.ready());
    await this.#within('tokenizer.json: compiling it', 1, (remote) =>
      remote.openTokenizer(tokenizer, config),
    );
    return (texts) => {
      const characters = texts.reduce((sum, { length }) => sum + length, 0);
      const times = Math.max(1, Math.ceil(characters / CHARACTERS));
      return this.#within('tokenizer.json: splitting the text', times, (remote) => remote.encode(texts));
    };
  }

  /** Ends the thread. */
  async close(): Promise<void> {
    this.#end(new InputError('guard: it is closed'));
  }

  #session({ id, inputs, outputs }: Loaded): EngineSession {
    return {
      inputs,
      outputs,
      run: (feeds, fetches) => {
        const samples = Math.max(1, ...Object.values(feeds).map(({ dims }) => dims[0] ?? 1));
        return this.#within('running the model', Math.min(samples, LARGEST_BATCH), (remote) =>
          remote.run(id, feeds, fetches),
        );
      },
      release: async () => {
        if (this.#ended === undefined) await this.#call((remote) => remote.release(id));
      },
    };
  }

  #within<T>(what: string, times: number, send: (remote: Remote<Foreign>) => Promise<T>): Promise<T> {
    const seconds = this.#seconds * times;
    // In steps: while the process is stopped (Ctrl-Z) no time passes for what runs in it, and one step at most is counted.
    const step = Math.min(seconds, STEP);
    let left = seconds;
    const timer = setInterval(() => {
      left -= step;
      if (left <= 0)
        this.#end(new TimeLimitError(`${what} took longer than ${seconds} s (\`timeout\`)`, seconds));
    }, 1000 * step);
    return this.#call(send)
      .catch((cause) => {
        if (cause !== this.#ended || !(cause instanceof OutOfMemoryError)) throw cause;
        const { bytes } = cause;
        const most = Math.round(bytes / 2 ** 20);
        throw new OutOfMemoryError(`${what} takes more than the ${most} MiB that a thread has`, bytes, {
          cause,
        });
      })
      .finally(() => clearInterval(timer));
  }

  /** comlink's promises stay open when a thread ends; these do not. */
  #call<T>(send: (remote: Remote<Foreign>) => Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.#ended !== undefined) {
        reject(this.#ended);
        return;
      }
      this.#waiting.add(reject);
      this.#handle.hold(true);
      send(this.#remote)
        .then(resolve, reject)
        .finally(() => {
          this.#hasAnswered = true;
          this.#waiting.delete(reject);
          if (this.#waiting.size === 0) this.#handle.hold(false);
        });
    });
  }

  #end(reason: unknown): void {
    if (this.#ended !== undefined) return;
    this.#ended = reason;
    this.#signal?.removeEventListener('abort', this.#onAbort);
    void this.#handle.terminate();
    for (const reject of this.#waiting) reject(reason);
    this.#waiting.clear();
  }
}
