// Headless Chromium from Debian's package, installed where it is missing.

import { existsSync } from 'node:fs';
import { type Browser, chromium } from 'playwright-core';
import { aptInstall } from '../support/apt.ts';

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
  try {
    aptInstall('chromium');
  } catch (cause) {
    const message =
      `the browser tests need Chromium at ${PROGRAM}, and apt-get could not install it: install the package ` +
      '"chromium" as root, or set OSSCAR_CHROMIUM to the path of a Chromium or Chrome program';
    throw new Error(message, { cause });
  }
}
