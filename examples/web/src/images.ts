// Which of the files that somebody chose are images, of what classes, and which of them a run calibrates with.

import { drawEvenly, type ImageEntry } from 'osscar-wasm/model';

/** A file and the path that the browser gives of it: within a folder that was chosen, else its name. */
export interface ChosenFile {
  readonly path: string;
  readonly file: Blob;
}

/** Images of classes, or of none. */
export interface Chosen {
  readonly entries: readonly ImageEntry[];
  /** Names of the labels, where there are any. */
  readonly classes?: string[];
  /** Of other kinds. */
  readonly ignored: number;
}

const IMAGE = /\.(png|jpe?g|webp|avif)$/i;
export const SEED = 0;

/**
 * The sub-folders of a folder in sorted order are the classes, as for the command.
 * @throws where no file is an image
 */
export function imagesOf(files: readonly ChosenFile[]): Chosen {
  const images = files.filter(({ path }) => IMAGE.test(path)).sort((a, b) => (a.path < b.path ? -1 : 1));
  if (images.length === 0)
    throw new Error(
      'No image is among the files chosen: PNG, JPEG, WebP and AVIF are read, by the endings of their names.',
    );
  const folders = images.map(({ path }) => /^[^/]+\/([^/]+)\//.exec(path)?.[1]);
  const classes = [...new Set(folders.filter((it) => it !== undefined))].sort();
  const isLabelled = classes.length > 1 && !folders.includes(undefined);
  return {
    entries: images.map(({ path, file }, i) => ({
      name: path,
      ...(isLabelled && { label: classes.indexOf(folders[i]!) }),
      read: async () => new Uint8Array(await file.arrayBuffer()),
    })),
    ...(isLabelled && { classes }),
    ignored: files.length - images.length,
  };
}

/** So many entries, even over the classes, and the others. */
export function divide(
  entries: readonly ImageEntry[],
  most: number,
): { drawn: ImageEntry[]; others: ImageEntry[] } {
  const labels = entries.map(({ label }) => label);
  const chosen = new Set(drawEvenly(labels, most, SEED));
  return {
    drawn: entries.filter((_, i) => chosen.has(i)),
    others: entries.filter((_, i) => !chosen.has(i)),
  };
}
