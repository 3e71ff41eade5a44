import { mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import { FormatError, TimeLimitError } from '../../src/errors.ts';
import { openGuard } from '../../src/guard/index.ts';
import { openTokenizer } from '../../src/pipeline/index.ts';
import { fixture, osscar, osscarUnder, PROGRESS, refused, temporaryFolder } from '../cli/osscar.ts';
import { endless, TEXT, whole } from './tokenizer.ts';

const folder = temporaryFolder();

const workerUrl = new URL('../../dist/guard.js', import.meta.url);

describe('a malformed tokenizer is a FormatError that names the field:', () => {
  const model = { ...whole.model };
  const template = (single: unknown) => ({ post_processor: { type: 'TemplateProcessing', single } });
  const split = (pattern: unknown) => behaving('Isolated', pattern);
  const behaving = (behavior: string, pattern: unknown) => ({
    pre_tokenizer: { type: 'Split', pattern, behavior },
  });
  const special = (id: string) => ({ SpecialToken: { id, type_id: 0 } });
  const text = { Sequence: { id: 'A', type_id: 0 } };
  test.each([
    ['a template that is an object', template({}), 'post_processor.single'],
    ['a template of numbers', template([3]), 'post_processor.single'],
    ['no template', template(undefined), 'post_processor.single'],
    ['ids that are strings', { model: { ...model, vocab: { ...model.vocab, a: '7' } } }, 'model.vocab'],
    ['ids that are halves', { model: { ...model, vocab: { ...model.vocab, a: 7.5 } } }, 'model.vocab'],
    ['ids beyond 2²⁴', { model: { ...model, vocab: { ...model.vocab, a: 2 ** 32 } } }, 'model.vocab'],
    ['a vocabulary that is a list', { model: { ...model, vocab: [1, 2] } }, 'model.vocab'],
    ['merges that are no pairs', { model: { ...model, merges: [['a', 'b', 'c']] } }, 'model.merges'],
    ['merges that are missing', { model: { ...model, merges: undefined } }, 'model.merges'],
    ['added tokens without ids', { added_tokens: [{ content: 'x' }] }, 'added_tokens'],
    ['added tokens without content', { added_tokens: [{ id: 1, content: '' }] }, 'added_tokens'],
    ['a pattern that is a string', split('a'), 'pre_tokenizer.pattern'],
    ['a pattern that is a number', split({ Regex: 5 }), 'pre_tokenizer.pattern'],
    ['pieces of no length', { pre_tokenizer: { type: 'FixedLength', length: 0 } }, 'pre_tokenizer.length'],
    [
      'parts that are no list',
      { normalizer: { type: 'Sequence', normalizers: {} } },
      'normalizer.normalizers',
    ],
    [
      'a part without a type',
      { normalizer: { type: 'Sequence', normalizers: [{}] } },
      'normalizer.normalizers[0]',
    ],
    ['a part that is a string', { normalizer: 'NFC' }, 'normalizer'],
    [
      'an id that two tokens have',
      { model: { ...model, vocab: { ...model.vocab, a: 7, b: 7 } } },
      'model.vocab',
    ],
    ['merges of three', { model: { ...model, merges: ['t h e'] } }, 'model.merges[0]'],
    ['merges of what is no token', { model: { ...model, merges: [['t', 'zz']] } }, 'model.merges[0]'],
    ['merges into what is no token', { model: { ...model, merges: [['z', 'q']] } }, 'model.merges[0]'],
    [
      'merges that go on with a prefix',
      { model: { ...model, continuing_subword_prefix: '##' } },
      'model.continuing_subword_prefix',
    ],
    [
      'words that go on with nothing',
      { model: { ...model, type: 'WordPiece', merges: undefined, continuing_subword_prefix: undefined } },
      'model.continuing_subword_prefix',
    ],
    [
      'words of no number of characters',
      {
        model: {
          ...model,
          type: 'WordPiece',
          merges: undefined,
          continuing_subword_prefix: '##',
          max_input_chars_per_word: 'x',
        },
      },
      'model.max_input_chars_per_word',
    ],
    ['one token with two ids', { added_tokens: [{ id: 77, content: '</s>' }] }, 'added_tokens'],
    ['nothing to put in front', { normalizer: { type: 'Prepend' } }, 'normalizer.prepend'],
    ['nothing to replace', { normalizer: { type: 'Replace', content: 'x' } }, 'normalizer.pattern'],
    [
      'a flag that is a string',
      { pre_tokenizer: { type: 'ByteLevel', use_regex: 'no' } },
      'pre_tokenizer.use_regex',
    ],
    [
      'an unknown scheme',
      { pre_tokenizer: { type: 'Metaspace', prepend_scheme: 'x' } },
      'pre_tokenizer.prepend_scheme',
    ],
    [
      'a map of characters that is a number',
      { normalizer: { type: 'Precompiled', precompiled_charsmap: 5 } },
      'normalizer.precompiled_charsmap',
    ],
    [
      'a map of characters that is cut',
      { normalizer: { type: 'Precompiled', precompiled_charsmap: 'ABAAAAAA' } },
      'normalizer.precompiled_charsmap',
    ],
    [
      'a map of characters that is not there',
      { normalizer: { type: 'Precompiled' } },
      'normalizer.precompiled_charsmap',
    ],
    [
      'a token that is a word of its own',
      { added_tokens: [{ id: 77, content: 'the', single_word: true }] },
      'added_tokens',
    ],
    ['an unknown way to split', behaving('Isolate', { String: ' ' }), 'pre_tokenizer.behavior'],
    [
      'pieces that an expression merges',
      behaving('MergedWithNext', { Regex: ' ' }),
      'pre_tokenizer.behavior',
    ],
    [
      'marks that are merged',
      { pre_tokenizer: { type: 'Punctuation', behavior: 'MergedWithNext' } },
      'pre_tokenizer.behavior',
    ],
    ['a template without the text', template([special('</s>')]), 'post_processor.single'],
    ['a template with the text twice', template([text, text]), 'post_processor.single'],
    ['a template with what is no token', template([special('nowhere'), text]), 'post_processor.single'],
    [
      'a template that means other ids',
      {
        post_processor: {
          type: 'TemplateProcessing',
          single: [special('</s>'), text],
          special_tokens: { '</s>': { id: '</s>', ids: [2, 3], tokens: ['</s>', '<unk>'] } },
        },
      },
      'post_processor.single',
    ],
    [
      'special tokens with the ids of others',
      { post_processor: { type: 'BertProcessing', cls: ['</s>', 3], sep: ['</s>', 2] } },
      'post_processor.cls',
    ],
    [
      'special tokens that are strings',
      { post_processor: { type: 'BertProcessing', cls: '<s>', sep: ['</s>', 2] } },
      'post_processor.cls',
    ],
  ])('%s', (_, change, field) => {
    const error = (() => {
      try {
        openTokenizer({ ...whole, ...change });
      } catch (it) {
        return it as Error;
      }
      throw new Error('it was opened');
    })();
    expect(error).toBeInstanceOf(FormatError);
    expect(error.message).toMatch(/^tokenizer\.json: /);
    expect(error.message).toContain(`"${field}"`);
  });

  test('no token for a piece of a text', () => {
    const vocab = { the: 0, t: 1, h: 2, e: 3, th: 4 };
    const bare = { ...whole, added_tokens: [], pre_tokenizer: null, post_processor: null };
    const encode = openTokenizer({
      ...bare,
      model: { type: 'BPE', unk_token: null, vocab, merges: ['t h', 'th e'] },
    });
    expect([...encode('thet')]).toEqual([0, 1]);
    expect(() => encode('the x')).toThrow(FormatError);
    expect(() => encode('the x')).toThrow(
      'tokenizer.json: it has no token for a piece of the text, and none for unknown text',
    );
  });

  test.each([
    ['remove_space', 5],
    ['do_lowercase_and_remove_accent', 'no'],
  ])('%s of tokenizer_config.json', (field, value) => {
    expect(() => openTokenizer(whole, { [field]: value })).toThrow(
      `tokenizer_config.json: "${field}" expected`,
    );
  });

  test('a regular expression that is none', () => {
    expect(() => openTokenizer({ ...whole, ...split({ Regex: '(((' }) })).toThrow(FormatError);
  });
});

describe('a guard', () => {
  test('encodes as a tokenizer without one', async () => {
    const guard = openGuard({ workerUrl });
    const encode = await guard.tokenizer(whole);
    const texts = ['In the beginning', 'God created'];
    expect(await encode(texts)).toEqual(texts.map(openTokenizer(whole)));
    await guard.close();
    await expect(encode(texts)).rejects.toThrow('it is closed');
  });

  test('ends what takes too long, and all that waits for it', async () => {
    const guard = openGuard({ workerUrl, seconds: 5 });
    const encode = await guard.tokenizer(endless);
    const both = await Promise.allSettled([encode([TEXT]), encode(['In the beginning'])]);
    for (const outcome of both) {
      expect(outcome.status).toBe('rejected');
      const { reason } = outcome as PromiseRejectedResult;
      expect(reason).toBeInstanceOf(TimeLimitError);
      expect(reason).toMatchObject({ code: 'ERR_OSSCAR_TIME_LIMIT', seconds: 5 });
    }
  });

  test('counts no time in which the process was stopped', async () => {
    const guard = openGuard({ workerUrl, seconds: 3 });
    const encode = await guard.tokenizer(endless);
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'setTimeout', 'clearTimeout'] });
    try {
      const ended = vi.fn();
      const waiting = encode([TEXT]).catch(ended);
      // After a stop, however long, a timer that is due runs once.
      for (let i = 0; i < 2; i++) await vi.advanceTimersToNextTimerAsync();
      expect(ended).not.toHaveBeenCalled();
      await vi.advanceTimersToNextTimerAsync();
      await waiting;
      expect(ended.mock.calls[0][0]).toBeInstanceOf(TimeLimitError);
    } finally {
      vi.useRealTimers();
    }
  });

  test('ends at a signal, with its reason', async () => {
    const stop = new AbortController();
    const guard = openGuard({ workerUrl, signal: stop.signal });
    const encode = await guard.tokenizer(endless);
    const waiting = encode([TEXT]);
    stop.abort(new Error('enough'));
    await expect(waiting).rejects.toThrow('enough');
  });

  test('hands errors of the thread on as they are', async () => {
    const guard = openGuard({ workerUrl });
    await expect(guard.tokenizer({})).rejects.toBeInstanceOf(FormatError);
    const engine = await guard.engine({ threads: 1 });
    await expect(engine.load(new Uint8Array(10))).rejects.toMatchObject({
      code: 'ERR_OSSCAR_UNSUPPORTED_MODEL',
    });
    await guard.close();
  });

  test('says that its script is missing, instead of waiting', async () => {
    const guard = openGuard({ workerUrl: new URL('file:///nowhere/guard.js') });
    await expect(guard.tokenizer(whole)).rejects.toMatchObject({ code: 'ERR_OSSCAR_WORKER_LOST' });
  });
});

describe.concurrent('the command', () => {
  const path = mkdtempSync(join(folder, 'tokenizer-'));
  writeFileSync(join(path, 'tokenizer.json'), JSON.stringify(endless));
  writeFileSync(join(path, 'text.txt'), TEXT);
  const args = ['eval', fixture('opt-kjv'), '--tokenizer', path, '--data', join(path, 'text.txt')];

  test('stops a regular expression that never ends', () =>
    refused(
      [...args, '--timeout', '1'],
      'osscar: tokenizer.json: splitting the text took longer than 1 s (--timeout)',
    ));

  test('names the text that a tokenizer takes more memory for than there is', async () => {
    const text = join(folder, 'long.txt');
    writeFileSync(text, 'ab'.repeat(2e6)); // one word
    const data = ['--tokenizer', fixture('opt-kjv'), '--data', text, '--samples', '1', '--seqlen', '16'];
    const { code, stderr } = await osscarUnder(
      ['--max-old-space-size=100'],
      ...['eval', fixture('opt-kjv'), ...data, '--threads', '1'],
    );
    expect([code, stderr.replace(PROGRESS, '')]).toEqual([
      2,
      expect.stringMatching(
        /^osscar: ".+long.txt": tokenizer.json: splitting the text takes more than the \d+ MiB that a thread has; give less text, or token ids \(.npy\)\n$/,
      ),
    ]);
  });

  test('says what is wrong with a template', async () => {
    const other = mkdtempSync(join(folder, 'template-'));
    const post = { ...whole, post_processor: { type: 'TemplateProcessing', single: {} } };
    writeFileSync(join(other, 'tokenizer.json'), JSON.stringify(post));
    const { code, stderr } = await osscar(
      'eval',
      fixture('opt-kjv'),
      '--tokenizer',
      other,
      '--data',
      join(path, 'text.txt'),
    );
    expect([code, stderr]).toEqual([
      2,
      'osscar: tokenizer.json: "post_processor.single" expected a list of "SpecialToken" and "Sequence"\n',
    ]);
  });
});
