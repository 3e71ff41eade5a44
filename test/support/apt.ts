// Programs that tests need and a machine may lack, out of Debian's packages.

import { execFileSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { HANG_MS } from './children.ts';

/** Installs packages as root. Suites that run side by side take their turn, as apt-get refuses to run twice at a time. */
export function aptInstall(...packages: readonly string[]): void {
  process.stderr.write(`installing ${packages.join(', ')} with apt-get\n`);
  const inTurn = (...command: readonly string[]) =>
    execFileSync('flock', [join(tmpdir(), 'osscar-apt.lock'), ...command], {
      stdio: 'pipe',
      timeout: HANG_MS,
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    });
  inTurn('apt-get', 'update');
  inTurn('apt-get', 'install', '-y', '--no-install-recommends', ...packages);
}
