// What is imported when it is first needed, and may not be there: a page that is put together by hand lacks a script.

import { InputError } from './errors.ts';

/**
 * For the import of it.
 *
 * @param what  as the subject of a sentence
 * @throws {InputError} naming it
 */
export function unloaded(what: string) {
  return (cause: Error): never => {
    throw new InputError(
      `${what} cannot be loaded: ${cause.message}; in a page all scripts of the package lie beside each other`,
      { cause },
    );
  };
}
