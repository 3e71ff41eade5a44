export {
  type Batch,
  type Dataset,
  type DatasetOptions,
  firstSamples,
  type ImageEntry,
  imageDataset,
  iterableDataset,
  npyDataset,
  type Sample,
  type SampleSource,
} from './dataset.ts';
export { type DecodedImage, decodeImage } from './image.ts';
export { decodeNpy, type NpyArray } from './npy.ts';
export {
  type Color,
  DEFAULT_PREPROCESSING,
  imageShape,
  type Layout,
  type Preprocessing,
  type PreprocessingFlags,
  parsePreprocessing,
  parsePreprocessingJson,
  preprocess,
  type Resize,
  stringifyPreprocessing,
} from './preprocessing.ts';
export { byPath, drawEvenly, type LabeledFile, sampleEvenly } from './sample.ts';
export {
  consecutiveWindows,
  type Encode,
  npyTokens,
  openTokenizer,
  tokenWindows,
  type WindowOptions,
} from './text.ts';
