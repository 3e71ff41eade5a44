// A language model pruned on one thread, its activations in files and what is found in a run store: the same in Node and
// in a worker of a page.

const FILES = ['config.json', 'model.safetensors', 'tokenizer.json'];

export async function pruneFixtureLanguage(osscar, read, scratch, store, { keep }) {
  const files = await Promise.all(FILES.map(async (name) => [name, await read(`opt-kjv/${name}`)]));
  const text = new TextDecoder().decode(await read('text/kjv-train.txt')).slice(0, 20_000);
  const encode = osscar.openTokenizer(JSON.parse(new TextDecoder().decode(files[2][1])));
  const session = await osscar.openSession({ threads: 1, simd: 'baseline' });
  let opened = 0;
  const run = async () => {
    const output = osscar.memoryOutput();
    const { report } = await osscar.prune(await osscar.openLanguageModel(osscar.blobFolder(files)), {
      engine: await osscar.openEngine({ threads: 1 }),
      session,
      calibration: osscar.tokenWindows(encode(text), { samples: 4, seqlen: 32 }),
      keep,
      target: 'residual',
      search: 'greedy',
      activationBytes: 0,
      scratch: () => {
        opened++;
        return scratch();
      },
      store,
      output,
    });
    const weights = await output.files().get('model.safetensors').arrayBuffer();
    const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', weights));
    return {
      kept: report.layers.map((layer) => [...layer.kept]),
      sha256: Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join(''),
    };
  };
  const [first, again] = [await run(), await run()];
  await session.close();
  return { ...first, again: again.sha256, files: opened, found: await store.list() };
}
