// Packages that only those install who want what they are for.

import { InputError } from '../errors.ts';

/** What is installed together. */
const TOGETHER: Readonly<Record<string, string>> = { bullmq: 'bullmq ioredis', ioredis: 'bullmq ioredis' };

/**
 * Imports an optional peer. Bundlers look for what is named in an import, and end where it is not there: here it is not.
 *
 * @throws {InputError} naming the package, where it is not installed
 */
export async function optional<M>(name: string): Promise<M> {
  try {
    return await import(name);
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code !== 'ERR_MODULE_NOT_FOUND' || !message.includes(`'${name}'`)) throw cause;
    throw new InputError(`${name} is not installed (npm i ${TOGETHER[name] ?? name})`, { cause });
  }
}
