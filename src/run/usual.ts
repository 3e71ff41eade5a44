// Preprocessing that a model may have been trained with, where that which was given does less well on a few labelled images. It is
// told, never taken: what is best on a few may be luck, and whoever has trained the model knows.

import { elements } from '../graph/index.ts';
import {
  type Dataset,
  evaluate,
  type Metric,
  ofChannel,
  type Preprocessing,
  spreadSamples,
} from '../pipeline/index.ts';
import type { ModelInPlace } from './open.ts';
import { isFolder, type Place } from './place.ts';

type Units = Pick<Preprocessing, 'scale' | 'mean' | 'std'>;

/** 0…1, −1…1, torchvision's, 0…255, Keras' for MobileNet and for those from Caffe. */
const COLOUR: readonly Units[] = [
  { scale: 255, mean: [0], std: [1] },
  { scale: 255, mean: [0.5], std: [0.5] },
  { scale: 255, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] },
  { scale: 1, mean: [0], std: [1] },
  { scale: 1, mean: [103.939, 116.779, 123.68], std: [1] },
];
/** 0…1, −1…1, MNIST's, Fashion-MNIST's, 0…255. */
const GRAY: readonly Units[] = [
  { scale: 255, mean: [0], std: [1] },
  { scale: 255, mean: [0.5], std: [0.5] },
  { scale: 255, mean: [0.1307], std: [0.3081] },
  { scale: 255, mean: [0.286], std: [0.353] },
  { scale: 1, mean: [0], std: [1] },
];

/** Images that are looked at, fewer of models whose passes take long: so many multiply-adds for each way. */
const MOST_IMAGES = 64;
const FEWEST_IMAGES = 16;
const MOST_MACS = 2e10;
/** Of a model that does as well as that nothing is asked. */
const GOOD = 0.9;
/** Standard errors between two accuracies that are no luck, of up to nine that are compared. */
const APART = 3;

/** What does better, and how much. */
export interface Better {
  /** Of the flags that say so. */
  readonly flags: string;
  readonly given: Metric;
  readonly accuracy: number;
}

/** The same, where the data are a folder of images: arrays are inputs as they are. */
export async function lookAtUnits(
  found: ModelInPlace,
  data: Place | undefined,
  samples: Dataset,
  signal?: AbortSignal,
): Promise<Better | undefined> {
  return data && (await isFolder(data)) ? betterPreprocessing(found, samples, signal) : undefined;
}

/**
 * @param samples  images as `preprocessing` says
 * @returns nothing where none does better, there are no labels, or the model's file says how its inputs are made
 */
export async function betterPreprocessing(
  { model, engine, preprocessing, isRemembered }: ModelInPlace,
  samples: Dataset,
  signal?: AbortSignal,
): Promise<Better | undefined> {
  if (!preprocessing || isRemembered || samples.shape.length !== 3) return undefined;
  const some = worthALook(samples, 'macs' in model ? model.macs : undefined);
  if (!(await arePixels(some, preprocessing))) return undefined;
  const look = (other: Preprocessing) =>
    evaluate(model, other === preprocessing ? some : madeAnew(some, preprocessing, other), {
      engine,
      signal,
    });
  const given = await look(preprocessing);
  if (given?.name !== 'accuracy' || given.value >= GOOD) return undefined;
  let best = { preprocessing, accuracy: given.value };
  const tryOther = async (other: Preprocessing) => {
    const { value: accuracy } = (await look(other))!;
    if (accuracy > best.accuracy) best = { preprocessing: other, accuracy };
  };
  const isColour = channelsOf(samples, preprocessing) === 3;
  for (const units of isColour ? COLOUR : GRAY) await tryOther({ ...preprocessing, ...units });
  if (isColour) {
    for (const it of new Set([preprocessing, best.preprocessing])) await tryOther(reversed(it));
  }
  const { accuracy } = best;
  const spreadOf = (p: number) => (p * (1 - p)) / given.samples;
  if (accuracy - given.value <= APART * Math.sqrt(spreadOf(given.value) + spreadOf(accuracy)))
    return undefined;
  return { flags: flagsOf(best.preprocessing, preprocessing), given, accuracy };
}

/** In one line, behind what is wrong. */
export const betterText = ({ flags, given, accuracy }: Better): string =>
  `on ${given.samples} of the images accuracy is ${given.value.toFixed(3)}, with ${flags} ${accuracy.toFixed(3)}`;

/** As many as a look is worth, from all over the samples: they are often sorted by class. */
function worthALook(samples: Dataset, macs = MOST_MACS / FEWEST_IMAGES): Dataset {
  return spreadSamples(samples, Math.max(FEWEST_IMAGES, Math.min(MOST_IMAGES, Math.floor(MOST_MACS / macs))));
}

const channelsOf = ({ shape }: Dataset, { layout }: Preprocessing) => shape[layout === 'nchw' ? 0 : 2];

const reversed = (it: Preprocessing): Preprocessing => ({ ...it, color: it.color === 'bgr' ? 'rgb' : 'bgr' });

/** What a value of an input, in place `i`, is of: its channel, and how far it is from one channel to the next. */
function pixelsOf(samples: Dataset, dims: readonly number[] | undefined, p: Preprocessing) {
  const channels = channelsOf(samples, p);
  const values = elements(dims ?? samples.shape);
  const stride = p.layout === 'nchw' ? values / channels : 1;
  const pixel = (x: number, c: number) => p.scale * (ofChannel(p.std, c) * x + ofChannel(p.mean, c));
  return { channels, stride, channelOf: (i: number) => Math.floor(i / stride) % channels, pixel };
}

/** Rounding of float32, of means in 0…255. */
const ROUNDING = 0.01;

/** Whether inputs are of whole numbers in 0…255: a folder may hold arrays, to which no preprocessing applies. */
async function arePixels(samples: Dataset, from: Preprocessing): Promise<boolean> {
  for await (const { inputs, dims } of samples.batches(1)) {
    const { channelOf, pixel } = pixelsOf(samples, dims, from);
    return inputs.every((x, i) => {
      const value = pixel(x, channelOf(i));
      return Math.abs(value - Math.min(255, Math.max(0, Math.round(value)))) < ROUNDING;
    });
  }
  return false;
}

/** Images as other preprocessing makes them, from what the first has made: both are affine in the pixels of a channel. */
function madeAnew(samples: Dataset, from: Preprocessing, to: Preprocessing): Dataset {
  const isReversed = (from.color === 'bgr') !== (to.color === 'bgr');
  return {
    ...samples,
    async *batches(batchSize) {
      for await (const batch of samples.batches(batchSize)) {
        const { channels, stride, channelOf, pixel } = pixelsOf(samples, batch.dims, from);
        const inputs = batch.inputs.map((_, i) => {
          const c = channelOf(i);
          const source = isReversed ? channels - 1 - c : c;
          const value = pixel(batch.inputs[i + (source - c) * stride], source);
          return (value / to.scale - ofChannel(to.mean, c)) / ofChannel(to.std, c);
        });
        yield { ...batch, inputs };
      }
    },
  };
}

/** The flags that are to be given instead. */
function flagsOf(to: Preprocessing, from: Preprocessing): string {
  const scale = to.scale === from.scale ? [] : [`\`scale: ${to.scale}\``];
  const color = to.color === from.color ? [] : [`\`color: ${to.color}\``];
  return [...scale, `\`mean: ${to.mean}\``, `\`std: ${to.std}\``, ...color].join(' ');
}
