// The public API where there is a disk: strings are paths.

import { disk } from './disk/host.ts';
import { setHost } from './run/index.ts';

setHost(disk);

export * from './index.ts';
