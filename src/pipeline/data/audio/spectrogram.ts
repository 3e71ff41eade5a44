// Log-mel spectrograms, which Whisper and its relatives hear by: what transformers' WhisperFeatureExtractor makes of a waveform
// (Radford et al. 2022, arXiv 2212.04356, section 2.2; the mel scale is that of Slaney's Auditory Toolbox). And Kaldi's filter banks, by which AST does, as
// ASTFeatureExtractor makes them. Loaded with waveforms.ts.

import type { Spectrogram } from '../images/preprocessing.ts';

/** Above it there is no filter, whatever the rate. */
const HIGHEST = 8000;
/** Powers below it are taken for it. */
const LEAST = 1e-10;
/** What is kept below the loudest value, in powers of ten. */
const RANGE = 8;

/** Makes the spectrogram of a waveform of a length: bins × length / hop values. */
export function spectrogramOf(
  { melBins, fftSize, hopLength }: Spectrogram,
  samplingRate: number,
): (waveform: Float32Array) => Float32Array {
  const hann = hannOf(fftSize, fftSize);
  const energies = energiesOf(fftSize, slaneyFilters(melBins, fftSize, samplingRate));
  return (waveform) => {
    const frames = Math.floor(waveform.length / hopLength);
    const out = new Float32Array(melBins * frames).fill(Math.log10(LEAST));
    /** Around the middle of a frame, mirrored at both ends of the waveform. */
    const cut = (frame: number, into: Float64Array) => {
      const first = frame * hopLength - fftSize / 2;
      for (let i = 0; i < fftSize; i++) into[i] = hann[i] * waveform[mirrored(first + i, waveform.length)];
    };
    energies(frames, cut, (frame, bin, energy) => {
      out[bin * frames + frame] = Math.log10(Math.max(LEAST, energy));
    });
    const loudest = out.reduce((most, value) => Math.max(most, value), Math.log10(LEAST));
    return out.map((value) => (Math.max(value, loudest - RANGE) + 4) / 4);
  };
}

/** Of Kaldi's: how much of the sample before is taken off, the lowest frequency, and the least energy. */
const [EMPHASIS, LOWEST, FLOOR] = [0.97, 20, 2 ** -23];

/** Makes Kaldi's filter banks of a waveform: frames × bins values, with frames behind those that it fills. */
export function filterBanksOf(
  { melBins, fftSize, hopLength }: Spectrogram,
  { frameLength, mean, std }: NonNullable<Spectrogram['kaldi']>,
  samplingRate: number,
): (waveform: Float32Array, frames: number) => Float32Array {
  const hann = hannOf(frameLength, frameLength - 1);
  const energies = energiesOf(fftSize, kaldiFilters(melBins, fftSize, samplingRate));
  const scaled = (value: number) => (value - mean) / (2 * std);
  return (waveform, frames) => {
    const out = new Float32Array(frames * melBins).fill(scaled(0));
    const filled = Math.max(0, Math.min(frames, 1 + Math.floor((waveform.length - frameLength) / hopLength)));
    const cut = (frame: number, into: Float64Array) => {
      const own = waveform.subarray(frame * hopLength, frame * hopLength + frameLength);
      const middle = own.reduce((sum, x) => sum + x, 0) / frameLength;
      for (let i = 0; i < frameLength; i++)
        into[i] = hann[i] * (own[i] - middle - EMPHASIS * (own[Math.max(0, i - 1)] - middle));
    };
    energies(filled, cut, (frame, bin, energy) => {
      out[frame * melBins + bin] = scaled(Math.log(Math.max(FLOOR, energy)));
    });
    return out;
  };
}

const hannOf = (length: number, period: number) =>
  Float64Array.from({ length }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / period));

/**
 * What filters let through of frames. Frames without a value above 0 are passed over: they have no energy.
 *
 * @returns a function of frames, what puts one into place, and what takes an energy
 */
function energiesOf(fftSize: number, filters: readonly Filter[]) {
  const transform = fourierOf(fftSize);
  const half = fftSize / 2 + 1;
  return (
    frames: number,
    cut: (frame: number, into: Float64Array) => void,
    put: (frame: number, bin: number, energy: number) => void,
  ) => {
    const [re, im] = [new Float64Array(fftSize), new Float64Array(fftSize)];
    const powers = new Float64Array(half);
    const isSilent = (frame: number, into: Float64Array) => {
      if (frame < frames) cut(frame, into);
      else into.fill(0);
      return into.every((value) => value === 0);
    };
    // Two at a time, one as the real and one as the imaginary part: what the one is stands in what is even of their transform.
    for (let frame = 0; frame < frames; frame += 2) {
      const areSilent = [isSilent(frame, re), isSilent(frame + 1, im)];
      if (areSilent.every(Boolean)) continue;
      const [x, y] = transform(re, im);
      for (const [i, [a, b]] of [[x, y] as const, [y, x] as const].entries()) {
        if (frame + i >= frames) break;
        for (let k = 0; k < half; k++) {
          const other = (fftSize - k) % fftSize;
          powers[k] = ((a[k] + a[other]) ** 2 + (b[k] - b[other]) ** 2) / 4;
        }
        for (const [bin, { first, weights }] of filters.entries()) {
          let sum = 0;
          for (let j = 0; j < weights.length; j++) sum += weights[j] * powers[first + j];
          put(frame + i, bin, sum);
        }
      }
    }
  };
}

/** The ends themselves are not said twice. */
function mirrored(at: number, length: number): number {
  const period = Math.max(1, 2 * (length - 1));
  const within = ((at % period) + period) % period;
  return within < length ? within : period - within;
}

/** A triangle over neighbouring frequencies. */
interface Filter {
  readonly first: number;
  readonly weights: Float64Array;
}

/** Linear below 1000 Hz, logarithmic above; the area of each filter is the same. */
function slaneyFilters(bins: number, fftSize: number, samplingRate: number): Filter[] {
  const [knee, step] = [15, 27 / Math.log(6.4)];
  const melOf = (hz: number) => (hz < 1000 ? (3 * hz) / 200 : knee + Math.log(hz / 1000) * step);
  const hzOf = (mel: number) => (mel < knee ? (200 * mel) / 3 : 1000 * Math.exp((mel - knee) / step));
  const corners = Array.from({ length: bins + 2 }, (_, i) => hzOf((melOf(HIGHEST) * i) / (bins + 1)));
  const frequencies = Array.from({ length: fftSize / 2 + 1 }, (_, k) => (k * samplingRate) / fftSize);
  return triangles(corners, frequencies, (width) => 2 / width);
}

/** Logarithmic, and triangles are so on that scale. */
function kaldiFilters(bins: number, fftSize: number, samplingRate: number): Filter[] {
  const melOf = (hz: number) => 1127 * Math.log(1 + hz / 700);
  const [low, high] = [LOWEST, samplingRate / 2].map(melOf);
  const corners = Array.from({ length: bins + 2 }, (_, i) => low + ((high - low) * i) / (bins + 1));
  const mels = Array.from({ length: fftSize / 2 + 1 }, (_, k) => melOf((k * samplingRate) / fftSize));
  return triangles(corners, mels, () => 1);
}

/** @param places  of frequencies, on the scale of the corners; @param height  of a triangle of a width */
function triangles(
  corners: readonly number[],
  places: readonly number[],
  height: (width: number) => number,
): Filter[] {
  return Array.from({ length: corners.length - 2 }, (_, bin) => {
    const [low, middle, high] = corners.slice(bin, bin + 3);
    const inside = places.filter((place) => place > low && place < high);
    const rise = (place: number) =>
      Math.min((place - low) / (middle - low), (high - place) / (high - middle));
    return {
      first: places.findIndex((place) => place > low),
      weights: Float64Array.from(inside, (place) => rise(place) * height(high - low)),
    };
  });
}

/** The prime factors of a number, the smallest first. */
function factorsOf(n: number): number[] {
  const factors: number[] = [];
  for (let p = 2; n > 1; p++) for (; n % p === 0; n /= p) factors.push(p);
  return factors;
}

type Complex = readonly [re: Float64Array, im: Float64Array];

/**
 * The discrete Fourier transform of a length (Stockham's order: Van Loan, Computational Frameworks for the Fast Fourier Transform,
 * 1992, section 1.7). What it gives is its own until it is called again.
 */
function fourierOf(n: number): (re: Float64Array, im: Float64Array) => Complex {
  const factors = factorsOf(n);
  const angle = (t: number) => (-2 * Math.PI * t) / n;
  const cos = Float64Array.from({ length: n }, (_, t) => Math.cos(angle(t)));
  const sin = Float64Array.from({ length: n }, (_, t) => Math.sin(angle(t)));
  const spare = Array.from({ length: 2 }, (): Complex => [new Float64Array(n), new Float64Array(n)]);
  return (re, im) => {
    let from: Complex = [re, im];
    let done = 1;
    for (const [stage, p] of factors.entries()) {
      const to = spare[stage % 2];
      const left = n / (done * p);
      for (let k = 0; k < left; k++) {
        for (let j = 0; j < done * p; j++) {
          // Of the transforms of `done` values, p make one of `done * p`.
          let [x, y] = [0, 0];
          for (let r = 0; r < p; r++) {
            const at = (j % done) + done * (k + left * r);
            const t = (r * j * left) % n;
            x += from[0][at] * cos[t] - from[1][at] * sin[t];
            y += from[0][at] * sin[t] + from[1][at] * cos[t];
          }
          to[0][j + done * p * k] = x;
          to[1][j + done * p * k] = y;
        }
      }
      from = to;
      done *= p;
    }
    return from;
  };
}
