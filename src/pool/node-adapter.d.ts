/** comlink brings the types of this file under a name where TypeScript does not look for them. */
declare module 'comlink/dist/esm/node-adapter.mjs' {
  import type { Endpoint } from 'comlink';
  /** @param port  a `Worker` or `MessagePort` of node:worker_threads */
  export default function nodeEndpoint(port: unknown): Endpoint;
}
