// libavif with libaom, which reduces what has 10 or 12 bits to 8.

import factory from '@jsquash/avif/codec/dec/avif_dec.js';
import deflated from '../../../../../build/avif_dec.wasm.deflate';
import { decoderOf } from '../codec.ts';

const BITS = 8;

export default decoderOf({ factory, deflated, call: (decoder, bytes) => decoder.decode(bytes, BITS) });
