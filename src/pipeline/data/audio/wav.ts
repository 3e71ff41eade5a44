// WAV files: what their header says, and their samples as one channel.
//
// http://soundfile.sapp.org/doc/WaveFormat, https://learn.microsoft.com/windows/win32/api/mmreg/ns-mmreg-waveformatextensible

import { nameAt, viewOf } from '../images/frame.ts';

/** What a file is, where its samples are, and how each is stored. */
export interface Wav {
  /** Samples a second. */
  readonly rate: number;
  readonly channels: number;
  /** Samples of each channel. */
  readonly length: number;
  readonly data: Uint8Array;
  readonly sample: Sample;
}

/** A kind of sample: its bytes, and the number that those at a place are. */
interface Sample {
  readonly bytes: number;
  read(view: DataView, at: number): number;
}

/** By format and bits, as libsndfile makes floats of them: the least integer is -1. */
const SAMPLES: Readonly<Record<string, Sample>> = {
  '1,8': { bytes: 1, read: (view, at) => (view.getUint8(at) - 128) / 128 },
  '1,16': { bytes: 2, read: (view, at) => view.getInt16(at, true) / 2 ** 15 },
  '1,24': {
    bytes: 3,
    read: (view, at) => (view.getUint16(at, true) + view.getInt8(at + 2) * 65536) / 2 ** 23,
  },
  '1,32': { bytes: 4, read: (view, at) => view.getInt32(at, true) / 2 ** 31 },
  '3,32': { bytes: 4, read: (view, at) => view.getFloat32(at, true) },
  '3,64': { bytes: 8, read: (view, at) => view.getFloat64(at, true) },
};

const EXTENSIBLE = 0xfffe;
/** Others that files are in, for messages. */
const CODECS: Readonly<Record<number, string>> = {
  2: 'ADPCM',
  6: 'A-law',
  7: 'µ-law',
  17: 'ADPCM',
  85: 'MP3',
};

/** What is written in the place of the data's length where nobody knew it: by ffmpeg 2³² - 1, by sox and espeak from here on. */
const UNKNOWN_LENGTH = 0x7ffff000;

export const isWav = (bytes: Uint8Array) => nameAt(bytes, 0) === 'RIFF' && nameAt(bytes, 8) === 'WAVE';

/** What is called so and is something else, by how it begins. */
const OTHERS: readonly (readonly [begins: RegExp, what: string])[] = [
  [/^(ID3|\xff[\xe2-\xff])/, 'an MP3; convert it'],
  [/^fLaC/, 'a FLAC file; convert it'],
  [/^OggS/, 'an Ogg file; convert it'],
  [/^.{4}ftyp/s, 'an MP4 or M4A file; convert it'],
  [/^FORM/, 'an AIFF file; convert it'],
  [/^(RF64|BW64)/, 'one for more than 4 GB (RF64); cut it into parts'],
  [/^RIFX/, 'one of the other byte order (RIFX); convert it'],
];

export const otherAudio = (bytes: Uint8Array): string =>
  OTHERS.find(([begins]) => begins.test(nameAt(bytes, 0) + nameAt(bytes, 4)))?.[1] ?? 'something else';

/** @throws {Error} saying what is wrong with it */
export function readWav(bytes: Uint8Array): Wav {
  const view = viewOf(bytes);
  let format: Omit<Wav, 'data' | 'length'> | undefined;
  for (let at = 12; at + 8 <= bytes.length; ) {
    const [name, stated] = [nameAt(bytes, at), view.getUint32(at + 4, true)];
    const left = bytes.length - at - 8;
    if (name === 'fmt ') format = formatAt(view, at + 8, Math.min(stated, left));
    if (name === 'data') {
      if (!format) throw new Error('its data come before what they are');
      if (stated > left && stated < UNKNOWN_LENGTH)
        throw new Error(`it is truncated: ${left} of ${stated} bytes of audio are there`);
      const frame = format.channels * format.sample.bytes;
      const length = Math.floor(Math.min(stated, left) / frame);
      if (length === 0) throw new Error('there are no samples in it');
      return { ...format, length, data: bytes.subarray(at + 8, at + 8 + length * frame) };
    }
    at += 8 + stated + (stated & 1);
  }
  throw new Error(format ? 'it is truncated before its audio' : 'it is damaged');
}

function formatAt(view: DataView, at: number, size: number): Omit<Wav, 'data' | 'length'> {
  if (size < 16) throw new Error('it is truncated in its header');
  const tag = view.getUint16(at, true);
  const isExtended = tag === EXTENSIBLE && size >= 26;
  const codec = isExtended ? view.getUint16(at + 24, true) : tag;
  const [channels, rate] = [view.getUint16(at + 2, true), view.getUint32(at + 4, true)];
  const [frame, bits] = [view.getUint16(at + 12, true), view.getUint16(at + 14, true)];
  const kind = `${codec},${bits}`;
  const sample = Object.hasOwn(SAMPLES, kind) ? SAMPLES[kind] : undefined;
  if (!sample)
    throw new Error(
      `it is ${CODECS[codec] ?? `of format ${codec}`} of ${bits} bits, and PCM of 8, 16, 24 or 32 and floats of 32 or 64 are read; convert it`,
    );
  if (channels === 0 || rate === 0) throw new Error(`it has ${channels} channels of ${rate} Hz`);
  if (frame !== channels * sample.bytes)
    throw new Error(`it has ${frame} bytes for ${channels} samples of ${bits} bits`);
  return { rate, channels, sample };
}

/** The mean of the channels, of so many samples from one on; what the file has no more of is left out. */
export function samplesOf(
  { data, channels, length, sample }: Wav,
  first: number,
  count: number,
): Float32Array {
  const view = viewOf(data);
  const out = new Float32Array(Math.min(count, length - first));
  for (let i = 0; i < out.length; i++) {
    let sum = 0;
    for (let c = 0; c < channels; c++) sum += sample.read(view, ((first + i) * channels + c) * sample.bytes);
    out[i] = sum / channels;
  }
  return out;
}
