// A static file server such as a user's: right types, a strict content security policy, isolation on demand.

import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join, normalize } from 'node:path';

const TYPES: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.mjs': 'text/javascript; charset=utf-8',
  '.wasm': 'application/wasm',
  '.css': 'text/css; charset=utf-8',
  '.png': 'image/png',
  '.svg': 'image/svg+xml',
  '.webmanifest': 'application/manifest+json',
  '.onnx': 'application/octet-stream',
};

export interface ServerOptions {
  /** Sends COOP and COEP, which make SharedArrayBuffer available. */
  isolated: boolean;
  /** Folders by the first part of the path; '' is for every other path. */
  folders: Record<string, string>;
  /** More sources for scripts, e.g. the hash of an inline script. */
  scripts?: string[];
  /** More directives of the policy, or others in their place. */
  policy?: Record<string, string>;
  /** Where workers may come from. Default: the server itself. */
  workers?: string;
}

export interface StaticServer {
  url: string;
  close(): Promise<void>;
}

export async function serve({
  isolated,
  folders,
  scripts = [],
  workers = "'self'",
  policy: directives,
}: ServerOptions): Promise<StaticServer> {
  const policy = {
    'default-src': "'none'",
    'script-src': ["'self'", "'wasm-unsafe-eval'", ...scripts].join(' '),
    'worker-src': workers,
    'connect-src': "'self'",
    'img-src': 'data:',
    ...directives,
  };
  const headers = {
    'content-security-policy': Object.entries(policy)
      .map((directive) => directive.join(' '))
      .join('; '),
    ...(isolated && {
      'cross-origin-opener-policy': 'same-origin',
      'cross-origin-embedder-policy': 'require-corp',
    }),
  };
  const server = createServer(async (request, response) => {
    const path = normalize(decodeURIComponent(new URL(request.url!, 'http://localhost').pathname));
    const first = path.split('/')[1];
    const file = Object.hasOwn(folders, first)
      ? join(folders[first], path.slice(first.length + 1))
      : join(folders[''], path);
    try {
      const body = await readFile(file);
      response.writeHead(200, { ...headers, 'content-type': TYPES[extname(file)] ?? 'text/plain' });
      response.end(body);
    } catch {
      response.writeHead(404, headers).end();
    }
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () =>
      new Promise((closed) => {
        server.close(() => closed());
        server.closeAllConnections();
      }),
  };
}
