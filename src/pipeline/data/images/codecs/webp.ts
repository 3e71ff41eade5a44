// libwebp.

import factory from '@jsquash/webp/codec/dec/webp_dec.js';
import deflated from '../../../../../build/webp_dec.wasm.deflate';
import { decoderOf } from '../codec.ts';

export default decoderOf({ factory, deflated, call: (decoder, bytes) => decoder.decode(bytes) });
