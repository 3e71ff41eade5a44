// What one call can be told. Everything but the model, and for most calls the data, has a default.

import type { ModelPart } from '../checkpoint/architectures/index.ts';
import type { OutputFolder } from '../checkpoint/index.ts';
import type { Engine } from '../engine/index.ts';
import type { HeadsMode, WeightType } from '../graph/index.ts';
import type { SimdChoice } from '../kernel/index.ts';
import type {
  BudgetKind,
  Dataset,
  FolderOptions,
  InputValues,
  LatencyTable,
  Machines,
  PreprocessingOptions,
  ProgressStep,
  PruneOptions,
  Queue,
  RecipeOptions,
  RunStore,
  Scratch,
} from '../pipeline/index.ts';
import type { Method } from '../solve/index.ts';
import type { Place } from './place.ts';
import type { Source } from './source.ts';

/** What samples are to a model. */
export type Kind = 'images' | 'text';

/** Builds of onnxruntime: `web` comes with the package, `node` is faster and taken where it is installed. */
export const ENGINES = ['web', 'node'] as const;
/** One of {@link ENGINES}. */
export type EngineName = (typeof ENGINES)[number];

/** How a model is opened. Preprocessing that is not said comes from the model, or from the files beside it. */
export interface ModelOptions extends PreprocessingOptions {
  /** Of onnxruntime and of the solver. Default: all cores. */
  readonly threads?: number;
  /** `baseline` gives the same bits on every machine; `auto`, the default, is faster. */
  readonly simd?: SimdChoice;
  /** Seconds that what the files ask to be run may take for one sample or text. Default 60. */
  readonly timeout?: number;
  readonly engine?: EngineName | Engine;
  /** Whether the channels that shortcuts tie are structures too. */
  readonly residual?: boolean;
  /** What goes of attention: `fewer` heads (the default), or features of each of them, which stay `narrow`. */
  readonly heads?: HeadsMode;
  /** Inputs that are the same for all samples, by name. */
  readonly inputs?: InputValues;
  /** Outputs of an ONNX file that stay, or values of its nodes; what leads to others alone goes. Default: all outputs. */
  readonly outputNames?: readonly string[];
  /** A folder with tokenizer.json, or that file. Default: the model's folder. */
  readonly tokenizer?: Source;
  /** Tokens of a window. Default 512, or the model's positions. */
  readonly seqlen?: number;
  readonly signal?: AbortSignal;
  /** Told, a line at a time, what a person should know and need not mend. What it throws, or is rejected with, ends the call. */
  readonly onNote?: (text: string) => void;
  /** Told what the model is of, before data are read. */
  readonly onKind?: (kind: Kind) => void;
}

/** Which samples of the data are taken, and what their labels are. */
export interface SampleOptions {
  /** A .csv of lines `file,label`. Default: sub-folders, in sorted order, are the classes. */
  readonly labels?: Source;
  /** Added to every label: 1 for models with a background class. */
  readonly labelOffset?: number;
  /** How many. Default: 512 images, waveforms or sentences and 128 windows to calibrate with, all to measure on. */
  readonly samples?: number;
  /** For drawing. Default 0. */
  readonly seed?: number;
  /**
   * The ONNX file of the encoder that a decoder's samples go through, where these are pairs (.tsv, or .jsonl with "source" and
   * "target"): its own, or the smaller one. Default: the one beside the decoder.
   */
  readonly encoder?: Source;
}

/** A run over calibration data. */
export interface RunSettings
  extends ModelOptions,
    SampleOptions,
    RecipeOptions,
    Pick<PruneOptions, 'shards' | 'memory' | 'onProgress'> {
  /**
   * What the model is meant for: images or audio (WAV) in a folder, arrays (.npy, .npz), text (.txt, .jsonl), or a data set that was made
   * with `osscar-wasm/model`.
   */
  readonly calibration: Source | Dataset;
  /** Windows spread evenly over the text, or drawn. Default `even`. */
  readonly sampling?: 'even' | 'random';
  /**
   * Samples that are made of each image of a folder: itself, its mirror image, and random crops of it. For photographs, where
   * these are few; costs as many samples. Default 1.
   */
  readonly augment?: number;
  /** Go on where the dense model answers by chance on the data. */
  readonly force?: boolean;
  /** A folder, or another run store, that keeps what the run finds: one that was stopped continues there. */
  readonly work?: string | RunStore;
  /**
   * The address of a Redis or Valkey (`redis://…`), or another queue, by which workers do the passes over the model. `work` is
   * then the folder that they share.
   */
  readonly queue?: string | Queue;
  /** A folder for what does not fit the memory. Default: the temporary one. In pages, `opfsScratch` for activations. */
  readonly scratch?: string | (() => Scratch);
}

/** What is kept of a model, and where it goes: `keep`, or a budget such as `macs`, must be given. */
export interface PruneSettings extends RunSettings {
  /** Where the smaller model goes. Default: nowhere, and the result has its `files`. */
  readonly output?: string | OutputFolder;
  /** Replace what is there; never what the run reads. */
  readonly overwrite?: boolean;
  /**
   * Of a language model's folder: safetensors; `onnx` for `model.onnx` beside them; `transformers.js` for `onnx/model.onnx`
   * and `onnx/model_fp16.onnx`, which it loads with no further option. Of an encoder and a decoder these are two, `encoder_model` and
   * `decoder_model_merged`.
   */
  readonly format?: Format;
  /**
   * What weights are stored as in ONNX files: `float16`, or `int8` or `int4` with scales, of which `transformers.js` loads
   * `onnx/model_quantized.onnx` or `onnx/model_q4.onnx`. For `int4` layers are fitted to the calibration samples once more. They are made
   * floats when a file is loaded; of `q8` and `q4` a MatMul is a `MatMulNBits`, which native runtimes and WebGPU compute in
   * eight and four bits, and WebAssembly slowly. `float32`: as the network computes with them. Default: as those of an ONNX file are stored.
   */
  readonly weights?: WeightType;
  /**
   * Of a language model's folder: the same sizes in every block, and only those that config.json can say, so that stock
   * loaders read it. Default: with the format `transformers.js`, of which releases before 4.2 size caches by config.json; with
   * `false` that format is for 4.2 and later, and any sizes.
   */
  readonly loadable?: boolean;
  /** Samples to measure on. Default: those of the calibration. */
  readonly evaluation?: Source | Dataset;
  readonly evaluationLabels?: Source;
  /** Of `latency`, from the machine that counts. Default: measured here. */
  readonly latencyTable?: LatencyTable;
  /** Methods that the model is pruned by too, to the same sizes, for the report's `comparison`. */
  readonly compare?: readonly Method[];
}

/** Which part of a folder that has two a call is about: told from the samples, where nothing says it. */
export interface PartSettings {
  readonly part?: ModelPart;
}

/** What `prune` would be told, as far as it is known, and on how many machines. */
export type PlanSettings = Partial<PruneSettings> & Partial<Machines>;

/** A run that finds all sizes, and so is told none. */
export type AnalyzeSettings = Omit<RunSettings, 'keep' | 'spend' | BudgetKind | 'maxLoss'>;

/** How a model is measured. */
export interface EvaluateSettings extends ModelOptions, SampleOptions, Pick<RunSettings, 'scratch'> {}

/** How a model is timed at several sizes. */
export interface LatencySettings extends ModelOptions {
  /** Called after every timing. */
  readonly onProgress?: (step: ProgressStep) => void;
}

/** How language models are written. */
export const FORMATS = ['safetensors', 'onnx', 'transformers.js'] as const;
/** One of {@link FORMATS}. */
export type Format = (typeof FORMATS)[number];

/** transformers.js before 4.2 sizes the caches of all blocks by config.json. */
export const isLoadable = ({ loadable, format }: Pick<PruneSettings, 'format' | 'loadable'>) =>
  loadable ?? format === 'transformers.js';

/** What a folder of safetensors has beside them. */
export const onnxOf = (format: PruneSettings['format']): FolderOptions['onnx'] =>
  format === 'onnx' ? 'beside' : format === 'transformers.js' ? format : undefined;

/** The same where all that lies somewhere is found. */
export interface Drawn {
  readonly labels?: Place;
  readonly samples?: number;
  readonly seed?: number;
  readonly sampling?: 'even' | 'random';
  readonly augment?: number;
}
