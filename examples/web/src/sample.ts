// The model and the images that come with the page: a chunk of its own, loaded when it is asked for.

import model from '../../../test/fixtures/fashion-mobilenet.onnx?url';
import type { ChosenFile } from './images.ts';

/** By their paths, as data URLs: hundreds of files of half a kilobyte are better one. */
const images = import.meta.glob<string>('../../../test/fixtures/calib/*/*.png', {
  query: '?inline',
  import: 'default',
  eager: true,
});

export const SAMPLE_NAME = 'fashion-mobilenet.onnx';
/** What it was trained with. */
export const SAMPLE_PREPROCESSING = { mean: '0.2860', std: '0.3530' };

export async function sampleModel(): Promise<Blob> {
  const response = await fetch(model);
  if (!response.ok) throw new Error(`${SAMPLE_NAME}: the server answered ${response.status}`);
  return response.blob();
}

export function sampleImages(): ChosenFile[] {
  return Object.entries(images).map(([path, url]) => {
    const bytes = Uint8Array.from(atob(url.slice(url.indexOf(',') + 1)), (it) => it.charCodeAt(0));
    return { path: path.slice(path.indexOf('calib/')), file: new Blob([bytes], { type: 'image/png' }) };
  });
}
