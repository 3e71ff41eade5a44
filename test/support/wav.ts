/** A chunk of a RIFF file, with the byte that pads odd ones. */
export function chunk(name: string, data: Uint8Array, stated = data.length): Buffer {
  const head = Buffer.alloc(8);
  head.write(name, 'latin1');
  head.writeUInt32LE(stated, 4);
  return Buffer.concat([head, data, new Uint8Array(data.length & 1)]);
}

export const riff = (...chunks: readonly Uint8Array[]) =>
  new Uint8Array(chunk('RIFF', Buffer.concat([Buffer.from('WAVE'), ...chunks])));

interface Format {
  readonly tag?: number;
  readonly channels?: number;
  readonly rate?: number;
  readonly bits?: number;
  /** Bytes of a sample of all channels. */
  readonly frame?: number;
}

/** What a WAV file says of its samples: PCM of one channel and 16 bits at 16,000 Hz, where nothing else is given. */
export function fmt({ tag = 1, channels = 1, rate = 16000, bits = 16, frame }: Format = {}): Buffer {
  const data = Buffer.alloc(16);
  data.writeUInt16LE(tag);
  data.writeUInt16LE(channels, 2);
  data.writeUInt32LE(rate, 4);
  data.writeUInt16LE(frame ?? (channels * bits) / 8, 12);
  data.writeUInt16LE(bits, 14);
  return chunk('fmt ', data);
}

/** Whole numbers of 16 bits, channels interleaved. */
export function wav(samples: readonly number[] | Int16Array, of: Format = {}): Uint8Array<ArrayBuffer> {
  return riff(
    fmt(of),
    chunk('data', new Uint8Array(Int16Array.from(samples).buffer)),
  ) as Uint8Array<ArrayBuffer>;
}
