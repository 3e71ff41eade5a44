// Folders of other kinds, and weights of other kinds in a folder: what to do then. Loaded with the first of them.

import type { Folder } from './folder.ts';

const ADAPTER = 'it is an adapter (LoRA): merge it into its model first (merge_and_unload), and save that';

/** By a file that they have. */
const FOLDERS: Readonly<Record<string, string>> = {
  'saved_model.pb': 'it is a SavedModel of TensorFlow, which tf2onnx converts',
  'adapter_config.json': ADAPTER,
  'modules.json':
    'it is a model of sentence-transformers that has its transformer in a folder of it; give that folder',
  'model_index.json': 'it is a pipeline of diffusers; give the ONNX file of one of its models',
  'Manifest.json': 'it is a Core ML package; export what it was made of to ONNX',
};

const SAVING = 'which transformers reads, and writes as these (save_pretrained)';
/** What else there is of weights, by the names of files. */
const WEIGHTS: readonly (readonly [name: RegExp, hint: string])[] = [
  [/^adapter_(config\.json|model\.(safetensors|bin))$/, ADAPTER],
  [/^(model|pytorch_model)-\d+-of-\d+\./, 'there are shards, but not the index that says what is in which'],
  [/^(model|pytorch_model)\..+\.(safetensors|bin)$/, 'there is a variant; call it as the others are'],
  [/^tf_model\.h5$/, `there are those of TensorFlow, ${SAVING}`],
  [/^flax_model/, `there are those of Flax, ${SAVING}`],
  [/\.gguf$/, 'there is a GGUF file; give the folder that it was made of'],
  [
    /^consolidated/,
    'there are those of the code that it came with; give the folder in the form of transformers',
  ],
  [/\.onnx$/, 'there is an ONNX file; give that'],
];

/** Of a folder without config.json. */
export function folderHint(files: readonly string[]): string {
  const file = Object.keys(FOLDERS).find((name) => files.includes(name));
  return file ? FOLDERS[file] : 'expected an ONNX file, or the folder of a Hugging Face model';
}

/** Of one without weights, behind a message. */
export async function weightsHint(folder: Folder): Promise<string> {
  const files = [...(await folder.list()), ...(await folder.list('onnx'))];
  const [, hint] = WEIGHTS.find(([name]) => files.some((file) => name.test(file))) ?? [];
  return hint === undefined ? '' : `; ${hint}`;
}
