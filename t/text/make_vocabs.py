#!/usr/bin/env python3
"""Makes tokens of whole vocabularies, with `tokenizers` (as transformers set
it up for the families) and `sentencepiece` as the independent implementations:

    texts-more.txt   texts, beside texts.txt and written as it
    ids-NAME.txt     a line for each of both files' texts: a hash of its tokens,
                     and a second one where trusted text has others
    small.gguf       a byte-level vocabulary trained here, for ids-small-PRE
    mistral.gguf     SentencePiece: Mistral's, cut to its best pieces
    tekken.gguf      byte-level: Mistral's Tekken, cut in the same way

Usage: make_vocabs.py MODELS VOCABULARIES [REAL [OUT]]
    MODELS        folder of SmolLM2-135M-Instruct.Q4_1.gguf and
                  gemma-3-270m-q4_k_m.gguf
    VOCABULARIES  folder of ggml-vocab-NAME.gguf
    REAL          folder of files out of PyPI's packages: mistral_common
                  (tokenizer.model.v1, mistral_*.model.v3, tekken_*.json; the
                  two cut ones come from them), dashscope (qwen.tiktoken),
                  llama-models (llama3.tiktoken, llama4.tiktoken)
    OUT           folder for the whole vocabularies of REAL and their ids

(needs: pip install tokenizers transformers sentencepiece protobuf gguf)
"""

import base64
import glob
import json
import os
import random
import struct
import sys
import unicodedata

import gguf
import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as sp_model
from tokenizers import AddedToken, Regex, Tokenizer, normalizers
from tokenizers import pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers.convert_slow_tokenizer import (bytes_to_unicode,
                                                 generate_merges)

from make_goldens import (ALPHABETS, OUT, PRES, SPECIAL, WORDS, escape,
                          gguf_metadata, is_stable, make_texts, split, write)

NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = range(1, 7)
NFC = {'qwen2', 'qwen35', 'mpt'}
IGNORE = {'llama-bpe', 'tekken', 'falcon3', 'falcon-h1'}

SPELL = bytes_to_unicode()
BYTES = {c: b for b, c in SPELL.items()}


def spelled(b):
    return ''.join(SPELL[x] for x in b)


# ---------------------------------------------------------------- the texts

MORE_SPECIAL = SPECIAL + [
    '<s>[INST] Hello [/INST] Hi there</s>[INST] And? [/INST]',
    '<s> [INST]  two  spaces  [/INST] ', 'a</s>b', ' <s> ', '<s><s>', '<unk>x',
    '<bos><start_of_turn>user\nHello<end_of_turn>\n<start_of_turn>model\n',
    'a<end_of_turn>\n\n\nb', '<start_of_image> x <end_of_image>', '<table>\n<tr>',
    '<h1>Title</h1>\n<p>text</p>\n<ul>\n<li>x</li>', '<unused0>', '<pad>', '<mask>',
    '<|user|>\nHello<|end|>\n<|assistant|>\n', '<|system|>\nx<|end|>',
    '<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>',
    '<|start|>assistant<|channel|>final<|message|>Hi<|return|>',
    '<tool_call>\n{"name": "f"}\n</tool_call>', '<think>\n\n</think>\n\n',
    '[TOOL_CALLS][{"name": "f"}]</s>', '<|endoftext|>', '<0x0A><0xff>',
    'x [multimodal] y', '</s', '< s>', '<S>', '[INST]', '[/INST]x',
]

MARKS = [chr(c) for c in range(0x300, 0x345)] + list('\u0591\u05b0\u05b7\u05c1')
ODD = ['\u212b', '\u2126', '\u212a', '\u2329\u232a', '\u0958', '\ufb1d',
       '\ufb2c', '\u2adc', '\U0001d15e', '\U0001d160', '\u0344', '\u0340',
       '\u0374', '\u1f71', '\uf900', '\ufa0e', '\U0002f800', '\u1112\u1161\u11ab',
       '\ud55c', '\ud558\u11ab', '\u1100', '\u1161', '\u0915\u093c', '\u304b\u3099',
       '\u0cc6\u0cc2\u0cd5', '\u09c7\u09be', '\u0b47\u0b56', '\u0dd9\u0dcf\u0dca',
       '\u0fb2\u0f71\u0f80', '\u1025\u102e', '\U00011131\U00011127',
       '\U000114b9\U000114ba', 'q\u0323\u0307', 'q\u0307\u0323', 'd\u0307\u0323',
       '\u1e0a\u0323', 'a\u0301\u0327', '\u0301', '\u0301a', 'a \u0301', '\n\u0308']


def make_more():
    rnd = random.Random(20261122)
    texts = list(MORE_SPECIAL[len(SPECIAL):])
    words = WORDS + '''naïve café Ærøskøbing Łódź Đà Nẵng Việt Tiếng İstanbul
        Ξεσκεπάζω ψυχοφθόρα ΐ ὒ ᾂ чёрный йод їжак ガギグ パピプ 한국어 각 ক়ো ड़ਖ਼ שָׁלוֹם آب
        أخضر ₂ ½ ﬁx ſhip Ǆ'''.split()

    # Not normalised: decomposed, marks in any order, odd characters.
    for i in range(260):
        t = ' '.join(rnd.choice(words) for _ in range(rnd.randint(1, 8)))
        t = unicodedata.normalize(rnd.choice(['NFD', 'NFD', 'NFKD']), t)
        if i % 2:
            t = ''.join(c + ''.join(rnd.choice(MARKS) for _ in
                                    range(rnd.choice([0, 0, 0, 0, 1, 2, 5])))
                        for c in t)
        if i % 3 == 0:
            at = rnd.randint(0, len(t))
            t = t[:at] + rnd.choice(ODD) + t[at:]
        texts.append(t)
    texts += ODD
    texts += [rnd.choice('aeZ漢') + ''.join(rnd.choice(MARKS) for _ in range(n))
              for n in (15, 16, 17, 18, 31, 32, 33, 40, 90, 300)]

    # Blanks: runs of each kind, alone and in company.
    for n in list(range(1, 36)) + [62, 63, 64, 65, 100]:
        texts += [' ' * n + 'x', 'x' + ' ' * n, 'a' + '\n' * n + 'b',
                  '\t' * n + 'y' + '\t' * (n // 2)]
    texts += ['\u2581', '\u2581\u2581', ' \u2581', '\u2581 ', 'a\u2581b',
              ' \u2581 \u2581the', '\u2581the', '\u2581\u2581\u2581\u2581 x']
    for _ in range(120):
        texts.append(''.join(rnd.choice([' ', ' ', '  ', '    ', '\n', '\n\n',
                                         '\t', '\r\n', 'x', 'the', ' a', '\u2581',
                                         '0', '.', '></', '> </', '漢', '\u3000'])
                             for _ in range(rnd.randint(2, 24))))

    # Long words.
    for n in (47, 48, 49, 50, 100, 255, 256, 257, 600, 2000):
        texts.append(''.join(rnd.choice('etaoinshrdlu') for _ in range(n)))
        texts.append(''.join(rnd.choice('的一是不了人我在有他这为之大来以个中上们')
                             for _ in range(n)))
        texts.append('=' * n)
        texts.append('ab' * (n // 2) + ' -' + '-' * n + 'é' * n)

    # Emoji, joined and with selectors, between words.
    emoji = ['👩‍👩‍👧‍👦', '👍🏽', '🇩🇪', '❤️‍🔥', '☕️', '🧑🏿‍💻', '1️⃣', '🏴󠁧󠁢󠁥󠁮󠁧󠁿', '🫠', '😀', '🤷‍♀️', '©️']
    for _ in range(60):
        texts.append(''.join(rnd.choice(emoji + words)
                             + rnd.choice(['', ' ', ', ', '\n'])
                             for _ in range(rnd.randint(1, 9))))

    # Scripts in company.
    for _ in range(240):
        t = ''
        for _ in range(rnd.randint(2, 9)):
            lo, hi = rnd.choice(ALPHABETS[:-1])
            letters = [chr(c) for c in range(lo, hi + 1) if is_stable(chr(c))]
            t += ''.join(rnd.choice(letters) for _ in range(rnd.randint(1, 8)))
            t += rnd.choice([' ', ' ', '', '. ', ', ', '\n', '-', "'s ", '12'])
        texts.append(t)

    # Code.
    code = ['    for (i = 0; i < n; i++) {\n', '        x->y[i] += 0x1f;\n', '    }\n',
            '\t\treturn NULL;\n', 'def f(self, *a):\n', '        pass\n\n\n',
            'const a = () => { };\n', '// TODO: fix\n', '/* x */ ', '#include <a.h>\n',
            'SELECT * FROM t;\n', '"key": [1, 2, 3],\n', '<div class="a">', '</div>\n',
            'if x == y and not z:\n', '    """Doc."""\n', '$ ls -la | grep x\n',
            '\\begin{eq}\n', 'x_{i+1}^2', '\r\n', 'https://a.b/c?d=e&f=%20 ', '}}}\n']
    for _ in range(90):
        texts.append(''.join(rnd.choice(code) for _ in range(rnd.randint(1, 9))))

    seen = set()
    out = []
    for t in texts:
        if t and t not in seen:
            seen.add(t)
            out.append(t)
    return out


# --------------------------------------------------------- the vocabularies

class Vocab:
    """As a GGUF has it: tokens, types, scores, merges, and some flags."""

    def __init__(self, model, tokens, types, scores=None, merges=None, **more):
        self.model, self.tokens, self.types = model, tokens, types
        self.scores, self.merges = scores, merges
        self.pre = more.get('pre')
        self.bos, self.eos = more.get('bos', -1), more.get('eos', -1)
        self.prefix = more.get('prefix', True)
        self.first = more.get('first', False)

    @staticmethod
    def from_gguf(path):
        m = gguf_metadata(path)
        g = lambda k, d=None: m.get('tokenizer.ggml.' + k, d)
        return Vocab(g('model'), g('tokens'), g('token_type'), g('scores'),
                     g('merges'), pre=g('pre'), bos=g('bos_token_id', -1),
                     eos=g('eos_token_id', -1), prefix=g('add_space_prefix', True))

    def save(self, path):
        w = gguf.GGUFWriter(path, 'llama')
        w.add_tokenizer_model(self.model)
        if self.pre:
            w.add_tokenizer_pre(self.pre)
        w.add_token_list(self.tokens)
        w.add_token_types(self.types)
        if self.scores:
            w.add_token_scores(self.scores)
        if self.merges:
            w.add_token_merges(self.merges)
        if self.bos >= 0:
            w.add_bos_token_id(self.bos)
        if self.eos >= 0:
            w.add_eos_token_id(self.eos)
        if self.model == 'llama':
            w.add_add_space_prefix(self.prefix)
        w.write_header_to_file()
        w.write_kv_data_to_file()
        w.close()


def from_sentencepiece(path, best=None):
    m = sp_model.ModelProto()
    m.ParseFromString(open(path, 'rb').read())
    pieces = [(p.piece, p.score, p.type) for p in m.pieces]
    if best:
        keep = set(sorted((i for i, p in enumerate(pieces) if p[2] == NORMAL),
                          key=lambda i: -pieces[i][1])[:best])
        pieces = [p for i, p in enumerate(pieces)
                  if i in keep or (p[2] != NORMAL and 'control' not in p[0]
                                   and 'REFERENCE' not in p[0])
                  or (len(p[0]) == 1 and ord(p[0]) < 0x3100) or p[0].strip('▁') == '']
    tokens, scores, types = map(list, zip(*pieces))
    return Vocab('llama', tokens, types, scores, bos=tokens.index('<s>'),
                 eos=tokens.index('</s>'),
                 prefix=m.normalizer_spec.add_dummy_prefix)


def from_ranks(ranks, pre, special, bos):
    """Tiktoken's tokens, best first, as transformers' TikTokenConverter."""
    index = {b: i for i, b in enumerate(ranks)}
    merges = []
    for b, i in index.items():
        local = [(index[b[:k]], index[b[k:]], i) for k in range(1, len(b))
                 if b[:k] in index and b[k:] in index]
        merges += sorted(local)
    merges.sort(key=lambda m: m[2])
    merges = [spelled(ranks[l]) + ' ' + spelled(ranks[r]) for l, r, _ in merges]
    tokens = [spelled(b) for b in ranks]
    types = [NORMAL] * len(tokens)
    for t, k in special:
        tokens.append(t)
        types.append(k)
    return Vocab('gpt2', tokens, types, None, merges, pre=pre,
                 bos=tokens.index(bos), eos=len(ranks))


def from_tiktoken(path, pre, special, bos):
    ranks = [base64.b64decode(line.split()[0]) for line in open(path, 'rb')]
    return from_ranks(ranks, pre, special, bos)


def from_tekken(path, best=None):
    j = json.load(open(path))
    n = j['config']['default_vocab_size'] - j['config']['default_num_special_tokens']
    ranks = [base64.b64decode(e['token_bytes']) for e in j['vocab'][:best or n]]
    return from_ranks(ranks, 'tekken', [('</s>', CONTROL), ('<s>', CONTROL),
                                        ('[INST]', CONTROL), ('[/INST]', CONTROL)],
                      '<s>')


def train_small(texts):
    tok = Tokenizer(BPE())
    tok.pre_tokenizer = pre_tokenizers.Split(Regex(r'\s*\S+'), 'isolated')
    tok.pre_tokenizer = pre_tokenizers.Sequence(
        [tok.pre_tokenizer, pre_tokenizers.ByteLevel(False, use_regex=False)])
    tok.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=1500, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False))
    j = json.loads(tok.to_str())['model']
    tokens = sorted(j['vocab'], key=j['vocab'].get)
    merges = [m if isinstance(m, str) else ' '.join(m) for m in j['merges']]
    special = [('<|im_start|>', CONTROL), ('<|im_end|>', CONTROL),
               ('<|endoftext|>', CONTROL), ('<tool_call>', USER),
               ('<table>', USER), ('  x', USER)]
    return Vocab('gpt2', tokens + [t for t, _ in special],
                 [NORMAL] * len(tokens) + [k for _, k in special], None, merges,
                 pre='gpt-2', bos=len(tokens) + 2, eos=len(tokens) + 1)


# ------------------------------------------------------- the implementations

PROTECTED = {'</s>', '<tool_call>', '<think>', '</think>', '</tool_call>'}


def bpe(v, pre, trusted):
    vocab = {}
    for i, t in enumerate(v.tokens):
        vocab.setdefault(t, i)
    normal = {t for t, k in zip(v.tokens, v.types) if k == NORMAL}
    merges = [tuple(m.split(' ')) for m in v.merges]
    merges = [m for m in merges if m[0] in normal and m[1] in normal
              and m[0] + m[1] in normal]
    tok = Tokenizer(BPE({t: i for t, i in vocab.items()}, merges,
                        ignore_merges=pre in IGNORE))
    tok.pre_tokenizer = PRES[PRE_OF.get(pre, pre)]
    if pre in NFC:
        tok.normalizer = normalizers.NFC()
    add_special(tok, v, trusted, lambda t: t)
    return tok


PRE_OF = {'mpt': 'gpt-2', 'refact': 'smollm', 'starcoder': 'smollm',
          'llama4': 'gpt-4o'}


def add_special(tok, v, trusted, text):
    for t, k in zip(v.tokens, v.types):
        if k == USER and t not in PROTECTED and not t.startswith('<|'):
            tok.add_tokens([AddedToken(text(t), normalized=False)])
        elif trusted and k in (USER, CONTROL, UNKNOWN) and t[:4] != '[PAD':
            tok.add_special_tokens([AddedToken(t, normalized=False)])


def spm_hf(v, trusted):
    """As transformers' converter, and published files of the families."""
    tokens = [t.replace(' ', '▁') if k == USER else t
              for t, k in zip(v.tokens, v.types)]
    vocab = {t: i for i, t in enumerate(tokens)}
    scores = {t: (0.0 if k == USER else s) for t, k, s in
              zip(tokens, v.types, v.scores) if k in (NORMAL, USER)}
    unk = [t for t, k in zip(tokens, v.types) if k == UNKNOWN][:1] or ['<unk>']
    tok = Tokenizer(BPE(vocab, generate_merges({t: vocab[t] for t in scores}, scores),
                        unk_token=unk[0], fuse_unk=True, byte_fallback=True))
    space = normalizers.Replace(' ', '▁')
    if not v.prefix:
        tok.normalizer = space
    elif v.first:
        tok.pre_tokenizer = pre_tokenizers.Metaspace('▁', 'first', False)
    else:
        tok.normalizer = normalizers.Sequence([normalizers.Prepend('▁'), space])
    add_special(tok, v, trusted, lambda t: t.replace(' ', '▁'))
    return tok


def spm_original(v):
    m = sp_model.ModelProto()
    for t, k, s in zip(v.tokens, v.types, v.scores):
        p = m.pieces.add()
        p.piece = t.replace(' ', '▁') if k == USER else t
        p.type = k
        p.score = s
    if UNKNOWN not in v.types:
        m.pieces[v.tokens.index('<unk>')].type = UNKNOWN
    names = [p.piece for p in m.pieces]
    m.trainer_spec.model_type = 2
    m.trainer_spec.byte_fallback = True
    m.trainer_spec.unk_piece = [p.piece for p in m.pieces if p.type == UNKNOWN][0]
    for k, field in (('bos', 'bos_piece'), ('eos', 'eos_piece')):
        setattr(m.trainer_spec, field, names[getattr(v, k)])
    seen = 0
    for p in m.pieces:     # it allows one unknown token only
        if p.type == UNKNOWN:
            seen += 1
            p.type = UNKNOWN if seen == 1 else CONTROL
    m.normalizer_spec.name = 'identity'
    m.normalizer_spec.add_dummy_prefix = v.prefix
    m.normalizer_spec.remove_extra_whitespaces = False
    return sentencepiece.SentencePieceProcessor(model_proto=m.SerializeToString())


def ids_hash(ids):
    h = 0x811c9dc5
    for b in struct.pack('<%di' % len(ids), *ids):
        h = (h ^ b) * 0x01000193 & 0xffffffff
    return '%08x' % h


def hashes(v, pre, texts, name, out):
    original = {}
    if v.model == 'llama':
        plain, special = spm_hf(v, False), spm_hf(v, True)
        if not v.first:
            sp = spm_original(v)
            bad = [t for t in texts if sp.encode(t) != plain.encode(t).ids]
            print('%s: sentencepiece differs from tokenizers in %d of %d texts %s'
                  % (name, len(bad), len(texts), [t[:40] for t in bad[:5]]))
            # The underscore itself is a space for the original everywhere, for
            # tokenizers not where it is part of an added token.
            original = {t: sp.encode(t) for t in bad if '\u2581' in t}
    else:
        plain, special = bpe(v, pre, False), bpe(v, pre, True)
    lines = []
    n = 0
    for t in texts:
        a = plain.encode(t, add_special_tokens=False).ids
        b = special.encode(t, add_special_tokens=False).ids
        n += len(a)
        if t in original:
            a = b = original[t]
        lines.append(ids_hash(a) + (' ' + ids_hash(b) if a != b else ''))
    with open(os.path.join(out, 'ids-%s.txt' % name), 'w') as f:
        f.write(''.join(line + '\n' for line in lines))
    print('%s: %d texts, %d tokens' % (name, len(texts), n))


def main():
    models, vocabs = sys.argv[1:3]
    real = sys.argv[3] if len(sys.argv) > 3 else None
    whole = sys.argv[4] if len(sys.argv) > 4 else None
    more = make_more()
    texts = make_texts() + more
    write('texts-more.txt', map(escape, more))

    small = train_small([t for t in texts[:600] + texts[1100:1500] if '<|' not in t])
    small.save(os.path.join(OUT, 'small.gguf'))
    for pre in PRES:
        hashes(small, pre, texts, 'small-' + pre, OUT)

    v = Vocab.from_gguf(os.path.join(models, 'SmolLM2-135M-Instruct.Q4_1.gguf'))
    hashes(v, v.pre, texts, 'smollm2', OUT)
    for name in ('gpt-2', 'mpt', 'refact', 'starcoder', 'deepseek-coder', 'falcon',
                 'llama-spm', 'phi-3'):
        v = Vocab.from_gguf(os.path.join(vocabs, 'ggml-vocab-%s.gguf' % name))
        hashes(v, v.pre, texts, name, OUT)
    v = Vocab.from_gguf(os.path.join(models, 'gemma-3-270m-q4_k_m.gguf'))
    hashes(v, None, texts, 'gemma3', OUT)

    if real:
        v3, = glob.glob(os.path.join(real, 'mistral_*.model.v3'))
        tekken = sorted(glob.glob(os.path.join(real, 'tekken_*.json')))[-1]
        cut = from_sentencepiece(v3, 2500)
        cut.save(os.path.join(OUT, 'mistral.gguf'))
        hashes(cut, None, texts, 'mistral', OUT)
        cut.first = True
        hashes(cut, None, texts, 'mistral-first', OUT)
        cut = from_tekken(tekken, 2500)
        cut.save(os.path.join(OUT, 'tekken.gguf'))
        hashes(cut, 'tekken', texts, 'tekken', OUT)

    if whole:
        os.makedirs(whole, exist_ok=True)
        llama = [(t, CONTROL) for t in ('<|begin_of_text|>', '<|end_of_text|>',
                                        '<|start_header_id|>', '<|end_header_id|>',
                                        '<|eot_id|>')]
        qwen = [('<|endoftext|>', CONTROL), ('<|im_start|>', CONTROL),
                ('<|im_end|>', CONTROL), ('<tool_call>', USER), ('</tool_call>', USER),
                ('<think>', USER), ('</think>', USER)]
        j = lambda f: os.path.join(real, f)
        for name, v in (
                ('mistral-v1', from_sentencepiece(j('tokenizer.model.v1'))),
                ('mistral-v3', from_sentencepiece(v3)),
                ('tekken-whole', from_tekken(tekken)),
                ('qwen2', from_tiktoken(j('qwen.tiktoken'), 'qwen2', qwen,
                                        '<|endoftext|>')),
                ('llama3', from_tiktoken(j('llama3.tiktoken'), 'llama-bpe', llama,
                                         '<|begin_of_text|>')),
                ('llama4', from_tiktoken(j('llama4.tiktoken'), 'llama4', llama,
                                         '<|begin_of_text|>'))):
            v.save(os.path.join(whole, name + '.gguf'))
            hashes(v, v.pre, texts, name, whole)

    print(len(texts), 'texts')


if __name__ == '__main__':
    main()
