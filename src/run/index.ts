// A model and its data wherever they lie, and one call for each thing to be done with them: the only door to this folder.

export { MOST_THREADS } from '../pool/index.ts';
export { ONNX, ONNX_DATA } from './beside.ts';
export { CARD_FILE } from './card.ts';
export { closing, type Opened } from './closing.ts';
export { type Host, setHost } from './host.ts';
export { extentsOfImages, type ImageOptions, openDataset } from './images.ts';
export { parseLabels } from './labels.ts';
export { FLAGS } from './names.ts';
export * from './options.ts';
export { heldFolder, type Output, type OutputKind, type Replacing } from './output.ts';
export {
  ADDRESS,
  type Content,
  type DirectoryHandle,
  type Listing,
  type Place,
  placeOf,
  type Source,
} from './place.ts';
export * from './run.ts';
export { type ServeSettings, serving } from './serve.ts';
export { documentsOf } from './text.ts';
