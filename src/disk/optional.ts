// Packages that only those install who want what they are for.

import { InputError } from '../errors.ts';

/** What is installed together. */
const TOGETHER: Readonly<Record<string, string>> = { bullmq: 'bullmq ioredis', ioredis: 'bullmq ioredis' };

/** Whether an import has failed as there is no such package: as Node and Bun say it, Deno, Jest, or the stub of Vite's servers. */
export function isNotInstalled(name: string, cause: unknown): boolean {
  const { code, message } = cause as NodeJS.ErrnoException;
  if (message.startsWith(`Could not resolve "${name}"`)) return true;
  const names = [`'${name}'`, `"${name}"`];
  return /^(ERR_)?MODULE_NOT_FOUND$/.test(String(code)) && names.some((it) => message.includes(it));
}

/**
 * Imports an optional peer. Bundlers look for what is named in an import, and end where it is not there: here it is not.
 *
 * @throws {InputError} naming the package, where it is not installed
 */
export async function optional<M>(name: string): Promise<M> {
  try {
    return await import(name);
  } catch (cause) {
    if (!isNotInstalled(name, cause)) throw cause;
    throw new InputError(`${name} is not installed (npm i ${TOGETHER[name] ?? name})`, { cause });
  }
}
