export * from './dataset.ts';
export * from './image.ts';
export { decodeNpy, type NpyArray } from './npy.ts';
export * from './preprocessing.ts';
export { byPath, drawEvenly, type LabeledFile, sampleEvenly } from './sample.ts';
export * from './text.ts';
export { type Encode, openTokenizer } from './tokenizer.ts';
