// The models, data and golden layers that lie beside the project. This suite fails where one is missing.

import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const ROOT = process.env.OSSCAR_SHARED ?? fileURLToPath(new URL('../../../shared', import.meta.url));

export function shared(path: string): string {
  const whole = `${ROOT}/${path}`;
  if (!existsSync(whole)) throw new Error(`missing: ${path} of the shared models and data`);
  return whole;
}
