// Mixtures of experts as Mixtral (arXiv 2401.04088), OLMoE (2409.02060), Qwen2-MoE, Qwen3-MoE, Llama 4, DeepSeek V2 (2405.04434) and V3 (2412.19437),
// GLM-4.5 (2508.06471), Solar Open (2601.07022), Trinity, Mistral Small 4, ERNIE 4.5, Phi-3.5-MoE, LFM2, Granite and GPT-OSS (2508.10925) have them in the place of an MLP: each expert a gated MLP of its own.

import { InputError } from '../../errors.ts';
import { flag, integer, linear, positive, text, unsupported } from './config.ts';
import type { BlockSizes, Config, Description, Linear, Mixture, Mlp, Routing } from './types.ts';

/** What the model types do differently; numbers are those of transformers where config.json leaves them out. */
interface Kind {
  /** Of the module in a block; experts' maps are called `gate`, `up` and `down` there. */
  readonly module: string;
  readonly maps: Readonly<Record<Label, string>>;
  /** MLPs have no gates: the name for these counts for nothing. */
  readonly isPlain?: true;
  /** Of the router in the module. */
  readonly router?: string;
  /** Experts are in tensors of the module, one for `gate` and `up`, and one for `down`. */
  readonly stacked?: {
    readonly wide: string;
    readonly down: string;
    /** They are in × out. */
    readonly isTurned?: boolean;
    /** `gate` and `up` are side by side for each neuron, and there are biases, of the router too. */
    readonly byNeurons?: boolean;
  };
  /** Their number and that of those that a token passes, by the fields that are named. */
  readonly experts: number;
  readonly chosen: number;
  readonly counted?: readonly [experts: string, chosen: string];
  /** Absent where shares always sum to 1. */
  readonly normalises?: 'norm_topk_prob' | 'never';
  /** Where config.json leaves that out. */
  readonly isNormalised?: true;
  readonly routing?: (config: Config, experts: number, at: (name: string) => string) => Partial<Routing>;
  readonly areSharesRead?: true;
  /** Field of an expert's neurons, and what these are where it is missing. */
  readonly field: string;
  readonly neurons?: number;
  /** What all tokens pass beside them: its name in a block, and the field of its neurons, or of how many times those of an expert it has. */
  readonly shared?: {
    readonly name: string;
    readonly field?: string;
    readonly times?: readonly [field: string, otherwise: number];
    /** A map of this name makes its share. */
    readonly gate?: string;
    /** Its maps, where `gate` and `up` are one tensor. */
    readonly maps?: Readonly<Record<Label, string>>;
  };
  /** Which blocks have an MLP for all tokens instead. */
  readonly denseBlocks?: (config: Config, blocks: number) => (i: number) => boolean;
  /** What is called otherwise where experts are {@link STACKED}. */
  readonly later?: Partial<Pick<Kind, 'module' | 'router' | 'routing'>>;
}

type Label = 'gate' | 'up' | 'down';

/** What transformers 5 makes of experts that have tensors of their own, and writes with `save_original_format=False`. */
const STACKED = {
  maps: { gate: 'gate_up_proj', up: 'gate_up_proj', down: 'down_proj' },
  stacked: { wide: 'experts.gate_up_proj', down: 'experts.down_proj' },
} as const;
/** The same of experts without gates. */
const STACKED_PLAIN = { wide: 'experts.up_proj', down: 'experts.down_proj' } as const;
const IS_STACKED_PLAIN = /\.experts\.up_proj$/;
/** Experts of different sizes are not stacked, but have the same names. */
const IS_STACKED = /\.experts\.(\d+\.)?gate_up_proj(\.weight)?$/;
const SINCE_STACKED = '5';

const MLP = {
  module: 'mlp',
  maps: { gate: 'gate_proj', up: 'up_proj', down: 'down_proj' },
  normalises: 'norm_topk_prob',
} as const;

const DEEPSEEK = {
  ...MLP,
  field: 'moe_intermediate_size',
  shared: { name: 'mlp.shared_experts', times: ['n_shared_experts', 1] },
  counted: ['n_routed_experts', 'num_experts_per_tok'],
  denseBlocks: (config: Config) =>
    firstBlocks(config, 'first_k_dense_replace', DENSE[String(config.model_type)]),
} as const;
/** Blocks before those with experts. */
const DENSE: Readonly<Record<string, number>> = {
  deepseek_v2: 0,
  deepseek_v3: 3,
  dots1: 0,
  glm4_moe: 1,
  mistral4: 0,
};

const QWEN_SHARED = {
  name: 'mlp.shared_expert',
  field: 'shared_expert_intermediate_size',
  gate: 'mlp.shared_expert_gate',
} as const;

const GRANITE = {
  module: 'block_sparse_moe',
  maps: { gate: 'input_linear', up: 'input_linear', down: 'output_linear' },
  router: 'router.layer',
  stacked: { wide: 'input_linear.weight', down: 'output_linear.weight' },
  experts: 8,
  chosen: 2,
  field: 'intermediate_size',
} as const;

const GRANITE_SHARED = {
  ...GRANITE,
  shared: { name: 'shared_mlp', field: 'shared_intermediate_size', maps: GRANITE.maps },
} as const;

const KINDS: Readonly<Record<string, Kind>> = {
  mixtral: {
    module: 'block_sparse_moe',
    maps: { gate: 'w1', up: 'w3', down: 'w2' },
    experts: 8,
    chosen: 2,
    field: 'intermediate_size',
    later: { module: 'mlp' },
  },
  phimoe: {
    module: 'block_sparse_moe',
    maps: { gate: 'w1', up: 'w3', down: 'w2' },
    experts: 16,
    chosen: 2,
    field: 'intermediate_size',
    routing: (config) => {
      if (integer(config, 'num_experts_per_tok', 2) !== 2)
        throw unsupported('phimoe', 'num_experts_per_tok other than 2');
      return { inTurn: 2 * positive(config, 'router_jitter_noise', 0.01) };
    },
    later: { module: 'mlp', router: 'router' },
  },
  olmoe: { ...MLP, experts: 64, chosen: 8, field: 'intermediate_size' },
  qwen2_moe: {
    ...MLP,
    experts: 60,
    chosen: 4,
    field: 'moe_intermediate_size',
    shared: QWEN_SHARED,
    denseBlocks: blocksBetween,
  },
  qwen3_next: {
    ...MLP,
    experts: 512,
    chosen: 10,
    isNormalised: true,
    field: 'moe_intermediate_size',
    neurons: 512,
    shared: QWEN_SHARED,
    denseBlocks: blocksBetween,
  },
  qwen3_5_moe_text: {
    module: 'mlp',
    maps: MLP.maps,
    experts: 256,
    chosen: 8,
    field: 'moe_intermediate_size',
    neurons: 512,
    shared: QWEN_SHARED,
  },
  qwen3_moe: {
    ...MLP,
    experts: 128,
    chosen: 8,
    field: 'moe_intermediate_size',
    denseBlocks: blocksBetween,
  },
  llama4_text: {
    module: 'feed_forward',
    maps: STACKED.maps,
    router: 'router',
    stacked: { ...STACKED.stacked, isTurned: true },
    experts: 16,
    chosen: 1,
    normalises: 'never',
    routing: () => ({ areSigmoids: true }),
    areSharesRead: true,
    field: 'intermediate_size',
    shared: { name: 'feed_forward.shared_expert', field: 'intermediate_size', maps: MLP.maps },
    denseBlocks: (config, blocks) => {
      const mixed = blocksMixed(config, blocks);
      return (i) => !mixed.includes(i);
    },
  },
  qwen3_vl_moe_text: {
    module: 'mlp',
    maps: STACKED.maps,
    stacked: { ...STACKED.stacked, isTurned: true },
    experts: 60,
    chosen: 4,
    field: 'moe_intermediate_size',
    denseBlocks: blocksBetween,
  },
  deepseek_v2: {
    ...DEEPSEEK,
    experts: 64,
    chosen: 6,
    normalises: 'never',
    routing: greedyRouting,
    shared: { ...DEEPSEEK.shared, times: ['n_shared_experts', 2] },
  },
  deepseek_v3: {
    ...DEEPSEEK,
    experts: 256,
    chosen: 8,
    isNormalised: true,
    routing: (config, experts, at) =>
      sigmoidRouting(config, experts, at, { groups: 8, chosen: 4, scale: 2.5 }),
  },
  glm4_moe: {
    ...DEEPSEEK,
    experts: 128,
    chosen: 8,
    isNormalised: true,
    routing: (config, experts, at) => sigmoidRouting(config, experts, at, { groups: 1, chosen: 1, scale: 1 }),
  },
  glm4_moe_lite: {
    ...DEEPSEEK,
    experts: 64,
    chosen: 4,
    isNormalised: true,
    neurons: 1536,
    routing: (config, experts, at) =>
      sigmoidRouting(config, experts, at, { groups: 1, chosen: 1, scale: 1.8 }),
    denseBlocks: blocksNamed,
  },
  mistral4: {
    ...DEEPSEEK,
    experts: 128,
    chosen: 4,
    isNormalised: true,
    neurons: 2048,
    routing: (config, experts) => ({
      groups: groupsIn(experts, integer(config, 'n_group', 1), integer(config, 'topk_group', 1), 2),
      scale: positive(config, 'routed_scaling_factor', 1),
    }),
  },
  solar_open: {
    ...DEEPSEEK,
    experts: 128,
    chosen: 8,
    isNormalised: true,
    neurons: 1280,
    routing: (config, experts, at) => sigmoidRouting(config, experts, at, { groups: 1, chosen: 1, scale: 1 }),
    denseBlocks: undefined,
  },
  afmoe: {
    module: 'mlp',
    maps: MLP.maps,
    router: 'router.gate',
    experts: 64,
    chosen: 6,
    field: 'moe_intermediate_size',
    neurons: 1408,
    shared: { name: 'mlp.shared_experts', times: ['num_shared_experts', 2] },
    routing: (config, experts, at) => ({
      areSigmoids: true,
      correction: { name: at('expert_bias'), dims: [experts] },
      scale: positive(config, 'route_scale', 1),
    }),
    denseBlocks: (config) => firstBlocks(config, 'num_dense_layers', 1),
  },
  dots1: {
    ...DEEPSEEK,
    experts: 128,
    chosen: 6,
    routing: (config, experts, at) => sigmoidRouting(config, experts, at, { groups: 1, chosen: 1, scale: 1 }),
  },
  ernie4_5_moe: {
    module: 'mlp',
    maps: MLP.maps,
    experts: 64,
    chosen: 6,
    counted: ['moe_num_experts', 'moe_k'],
    field: 'moe_intermediate_size',
    shared: { name: 'mlp.shared_experts', times: ['moe_num_shared_experts', 2] },
    routing: (_, experts, at) => ernieRouting(experts, at('moe_statics')),
    later: { routing: (_, experts, at) => ernieRouting(experts, at('gate.moe_statics')) },
    denseBlocks: (config, blocks) => {
      const start = integer(config, 'moe_layer_start_index', 1, 0);
      const end = integer(config, 'moe_layer_end_index', -1, -1);
      const every = integer(config, 'moe_layer_interval', 1);
      return (i) => i < start || i > (end === -1 ? blocks - 1 : end) || (i + 1) % every !== 0;
    },
  },
  lfm2_moe: {
    module: 'feed_forward',
    maps: { gate: 'w1', up: 'w3', down: 'w2' },
    normalises: 'norm_topk_prob',
    experts: 32,
    chosen: 4,
    isNormalised: true,
    field: 'moe_intermediate_size',
    routing: liquidRouting,
    denseBlocks: (config) => firstBlocks(config, 'num_dense_layers', 2),
  },
  granitemoe: GRANITE,
  granitemoeshared: GRANITE_SHARED,
  granitemoehybrid: GRANITE_SHARED,
  nemotron_h: {
    module: 'mixer',
    maps: { gate: '', up: 'up_proj', down: 'down_proj' },
    isPlain: true,
    counted: ['n_routed_experts', 'num_experts_per_tok'],
    experts: 8,
    chosen: 2,
    normalises: 'norm_topk_prob',
    isNormalised: true,
    field: 'moe_intermediate_size',
    shared: { name: 'mixer.shared_experts', field: 'moe_shared_expert_intermediate_size' },
    routing: (config, experts, at) => sigmoidRouting(config, experts, at, { groups: 1, chosen: 1, scale: 1 }),
    denseBlocks:
      ({ layer_types: types }) =>
      (i) =>
        (types as readonly string[])[i] !== 'moe',
  },
  gpt_oss: {
    module: 'mlp',
    maps: STACKED.maps,
    router: 'router',
    stacked: { ...STACKED.stacked, isTurned: true, byNeurons: true },
    experts: 128,
    chosen: 4,
    field: 'intermediate_size',
  },
};

/** In all blocks; the largest models have some ten thousand. */
const MOST_EXPERTS = 100_000;

/** The experts of a model, by block. */
export interface Mixtures {
  /** Absent where block i has an MLP for all tokens. */
  readonly mixture: (i: number, named: (name: string) => string) => Mixture | undefined;
  readonly sizesOf: (i: number) => BlockSizes;
  /** Fields of config.json that say neurons. */
  readonly fields: Pick<Description['fields'], 'experts' | 'shared' | 'sharedTimes'>;
  readonly since?: string;
}

/**
 * @param sizes  of a block with an MLP for all tokens
 * @param does  what MLPs do with the neurons of their maps
 * @param names  of the tensors, which say how experts are stored
 */
export function mixturesOf(
  config: Config,
  { modelType, blocks, sizes }: Pick<Description, 'modelType' | 'blocks' | 'sizes'>,
  does: Pick<Mlp, 'activation' | 'raised'>,
  hasBias = false,
  names: Iterable<string> = [],
): Mixtures {
  const kind = kindOf(modelType, names);
  const { module, maps, router = 'gate', stacked, field, shared, normalises } = kind;
  const usual = config.num_experts == null ? 'num_local_experts' : 'num_experts';
  const [countKey, chosenKey] = kind.counted ?? [usual, 'num_experts_per_tok'];
  const count = integer(config, countKey, kind.experts);
  const chosen = integer(config, chosenKey, kind.chosen);
  if (chosen > count)
    throw new InputError(`config.json: "${chosenKey}" expected at most the ${count} experts, got ${chosen}`);
  if (count * blocks > MOST_EXPERTS)
    throw new InputError(
      `config.json: at most ${MOST_EXPERTS} experts expected in all blocks, got ${count * blocks}`,
    );
  const neurons = integer(config, field, kind.neurons);
  const experts = new Array<number>(count).fill(neurons);
  const times = shared?.times && integer(config, ...shared.times);
  const beside = shared && (shared.field ? integer(config, shared.field) : neurons * times!);
  const isNormalised =
    normalises === undefined ||
    (normalises !== 'never' && flag(config, normalises, kind.isNormalised ?? false));
  const isDense = kind.denseBlocks?.(config, blocks) ?? (() => false);
  return {
    mixture: (i, named) => {
      if (isDense(i)) return undefined;
      const at = (name: string) => named(`${module}.${name}`);
      const gated = (map: (label: Label) => Linear): Mlp => ({
        gate: kind.isPlain ? undefined : map('gate'),
        up: map('up'),
        down: map('down'),
        ...does,
      });
      const ofAll = shared && gated(sharedMap(named(shared.name), shared.maps ?? maps, hasBias));
      const gate = shared?.gate;
      return {
        router: linear(at(router), stacked?.byNeurons ?? false),
        expert: (e) =>
          gated((label) => {
            const own = linear(at(`experts.${e}.${maps[label]}`), hasBias);
            const of = { at, index: e, count, isPlain: kind.isPlain };
            return stacked ? stackedMap(own, label, stacked, of) : own;
          }),
        chosen,
        isNormalised,
        ...kind.routing?.(config, count, at),
        areSharesRead: kind.areSharesRead,
        shared: ofAll && { mlp: ofAll, gate: gate === undefined ? undefined : linear(named(gate), false) },
      };
    },
    sizesOf: (i) => (isDense(i) ? sizes : { ...sizes, ffn: beside ?? 0, experts }),
    fields: { experts: field, shared: shared && (shared.field ?? field), sharedTimes: times },
    since: stacked === STACKED.stacked ? SINCE_STACKED : undefined,
  };
}

/** As the tensors of these names have it. */
function kindOf(modelType: string, names: Iterable<string>): Kind {
  const kind = KINDS[modelType];
  if (kind.stacked) return kind;
  if (kind.isPlain)
    return [...names].some((name) => IS_STACKED_PLAIN.test(name))
      ? { ...kind, stacked: STACKED_PLAIN }
      : kind;
  for (const name of names) {
    if (!IS_STACKED.test(name)) continue;
    const { maps, shared } = kind;
    return { ...kind, ...STACKED, ...kind.later, shared: shared && { maps, ...shared } };
  }
  return kind;
}

/** Of what all tokens pass: `gate` and `up` are parts of one tensor where they have one name. */
function sharedMap(module: string, maps: Kind['maps'], hasBias: boolean) {
  return (label: Label) => {
    const isFused = label !== 'down' && maps.gate === maps.up;
    return linear(`${module}.${maps[label]}`, hasBias, isFused ? { label } : undefined);
  };
}

function stackedMap(
  map: Linear,
  label: Label,
  { wide, down, isTurned = false, byNeurons = false }: NonNullable<Kind['stacked']>,
  of: { at: (name: string) => string; index: number; count: number; isPlain?: boolean },
): Linear {
  const { at, index, count, isPlain } = of;
  const name = at(label === 'down' ? down : wide);
  return {
    ...map,
    bias: byNeurons,
    transposed: !isTurned,
    part: label === 'down' || isPlain ? undefined : { label, byHeads: byNeurons },
    stack: { weight: name, bias: byNeurons ? `${name}_bias` : undefined, index, count },
  };
}

const ernieRouting = (experts: number, module: string): Partial<Routing> => ({
  correction: { name: `${module}.e_score_correction_bias`, dims: [1, experts] },
});

/** As DeepSeek V2's experts are chosen. */
function greedyRouting(config: Config, experts: number): Partial<Routing> {
  if (flag(config, 'norm_topk_prob', false)) throw unsupported('deepseek_v2', 'norm_topk_prob');
  const method = text(config, 'topk_method', 'greedy');
  const scale = positive(config, 'routed_scaling_factor', 1);
  if (method === 'greedy') return { scale };
  if (method !== 'group_limited_greedy') throw unsupported('deepseek_v2', `topk_method "${method}"`);
  return { scale, groups: groupsIn(experts, integer(config, 'n_group'), integer(config, 'topk_group'), 1) };
}

/** As those of DeepSeek V3 and GLM-4.5 are. */
function sigmoidRouting(
  config: Config,
  experts: number,
  at: (name: string) => string,
  otherwise: { readonly groups: number; readonly chosen: number; readonly scale: number },
): Partial<Routing> {
  const groups = integer(config, 'n_group', otherwise.groups);
  const chosen = integer(config, 'topk_group', otherwise.chosen);
  return {
    areSigmoids: true,
    correction: { name: at('gate.e_score_correction_bias'), dims: [experts] },
    groups: groupsIn(experts, groups, chosen, 2),
    scale: positive(config, 'routed_scaling_factor', otherwise.scale),
  };
}

/** As those of LFM2 are. */
function liquidRouting(config: Config, experts: number, at: (name: string) => string): Partial<Routing> {
  const hasBias = flag(config, 'use_expert_bias', true);
  return {
    areSigmoids: true,
    correction: hasBias ? { name: at('expert_bias'), dims: [experts] } : undefined,
    addedToSum: 1e-6,
    scale: positive(config, 'routed_scaling_factor', 1),
  };
}

function groupsIn(experts: number, count: number, chosen: number, best: 1 | 2): Routing['groups'] {
  if (experts % count !== 0 || experts / count < best || chosen > count)
    throw new InputError(
      `config.json: "n_group" expected to divide the ${experts} experts into at least topk_group, ${chosen}, got ${count}`,
    );
  return count === chosen ? undefined : { count, chosen, best };
}

/** Blocks with an MLP for all tokens: those that a list names so, or the first. */
function blocksNamed(config: Config, blocks: number): (i: number) => boolean {
  const { mlp_layer_types: types } = config;
  if (types == null) {
    // Files of before have the number of the first ones.
    const first = integer(config, 'first_k_dense_replace', 1, 0);
    return (i) => i < first;
  }
  const isType = (type: unknown) => type === 'dense' || type === 'sparse';
  if (!Array.isArray(types) || types.length < blocks || !types.every(isType))
    throw new InputError(
      `config.json: "mlp_layer_types" expected "dense" or "sparse" for each of ${blocks} blocks, got ${JSON.stringify(types).slice(0, 200)}`,
    );
  return (i) => types[i] === 'dense';
}

/** So many at first. */
function firstBlocks(config: Config, field: string, otherwise?: number): (i: number) => boolean {
  const first = integer(config, field, otherwise, 0);
  return (i) => i < first;
}

/** Blocks of Llama 4 with experts: those that are named, or each behind so many others. */
export function blocksMixed(config: Config, blocks: number): readonly number[] {
  const named = config.moe_layers;
  if (Array.isArray(named)) return named;
  const step = integer(config, 'interleave_moe_layer_step', 1);
  return Array.from({ length: blocks }, (_, i) => i).filter((i) => (i + 1) % step === 0);
}

/** Blocks with an MLP for all tokens: those that are named, and of the others those between every so many. */
function blocksBetween(config: Config, blocks: number): (i: number) => boolean {
  const named = config.mlp_only_layers ?? [];
  const isBlock = (i: unknown) => Number.isInteger(i) && Number(i) >= 0 && Number(i) < blocks;
  if (!Array.isArray(named) || !named.every(isBlock))
    throw new InputError(
      `config.json: "mlp_only_layers" expected numbers of blocks below ${blocks}, got ${JSON.stringify(named).slice(0, 200)}`,
    );
  const step = integer(config, 'decoder_sparse_step', 1);
  return (i) => named.includes(i) || (i + 1) % step !== 0;
}
