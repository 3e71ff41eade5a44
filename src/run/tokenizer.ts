// The tokenizer in a folder: tokenizer.json, or what transformers makes one of where a model is older than these.

import { type Folder, pathIn, readJson } from '../checkpoint/folder.ts';
import { InputError } from '../errors.ts';
import { isObject, said } from '../expect.ts';
import { checkJsonBytes, decodeUtf8 } from '../json.ts';
import { limits } from '../limits.ts';
import { unloaded } from '../unloaded.ts';
import { linesOf } from './lines.ts';
import { isFolder, type Place, readJsonAt } from './place.ts';
import type { Files } from './vocabularies.ts';

const TOKENIZER = 'tokenizer.json';
/** Says which special tokens are added. */
const CONFIG = 'tokenizer_config.json';
const SPECIAL = 'special_tokens_map.json';
const ADDED = 'added_tokens.json';

/** The contents of its two files. */
interface TokenizerFiles {
  readonly json: object;
  readonly config?: object;
}

/** @param text  that it is for, in messages */
export async function readTokenizer(text: string, place: Place | undefined): Promise<TokenizerFiles> {
  if (place === undefined) {
    throw new InputError(
      `"${text}": text needs a tokenizer; give a folder with tokenizer.json (\`tokenizer\`)`,
    );
  }
  if (!(await isFolder(place))) {
    const json = await readJsonAt(place, limits.tokenizerBytes);
    if (isObject(json.model)) return { json };
    throw new InputError(`"${place.path}": a tokenizer has a "model", and there is none; give ${TOKENIZER}`);
  }
  // As a model's folder: it may have come from a stranger, with links and pipes in it.
  const folder = await place.openFolder();
  try {
    const files = new Set(await folder.list());
    const optional = async (file: string) =>
      files.has(file) ? await readJson(folder, file, limits.jsonBytes) : undefined;
    const config = await optional(CONFIG);
    if (files.has(TOKENIZER))
      return { json: await readJson(folder, TOKENIZER, limits.tokenizerBytes), config };
    const { KINDS, made, WITHOUT_JSON } = await import('./vocabularies.ts').catch(
      unloaded('what reads vocabularies'),
    );
    const named = config?.tokenizer_class ?? (await optional('config.json'))?.model_type;
    const kind = KINDS.get(String(named).replace(/Fast$/, ''));
    const isThere = kind?.files.every((file) => files.has(file));
    if (!isThere && WITHOUT_JSON.test(String(named)))
      throw new InputError(
        `"${place.path}": there is no ${TOKENIZER} in it, nor ${kind!.files.join(' and ')}, and transformers writes none for ${said(named)}; add those, give the ${TOKENIZER} of a conversion of this model for transformers.js with \`tokenizer\`, or token ids (.npy)`,
      );
    if (!kind || !isThere)
      throw new InputError(
        `"${place.path}": there is no ${TOKENIZER} in it; name one with \`tokenizer\`, give token ids (.npy), or have transformers write it: ` +
          `python -c "import sys, transformers as t; t.AutoTokenizer.from_pretrained(sys.argv[1]).save_pretrained(sys.argv[1])" FOLDER`,
      );
    const given = { ...(await optional(SPECIAL)), ...config };
    const json = await made(kind, filesOf(folder), given, (await optional(ADDED)) ?? {});
    return { json, config };
  } finally {
    await folder.close();
  }
}

function filesOf(folder: Folder): Files {
  const path = (file: string) => pathIn(folder, file);
  const bytes = async (file: string) => {
    const size = await folder.size(file);
    checkJsonBytes(size, limits.tokenizerBytes, path(file));
    return folder.read(file, 0, size);
  };
  return {
    name: folder.name,
    path,
    bytes,
    lines: async (file) => [...linesOf(decodeUtf8(await bytes(file), `"${path(file)}"`), path(file))],
    json: (file) => readJson(folder, file, limits.tokenizerBytes),
  };
}
