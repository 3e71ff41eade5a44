// A model and its data wherever they lie, and one call for each thing to be done with them: the only door to this folder.

export { MOST_THREADS } from '../options.ts';
export { analyze } from './analyze.ts';
export { ONNX, ONNX_DATA } from './beside.ts';
export { CARD_FILE } from './card.ts';
export { closing, type Opened } from './closing.ts';
export { type Evaluated, evaluate } from './evaluate.ts';
export { type Host, setHost } from './host.ts';
export { extentsOfImages, type ImageOptions, openDataset } from './images.ts';
export { type Inspected, type InspectedStructure, inspect } from './inspect.ts';
export { parseLabels } from './labels.ts';
export { latency } from './latency.ts';
export { among, FLAGS, flagFor, ofOthers, type Synonyms } from './names.ts';
export * from './options.ts';
export { heldFolder, type Output, type OutputKind, type Replacing } from './output.ts';
export type { Listing, Place } from './place.ts';
export { type Planned, plan } from './plan.ts';
export { type Pruned, prune } from './prune.ts';
export { type ServeSettings, serving } from './serve.ts';
export {
  ADDRESS,
  type Content,
  type DirectoryHandle,
  FILE_ADDRESS,
  openFolder,
  placeOf,
  type Source,
} from './source.ts';
export { documentsOf } from './text.ts';
