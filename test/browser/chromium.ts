// Headless Chromium from Debian's package, installed where it is missing.

import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { type Browser, chromium } from 'playwright-core';

const PROGRAM = process.env.OSSCAR_CHROMIUM ?? '/usr/bin/chromium';

const FLAGS = [
  '--headless',
  '--no-sandbox', // root in a container has no user namespaces
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** Starts Chromium with a fresh profile. No limits of playwright's own, here and elsewhere: the tests' are enough. */
export async function openChromium(): Promise<Browser> {
  if (!existsSync(PROGRAM)) install();
  return chromium.launch({ executablePath: PROGRAM, args: FLAGS, timeout: 0 });
}

function install(): void {
  process.stderr.write('installing chromium with apt-get\n');
  const options = { stdio: 'pipe', env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } } as const;
  try {
    execFileSync('apt-get', ['update'], options);
    execFileSync('apt-get', ['install', '-y', '--no-install-recommends', 'chromium'], options);
  } catch (cause) {
    const message =
      `the browser tests need Chromium at ${PROGRAM}, and apt-get could not install it: install the package ` +
      '"chromium" as root, or set OSSCAR_CHROMIUM to the path of a Chromium or Chrome program';
    throw new Error(message, { cause });
  }
}
