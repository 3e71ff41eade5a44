// libjpeg-turbo's code. Of 250 ImageNet files all are equal to those of `djpeg`.

import factory from '@jsquash/jpeg/codec/dec/mozjpeg_dec.js';
import deflated from '../../../../../build/mozjpeg_dec.wasm.deflate';
import { decoderOf } from '../codec.ts';

export default decoderOf({
  factory,
  deflated,
  call: (decoder, bytes) => decoder.decode(bytes, false),
  // Padding between the segments.
  harmless: /extraneous bytes? before marker/,
});
