export { audioDataset, audioExtents, isWaveform } from './audio/audio.ts';
export {
  abortable,
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
export type { DecodedImage } from './images/frame.ts';
export * from './images/image.ts';
export * from './images/preprocessing.ts';
export { parsePreprocessorConfig } from './images/preprocessor-config.ts';
export { preprocessingMetadata, storedPreprocessing } from './images/stored.ts';
export { decodeNpy, type NpyArray } from './npy.ts';
export { decodeNpz } from './npz.ts';
export { byPath, drawEvenly, extremesOf, type LabeledFile, sampleEvenly } from './sample.ts';
export { type Encode, openTokenizer } from './text/tokenizer.ts';
export * from './text/windows.ts';
