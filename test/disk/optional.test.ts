import { expect, test } from 'vitest';
import { isNotInstalled } from '../../src/disk/optional.ts';

test.each([
  ['Node', { code: 'ERR_MODULE_NOT_FOUND', message: "Cannot find package 'peer' imported from /app/x.js" }],
  ['Deno', { code: 'ERR_MODULE_NOT_FOUND', message: 'Import "peer" not a dependency' }],
  ['Jest', { code: 'MODULE_NOT_FOUND', message: "Cannot find module 'peer' from 'dist/x.js'" }],
  ['Vite', { message: 'Could not resolve "peer" imported by "osscar-wasm".' }],
])('a peer that is not installed is told from one that fails, as %s says it', (_, cause) => {
  expect(isNotInstalled('peer', cause)).toBe(true);
  expect(isNotInstalled('other', cause)).toBe(false);
});

test('what a peer lacks itself is a failure of it', () => {
  const cause = {
    code: 'ERR_MODULE_NOT_FOUND',
    message: "Cannot find package 'inner' imported from peer/x.js",
  };
  expect(isNotInstalled('peer', cause)).toBe(false);
  expect(isNotInstalled('peer', { code: 'ERR_DLOPEN_FAILED', message: "'peer': no such library" })).toBe(
    false,
  );
});
