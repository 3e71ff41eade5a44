// The public API. Importing it touches no file system, no network and no global.

export * from './model.ts';
