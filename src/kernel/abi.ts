// The exports of assembly/index.ts, as asc declares them for the build. Pointers come back signed: apply >>> 0.

import type * as exports from '../../build/osscar.js';

/** What an elimination in tiles asks for (assembly/solve/tiles.ts). */
export type TilesHost = (event: number, a: number, z: number, x: number, y: number) => void;

export type Abi = typeof exports & {
  /** Who answers the module's calls: `tiles` for as long as an elimination in tiles runs. */
  readonly host: { tiles?: TilesHost };
};
