export {
  type Batch,
  type Dataset,
  type DatasetOptions,
  type Described,
  datasetOf,
  expectDataset,
  type ImageEntry,
  type ImageExtents,
  imageDataset,
  iterableDataset,
  type Loaded,
  npyDataset,
  type SampleSource,
  selectSamples,
  spreadSamples,
} from './dataset.ts';
export { arraySamples, type FeedSample, feedsDataset, jsonSample } from './feeds.ts';
export type { DecodedImage } from './frame.ts';
export * from './image.ts';
export { decodeNpy, type NpyArray } from './npy.ts';
export { decodeNpz } from './npz.ts';
export * from './preprocessing.ts';
export { parsePreprocessorConfig } from './preprocessor-config.ts';
export { byPath, drawEvenly, extremesOf, type LabeledFile, sampleEvenly } from './sample.ts';
export { preprocessingMetadata, storedPreprocessing } from './stored.ts';
export * from './text.ts';
export { type Encode, openTokenizer } from './tokenizer.ts';
