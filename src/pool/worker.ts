// The script that runs in a worker, built into dist/worker.js with all that it needs.

import { expose } from 'comlink';
import { installErrorTransfer } from './errors.ts';
import { platform } from './platform.ts';
import { Service } from './service.ts';

installErrorTransfer();
expose(new Service(), platform().parent());
