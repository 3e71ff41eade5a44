// What the library calls options, the command line calls flags.

import { FLAGS, flagFor } from '../run/index.ts';

/** The flag of an option of the library, where it has another name. */
export const flagOf = (option: string): string | undefined =>
  Object.hasOwn(FLAGS, option) ? FLAGS[option] : undefined;

/**
 * Messages name options in backticks, as `` `labelOffset` `` or `` `resize: 'fit'` ``; here they become `--label-offset` and
 * `--resize fit`.
 */
export function flagged(text: string): string {
  return text
    .replace(/`inputs\.([^`]+)`/g, '--input $1=VALUE')
    .replace(/`([a-z][\w.]*)(?:: '?([^`']*)'?)?`/gi, (_, name: string, value?: string) => {
      const flag = flagFor(name);
      if (value === 'false') return `--no-${flag}`;
      return value === undefined || value === 'true' ? `--${flag}` : `--${flag} ${value}`;
    });
}
