export * from './dataset.ts';
export { arraySamples, type FeedSample, feedsDataset, jsonSample } from './feeds.ts';
export * from './image.ts';
export { decodeNpy, type NpyArray } from './npy.ts';
export { decodeNpz } from './npz.ts';
export * from './preprocessing.ts';
export { byPath, drawEvenly, type LabeledFile, sampleEvenly } from './sample.ts';
export * from './text.ts';
