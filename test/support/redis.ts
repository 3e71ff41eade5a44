// A redis-server of Debian's package, installed where it is missing, on a free port and with nothing kept on disk: one that is
// started again has forgotten everything, unless it is told to keep what it does.

import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { aptInstall } from './apt.ts';
import { spawn } from './children.ts';

const PROGRAM = process.env.OSSCAR_REDIS ?? '/usr/bin/redis-server';

export class RedisServer {
  readonly #folder = mkdtempSync(join(tmpdir(), 'osscar-redis-'));
  readonly #port: number;
  readonly #isKept: boolean;
  #child: ChildProcess | undefined;

  private constructor(port: number, isKept: boolean) {
    this.#port = port;
    this.#isKept = isKept;
  }

  /** @param isKept  whether it writes down what it is told, and knows it again after a restart */
  static async start({ isKept = false } = {}): Promise<RedisServer> {
    if (!existsSync(PROGRAM)) install();
    const server = new RedisServer(await freePort(), isKept);
    await server.#run();
    return server;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.#port}`;
  }

  /** Killed (SIGKILL), and started again. */
  async restart(): Promise<void> {
    await this.#kill();
    await this.#run();
  }

  async stop(): Promise<void> {
    await this.#kill();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #run(): Promise<void> {
    const kept = this.#isKept ? ['--appendonly', 'yes', '--appendfsync', 'always'] : ['--save', ''];
    const address = ['--port', String(this.#port), '--bind', '127.0.0.1', '--dir', this.#folder];
    const child = spawn(PROGRAM, [...address, ...kept], { stdio: ['ignore', 'pipe', 'inherit'] });
    this.#child = child;
    for await (const text of child.stdout!.setEncoding('utf8').iterator({ destroyOnReturn: false }))
      if (text.includes('Ready to accept connections')) break;
    child.stdout!.resume();
  }

  async #kill(): Promise<void> {
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

function install(): void {
  try {
    aptInstall('redis-server');
  } catch (cause) {
    const message =
      `these tests need a redis-server at ${PROGRAM}, and apt-get could not install it: install the package ` +
      '"redis-server" as root, or set OSSCAR_REDIS to the path of a redis-server or valkey-server program';
    throw new Error(message, { cause });
  }
}
