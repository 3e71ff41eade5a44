// The core's tests in a page.

import { runCore } from './core.ts';

Object.assign(globalThis, { runCore });
