// Names of huggingface.co where files are meant to be: nothing is downloaded from there by its name.

import { InputError } from '../errors.ts';
import type { Place } from './place.ts';

/** Who has published it, and its name. */
const NAME = '([\\w-]+/([\\w.-]+))';
const BARE = new RegExp(`^()${NAME}$`);
/** Of the page, not of a file. */
const ADDRESS = new RegExp(
  `^(?:hf://|(?:https?://)?(?:www[.])?huggingface[.]co/)(datasets/)?${NAME}(?:/tree/main)?/?$`,
);

/**
 * @param isOfModel  whether it may be the name alone, without the address
 * @param place  what there is of that path, where it is no address
 * @throws {InputError} saying how it is downloaded
 */
export async function refuseHubName(
  path: string,
  isOfModel: boolean,
  place: Place | undefined,
): Promise<void> {
  const isBare = isOfModel && !/\.(onnx|json)$/i.test(path);
  const [, isData, full, name] = ADDRESS.exec(path) ?? (isBare ? BARE.exec(path) : undefined) ?? [];
  if (full === undefined || (await place?.kind()) !== undefined) return;
  // A folder that is there has lost a file of this name.
  if ((await place?.parent().kind()) !== undefined) return;
  const ofData = isData ? ' --repo-type dataset' : '';
  throw new InputError(
    `"${path}": no such file or folder; nothing is downloaded from huggingface.co: first hf download ${full} --local-dir ${name}${ofData}`,
  );
}
