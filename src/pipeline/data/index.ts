export * from './dataset.ts';
export * from './image.ts';
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
} from './preprocessing.ts';
export { parsePreprocessorConfig } from './preprocessor-config.ts';
export { byPath, drawEvenly, type LabeledFile, sampleEvenly } from './sample.ts';
export * from './text.ts';
export { type Encode, openTokenizer } from './tokenizer.ts';
