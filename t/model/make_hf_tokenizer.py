#!/usr/bin/env python3
"""Makes t/model/hf_tokenizer: small Hugging Face folders, one for each form
in which families publish their tokenizers, and cases.json: what the packages
`tokenizers` and `sentencepiece` make of texts with them.

    pip install tokenizers sentencepiece
    t/model/make_hf_tokenizer.py [REAL.model ...]

Vocabularies are trained on the texts below (ties differ from run to run);
how text is cut, normalised and finished is as the families' own files have
it. Files given as arguments
(SentencePiece models of any size, named tokenizer.model) are compared only,
nothing is kept of them: their cases go to cases.json beside them; the test
takes their folder as its argument.

cases.json:
    texts    for all folders
    folders  by name: ids of each text (null: not valid there), keys that the
             GGUF must have, more (texts of its own, with their ids), trusted
             (false: control tokens are not looked for in texts), special
             (ids of "Hi there" with what the tokenizer adds)
"""

import io
import json
import pathlib
import sys

import sentencepiece
from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models,
                        normalizers, pre_tokenizers, processors, trainers)

HERE = pathlib.Path(__file__).parent / 'hf_tokenizer'

CORPUS = """The quick brown fox jumps over the lazy dog. It's what we've seen,
isn't it? She'll say "I'm done" and they'd agree: 12345 apples, 3.14159 pies.
def main(argc, argv):
    for i in range(100):
        if i % 15 == 0:
            print("FizzBuzz")
    return {'key': [1, 2, 3], "other": None}
\t\tint x = 0;  /* tabs */
Der Fluss fließt über die Brücke, größer als zuvor; Äpfel, Öl und Übermut.
Le café est fermé, où êtes-vous allés ? Ça va très bien, merci beaucoup.
El niño comió piñas. ¿Dónde está la biblioteca? ¡Qué sorpresa!
Быстрая коричневая лиса прыгает через ленивую собаку. Привет, мир!
Η γρήγορη καφέ αλεπού. השועל החום המהיר. الثعلب البني السريع يقفز.
तेज़ भूरी लोमड़ी आलसी कुत्ते के ऊपर कूदती है। ঢাকা শহর। தமிழ் மொழி.
灯台は海のそばにある。速い茶色の狐。快速的棕色狐狸跳过懒狗。안녕하세요 세계.
ภาษาไทยไม่มีช่องว่าง. Xin chào thế giới. Cześć świecie, źdźbło.
Emoji 🦙🚀👩‍🚒🇳🇴 and ✅ marks — “quotes” … ½ ² ① Ⅷ.
   leading and    inner     spaces      grow
https://example.org/a/b?c=d&e=%20f#g user@example.org C:\\\\dir\\\\file.txt
<p class="x">Hello, <b>world</b>!</p> {"a": [true, false, null]}
SELECT * FROM t WHERE a >= 10 AND b != 'x' ORDER BY c DESC LIMIT 5;
HELLO World helloWorld snake_case kebab-case CONSTANT_VALUE iPhone McDonald
"""

WORDS = CORPUS.split()


def texts():
    out = ['', ' ', '  ', '   ', '\n', '\n\n', ' \n', '\n ', '\t', '\t\t', '\r\n',
           ' \t \n \r\n', 'a', ' a', 'a ', '  a', 'a  ', ' a b', 'a  b   c    d',
           'Hello', ' Hello', 'Hello world', 'Hello, World!\n', "I'M I'm",
           "WE'VE we've DON'T don't 's 'S", "it's'll'd", '1', '12', '123',
           '1234', '12345', '1234567890', '3.14', '1,000,000', '٣٤٥', '½', 'Ⅷ',
           'x1y22z333', 'caf\u00e9', 'cafe\u0301', 'A\u030a', '\u212b', '\u1e9b\u0323',
           '\uac00', '\u1100\u1161', 'ﬁ', '①', 'e\u0301\u0301', '\u0301', 'a\u0301 b\u0327',
           '\u2581', '\u2581\u2581', 'a\u2581b', '\u2581a', ' \u2581 ', '<s>x', 'é<s',
           '\u00a0', 'a\u00a0b', '\u3000', '\u200b', 'a\u200bb', '\u2028', '\x85',
           '\x00', '\x01\x02', '\x1f', '\x7f', '\ufffd', '\ufeffx', '\U0010ffff',
           '🦙', '🦙🦙🦙', '👩‍🚒', '🇳🇴🇸🇪', '👍🏽', '✅ done', 'a🦙b', ' 🦙',
           'ÄÖÜäöüß', 'straße', 'İi', 'ǅ', 'ʰ', 'ª', '你好', '你好 世界', '日本語テスト',
           'カタカナ', 'ひらがな', '안녕', 'สวัสดี', 'नमस्ते', 'தமிழ்', 'ქართული', 'Հայերեն',
           'שלום', 'مرحبا', 'αβγ', 'Ελληνικά', 'привет', 'ПРИВЕТ', 'ѐ', '\u0435\u0300',
           '!!!', '...', '-----', '=====', '"quoted"', "'single'", '(a)', '[b]', '{c}',
           '<|x|>', '</p>', '/* c */', '// d', '#!', '$HOME', '@user', '~/.x', 'a/b',
           'a\\b', 'a_b', 'a-b', 'a.b', 'a,b', 'a:b', 'a;b', 'a=b', 'a+b', 'a*b',
           '\n\n\n\n', '        ', ' ' * 17, ' ' * 33, '\n' * 9, '\t' * 5, 'a' * 40,
           'ab' * 30, '=' * 50, '. . . .', 'x\n\ny', 'x \n y', 'x\r\ny', 'x\ry',
           'if (x) {\n    return y;\n}\n', 'def f():\n\tpass\n', '  - item\n  - item\n',
           'helloWorld HTTPServer XMLHttp iOS', 'ABCdef', 'abcDEF', 'AbC', 'aB',
           'don\u2019t', '\u201cx\u201d', 'a…b', 'a—b', '½ ² ³', 'H₂O', 'x²', '№5']
    lines = CORPUS.split('\n')
    out += [line for line in lines if line]
    out += [' '.join(WORDS[i:i + 4]) for i in range(0, len(WORDS) - 4, 7)]
    out += [''.join(chr(c) for c in range(a, a + 16))
            for a in (0x20, 0x30, 0x40, 0x60, 0x70, 0xa0, 0xc0, 0x100, 0x250,
                      0x2b0, 0x370, 0x400, 0x5d0, 0x620, 0x900, 0xe00, 0x1e00,
                      0x2000, 0x20a0, 0x2150, 0x2200, 0x3040, 0x4e00, 0xac00,
                      0xfb00, 0xff00, 0x1d400, 0x1f600)]
    return out


SHORT = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
BLANKS = r'\s*[\r\n]+|\s+(?!\S)|\s+'


def llama3(digits):
    return (SHORT + r'|[^\r\n\p{L}\p{N}]?\p{L}+|' + digits
            + r'| ?[^\s\p{L}\p{N}]+[\r\n]*|' + BLANKS)


UPPER = r'[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]'
LOWER = r'[\p{Ll}\p{Lm}\p{Lo}\p{M}]'


def cased(end, digits):
    return ('|'.join([
        r'[^\r\n\p{L}\p{N}]?' + UPPER + '*' + LOWER + '+' + end,
        r'[^\r\n\p{L}\p{N}]?' + UPPER + '+' + LOWER + '*' + end,
        digits, r' ?[^\s\p{L}\p{N}]+[\r\n/]*', BLANKS]))


def split(pattern, behavior='isolated', invert=False):
    return pre_tokenizers.Split(Regex(pattern), behavior, invert)


def byte_level(regex=False):
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=regex)


def special(text, **more):
    return AddedToken(text, special=True, normalized=False, **more)


def plain(text, **more):
    return AddedToken(text, special=False, **more)


def bpe_folder(name, pre, normalizer=None, ignore=False, added=(), bos=None,
               pairs=True, seq_post=False, size=420):
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre
    if normalizer:
        tok.normalizer = normalizer
    trainer = trainers.BpeTrainer(
        vocab_size=size, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tok.train_from_iterator(CORPUS.split('\n'), trainer)
    tok.decoder = decoders.ByteLevel()
    tok.add_tokens([a for a in added])
    if bos:
        id = tok.token_to_id(bos)
        post = processors.TemplateProcessing(
            single=f'{bos} $A', pair=f'{bos} $A {bos}:1 $B:1',
            special_tokens=[(bos, id)])
        if seq_post:
            post = processors.Sequence([processors.ByteLevel(trim_offsets=False),
                                        post])
        tok.post_processor = post
    root = json.loads(tok.to_str())
    root['model']['ignore_merges'] = ignore
    if not pairs:
        root['model']['merges'] = [' '.join(m) for m in root['model']['merges']]
    write(name, 'tokenizer.json', root)
    return Tokenizer.from_str(json.dumps(root))


def spm_vocab(size=420):
    """Merges over characters with U+2581, all bytes."""
    tok = Tokenizer(models.BPE(unk_token='<unk>', fuse_unk=True))
    tok.normalizer = normalizers.Sequence([
        normalizers.Prepend('\u2581'), normalizers.Replace(' ', '\u2581')])
    tok.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme='never')
    alphabet = sorted(set(chr(c) for c in range(0x21, 0x7f)) | set('éüößäñЖживет'))
    tok.train_from_iterator(CORPUS.split('\n'), trainers.BpeTrainer(
        vocab_size=size, show_progress=False, limit_alphabet=110,
        initial_alphabet=alphabet, special_tokens=['<unk>', '<s>', '</s>']))
    model = json.loads(tok.to_str())['model']
    names = sorted(model['vocab'], key=model['vocab'].get)
    merges = model['merges']
    # Runs of spaces, as the large vocabularies have them.
    for n in (2, 3, 4, 8):
        word = '\u2581' * n
        if word not in names:
            names.append(word)
        left = {2: 1, 3: 2, 4: 2, 8: 4}[n]
        merges.append(['\u2581' * left, '\u2581' * (n - left)])
    names = names[:3] + [f'<0x{i:02X}>' for i in range(256)] + names[3:]
    return names, merges


def spm_folder(name, normalizer, pre, added=(), gemma=False, pairs=True,
               bos=True):
    names, merges = spm_vocab()
    if gemma:
        names[names.index('<0x09>')] = '\t'
        names.append('\n\n')
    names += [a.content for a in added if a.content not in names]
    tok = Tokenizer(models.BPE(
        {n: i for i, n in enumerate(names[:len(names) - len(added)])},
        [tuple(m) for m in merges],
        unk_token='<unk>', fuse_unk=True, byte_fallback=True))
    if normalizer:
        tok.normalizer = normalizer
    if pre:
        tok.pre_tokenizer = pre
    tok.add_special_tokens([special('<unk>'), special('<s>'), special('</s>')])
    tok.add_tokens(list(added))
    if gemma:
        tok.add_tokens([plain('\u2581\u2581', normalized=False),
                        plain('\n\n', normalized=False)])
    if bos:
        tok.post_processor = processors.TemplateProcessing(
            single='<s> $A', pair='<s> $A <s>:1 $B:1',
            special_tokens=[('<s>', 1)])
    tok.decoder = decoders.Sequence([
        decoders.Replace('\u2581', ' '), decoders.ByteFallback(),
        decoders.Fuse()])
    root = json.loads(tok.to_str())
    if not pairs:
        root['model']['merges'] = [' '.join(m) for m in root['model']['merges']]
    write(name, 'tokenizer.json', root)
    return Tokenizer.from_str(json.dumps(root))


def sp_folder(name, **more):
    """tokenizer.model, trained."""
    out = io.BytesIO()
    args = dict(vocab_size=600, model_type='bpe', byte_fallback=True,
                split_digits=True, allow_whitespace_only_pieces=True,
                normalization_rule_name='identity',
                remove_extra_whitespaces=False, character_coverage=0.98,
                minloglevel=2)
    args.update(more)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS.split('\n')), model_writer=out, **args)
    data = out.getvalue()
    (HERE / name).mkdir(exist_ok=True)
    (HERE / name / 'tokenizer.model').write_bytes(data)
    return sentencepiece.SentencePieceProcessor(model_proto=data)


def write(name, file, root):
    path = HERE / name / file
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(root, str):
        path.write_text(root)
    else:
        path.write_text(json.dumps(root, ensure_ascii=False,
                                   separators=(',', ':')) + '\n')


class Cases:
    def __init__(self):
        self.texts = texts()
        self.folders = {}

    def add(self, name, encode, keys=None, more=()):
        self.folders[name] = {
            'ids': [encode(t) for t in self.texts],
            'keys': keys or {},
            'more': [{'text': t, 'ids': encode(t)} for t in more],
        }

    def json(self, name, tok, keys=None, more=()):
        self.add(name,
                 lambda t: tok.encode(t, add_special_tokens=False).ids, keys,
                 more)
        self.folders[name]['special'] = tok.encode('Hi there').ids

    def sp(self, name, sp, keys=None, valid=lambda t: True):
        self.add(name, lambda t: (sp.encode(t) if valid(t) and '\0' not in t
                                  else None), keys)
        self.folders[name]['trusted'] = False


T = 'tokenizer.ggml.'


def byte_level_folders(cases):
    im = [special('<|endoftext|>'), special('<|im_start|>'),
          special('<|im_end|>')]
    chat = ['<|im_start|>user\nHi<|im_end|>\n', 'a<|im_end|>b <|endoftext|> c',
            '<|im_end', '<|im_end|><|im_end|>', ' <|im_start|> ']

    tok = bpe_folder('gpt2', byte_level(True), added=im[:1], pairs=False)
    n = tok.get_vocab_size()
    write('gpt2', 'config.json', {'vocab_size': n + 7, 'eos_token_id': n - 1,
                                  'bos_token_id': n - 1})
    write('gpt2', 'tokenizer_config.json', {
        'bos_token': '<|endoftext|>', 'eos_token': '<|endoftext|>',
        'unk_token': '<|endoftext|>', 'tokenizer_class': 'GPT2Tokenizer'})
    cases.json('gpt2', tok, {
        T + 'model': 'gpt2', T + 'bos_token_id': n - 1,
        T + 'eos_token_id': n - 1, T + 'unknown_token_id': n - 1,
        T + 'add_bos_token': False, T + 'add_eos_token': False,
        T + 'eos_token_ids': None, 'tokens': n + 7,
        'types': {'0': 1, str(n - 1): 3, str(n): 5, str(n + 6): 5},
        'eog': [n - 1]}, ['a<|endoftext|>b'])

    tok = bpe_folder('smollm', pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(True), byte_level(True)]), added=im,
        pairs=False)
    n = tok.get_vocab_size()
    write('smollm', 'tokenizer_config.json', {
        'bos_token': '<|im_start|>', 'eos_token': {
            '__type': 'AddedToken', 'content': '<|im_end|>', 'lstrip': False,
            'normalized': False, 'rstrip': False, 'single_word': False},
        'pad_token': '<|im_end|>', 'unk_token': None,
        'chat_template': '{{ messages }}'})
    write('smollm', 'generation_config.json', {
        'eos_token_id': [n - 1, n - 3, 99999], 'do_sample': True,
        'temperature': 0.25, 'top_k': 1, 'top_p': 0.9, 'min_p': 0.05,
        'repetition_penalty': 1.1, 'max_new_tokens': 5})
    cases.json('smollm', tok, {
        T + 'bos_token_id': n - 2, T + 'eos_token_id': n - 1,
        T + 'padding_token_id': n - 1, T + 'unknown_token_id': None,
        T + 'eos_token_ids': [n - 1, n - 3], T + 'add_bos_token': False,
        'general.sampling.temp': 0.25, 'general.sampling.top_k': 1,
        'general.sampling.top_p': 0.9, 'general.sampling.min_p': 0.05,
        'general.sampling.penalty_repeat': 1.1,
        'tokenizer.chat_template': '{{ messages }}', 'tokens': n}, chat)

    l3 = [special('<|begin_of_text|>'), special('<|end_of_text|>'),
          special('<|eot_id|>'), special('<|start_header_id|>'),
          special('<|end_header_id|>')]
    tok = bpe_folder('llama3', pre_tokenizers.Sequence(
        [split(llama3(r'\p{N}{1,3}')), byte_level()]), ignore=True, added=l3,
        bos='<|begin_of_text|>', seq_post=True)
    n = tok.get_vocab_size()
    write('llama3', 'tokenizer_config.json', {
        'bos_token': '<|begin_of_text|>', 'eos_token': '<|eot_id|>',
        'chat_template': [{'name': 'default', 'template': 'D'},
                          {'name': 'tool_use', 'template': 'T'}]})
    write('llama3', 'generation_config.json', {
        'eos_token_id': [n - 4, n - 3], 'temperature': 0.6, 'top_p': 0.9,
        'do_sample': True})
    cases.json('llama3', tok, {
        T + 'bos_token_id': n - 5, T + 'eos_token_id': n - 3,
        T + 'add_bos_token': True, T + 'eos_token_ids': [n - 3, n - 4],
        'general.sampling.temp': 0.6, 'general.sampling.top_k': None,
        'tokenizer.chat_template': 'D', 'tokenizer.chat_template.tool_use': 'T',
        'eog': [n - 4, n - 3]},
        ['<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>'])

    # The same cut, merges as they are: dbrx, Phi-4...
    tok = bpe_folder('phi4', pre_tokenizers.Sequence(
        [split(llama3(r'\p{N}{1,3}')), byte_level()]), added=[
            special('<|endoftext|>', lstrip=True, rstrip=True),
            special('<|im_start|>', lstrip=True), special('<|im_end|>',
                                                          rstrip=True)])
    n = tok.get_vocab_size()
    cases.json('phi4', tok, {
        T + 'add_bos_token': False, T + 'lstrip': [n - 3, n - 2],
        T + 'rstrip': [n - 3, n - 1]},
        chat + ['a \n <|endoftext|> \t\n b', 'a  <|im_start|>  b',
                'a  <|im_end|>  b', '<|im_end|> <|im_start|>', ' <|im_start|>',
                '<|im_end|> ', 'a \u3000<|im_start|>\u00a0b<|im_end|>\u2028c'])

    q = [special('<|endoftext|>'), special('<|im_start|>'),
         special('<|im_end|>'), plain('<tool_call>', normalized=False),
         plain('</tool_call>', normalized=False), plain('<think>')]
    tok = bpe_folder('qwen2', pre_tokenizers.Sequence(
        [split(llama3(r'\p{N}')), byte_level()]),
        normalizer=normalizers.NFC(), added=q, pairs=False)
    n = tok.get_vocab_size()
    write('qwen2', 'tokenizer_config.json', {
        'add_bos_token': False, 'bos_token': None, 'eos_token': '<|im_end|>',
        'pad_token': '<|endoftext|>', 'unk_token': None,
        'additional_special_tokens': ['<|im_start|>', '<|im_end|>'],
        'added_tokens_decoder': {
            str(n - 6 + i): {
                'content': a.content, 'lstrip': False, 'normalized': False,
                'rstrip': False, 'single_word': False, 'special': a.special}
            for i, a in enumerate(q)}, 'chat_template': 'old'})
    write('qwen2', 'config.json', {'vocab_size': n + 100, 'bos_token_id': n - 6,
                                   'eos_token_id': n - 4})
    write('qwen2', 'chat_template.jinja', 'new')
    write('qwen2', 'additional_chat_templates/tool_use.jinja', 'tools')
    cases.json('qwen2', tok, {
        T + 'bos_token_id': None, T + 'eos_token_id': n - 4,
        T + 'padding_token_id': n - 6, 'tokens': n + 100,
        'tokenizer.chat_template': 'new',
        'tokenizer.chat_template.tool_use': 'tools',
        'types': {str(n - 3): 4, str(n - 4): 3, str(n - 1): 4}},
        chat + ['<think>\nx</think>', '<tool_call>{"a": 1}</tool_call>'])

    tok = bpe_folder('gpt-oss', pre_tokenizers.Sequence(
        [split(cased(SHORT + '?', r'\p{N}{1,3}'), 'removed', True),
         byte_level()]),
        added=[special('<|startoftext|>'), special('<|return|>'),
               special('<|end|>'), special('<|call|>')])
    n = tok.get_vocab_size()
    write('gpt-oss', 'tokenizer_config.json', {
        'bos_token': '<|startoftext|>', 'eos_token': '<|return|>'})
    write('gpt-oss', 'generation_config.json',
          {'eos_token_id': [n - 3, n - 1], 'do_sample': True})
    cases.json('gpt-oss', tok, {
        T + 'eos_token_ids': [n - 3, n - 1], 'eog': [n - 3, n - 1]},
        ['<|end|><|return|>'])

    tok = bpe_folder('tekken', pre_tokenizers.Sequence(
        [split(cased('', r'\p{N}')), byte_level()]), ignore=True,
        added=[special('<s>'), special('</s>'), special('[INST]'),
               special('[/INST]')], bos='<s>')
    write('tekken', 'config.json', {'bos_token_id': 1, 'eos_token_id': 2})
    cases.json('tekken', tok, {T + 'add_bos_token': True,
                               T + 'bos_token_id': tok.token_to_id('<s>'),
                               T + 'eos_token_id': 2},
               ['<s>[INST]Hi[/INST]there</s>'])


def spm_folders(cases):
    chat = ['<s>x</s>', '<s> x </s> y', 'a<s>b', '</s></s>', ' <s>', '<s> ',
            'x <s>\n y', '<s>\u2581x', '<s>  x']
    legacy = normalizers.Sequence([normalizers.Prepend('\u2581'),
                                   normalizers.Replace(' ', '\u2581')])
    config = {'bos_token': '<s>', 'eos_token': '</s>', 'unk_token': '<unk>',
              'add_bos_token': True, 'add_eos_token': False}

    tok = spm_folder('llama2', legacy, None, pairs=False)
    write('llama2', 'tokenizer_config.json', config)
    cases.json('llama2', tok, {
        T + 'model': 'llama', T + 'pre': 'default', T + 'add_bos_token': True,
        T + 'add_eos_token': False, T + 'bos_token_id': 1,
        T + 'eos_token_id': 2, T + 'unknown_token_id': 0,
        T + 'add_space_prefix': True, T + 'space_prefix': 'each',
        'types': {'0': 3, '1': 3, '3': 6, '258': 6, '259': 1}}, chat)

    tok = spm_folder('mistral3', None, pre_tokenizers.Metaspace(
        prepend_scheme='first', split=False),
        added=[special('[INST]'), special('[/INST]')])
    write('mistral3', 'special_tokens_map.json', {
        'bos_token': {'content': '<s>'}, 'eos_token': '</s>'})
    cases.json('mistral3', tok, {
        T + 'add_bos_token': True, T + 'space_prefix': 'first',
        T + 'bos_token_id': 1, T + 'eos_token_id': 2},
        chat + ['<s>[INST] Hi [/INST]', 'x[INST]y'])

    tok = spm_folder('metaspace', None, pre_tokenizers.Metaspace(
        prepend_scheme='always', split=False))
    cases.json('metaspace', tok, {T + 'space_prefix': 'blank'}, chat)

    tok = spm_folder('gemma', normalizers.Replace(' ', '\u2581'),
                     pre_tokenizers.Split(' ', 'merged_with_previous'),
                     added=[special('<start_of_turn>'), special('<end_of_turn>'),
                            plain('<unused0>', normalized=False)], gemma=True)
    n = tok.get_vocab_size()
    write('gemma', 'config.json', {
        'vocab_size': n - 1, 'eos_token_id': [2, n - 3], 'bos_token_id': 1,
        'pad_token_id': 0})
    write('gemma', 'generation_config.json', {
        'eos_token_id': [2, n - 3], 'top_k': 64, 'top_p': 0.95})
    cases.json('gemma', tok, {
        T + 'add_space_prefix': False, T + 'space_prefix': None,
        'general.sampling.top_k': 64, 'general.sampling.temp': None,
        'tokens': n - 1},
        chat + ['<start_of_turn>user\nHi<end_of_turn>\n', 'x\n\ny', '\n\n\n',
                ' ' * 5 + 'x', '\t\tx'])

    tok = spm_folder('phi3', legacy, None, added=[
        special('<|user|>', rstrip=True), special('<|end|>', rstrip=True),
        special('<|left|>', lstrip=True)])
    n = tok.get_vocab_size()
    write('phi3', 'config.json', {'vocab_size': n + 13, 'eos_token_id': 2})
    cases.json('phi3', tok, {
        T + 'rstrip': [n - 3, n - 2], T + 'lstrip': [n - 1],
        'tokens': n + 13},
        chat + ['<|user|>\nHi<|end|>\n<|user|> \t x', 'a \n <|left|> b',
                'a <|user|> <|left|> b', '<|user|>   '])


def sp_folders(cases):
    sp = sp_folder('sp')
    write('sp', 'added_tokens.json', {'<extra>': 600})
    write('sp', 'tokenizer_config.json', {
        'bos_token': '<s>', 'eos_token': '</s>',
        'added_tokens_decoder': {
            '601': {'content': '<|im_end|>', 'lstrip': False,
                    'normalized': False, 'rstrip': False, 'single_word': False,
                    'special': True}}})
    write('sp', 'config.json', {'vocab_size': 610})
    cases.sp('sp', sp, {
        T + 'model': 'llama', T + 'add_bos_token': True, 'tokens': 610,
        T + 'space_prefix': 'each', T + 'remove_extra_whitespaces': False,
        T + 'unknown_token_id': 0, T + 'bos_token_id': 1,
        'types': {'0': 2, '1': 3, '2': 3, '3': 6, '300': 1, '600': 4, '601': 3,
                  '602': 5}})

    sp = sp_folder('sp-gemma', add_dummy_prefix=False,
                   user_defined_symbols=['\u2581\u2581', '\u2581\u2581\u2581', '\n',
                                         '\n\n', '<b>'])
    write('sp-gemma', 'tokenizer_config.json', {
        'bos_token': '<s>', 'eos_token': '</s>', 'add_bos_token': False})
    cases.sp('sp-gemma', sp, {
        T + 'add_space_prefix': False, T + 'add_bos_token': False,
        'types': {'3': 4}})

    # Before the whole text only, and not before a space: as transformers'
    # own conversion of such a folder has it.
    sp = sp_folder('sp-first')
    write('sp-first', 'tokenizer_config.json', {'legacy': False})
    cases.sp('sp-first', sp, {T + 'space_prefix': 'first'},
             lambda t: t[:1] not in (' ', '\u2581'))

    sp = sp_folder('sp-collapse', remove_extra_whitespaces=True)
    # A U+2581 in the text itself is a space to us, one that may go.
    cases.sp('sp-collapse', sp, {T + 'remove_extra_whitespaces': True},
             lambda t: '\u2581' not in t)


def real(paths):
    for path in map(pathlib.Path, paths):
        sp = sentencepiece.SentencePieceProcessor(model_file=str(path))
        cases = Cases()
        cases.sp('.', sp)
        (path.parent / 'cases.json').write_text(json.dumps(
            {'texts': cases.texts, 'folders': cases.folders}))


def main():
    if len(sys.argv) > 1:
        return real(sys.argv[1:])
    cases = Cases()
    byte_level_folders(cases)
    spm_folders(cases)
    sp_folders(cases)
    HERE.mkdir(exist_ok=True)
    (HERE / 'cases.json').write_text(json.dumps(
        {'texts': cases.texts, 'folders': cases.folders},
        ensure_ascii=True, separators=(',', ':')) + '\n')
    n = sum(1 for f in cases.folders.values() for i in f['ids'] if i is not None)
    n += sum(len(f['more']) for f in cases.folders.values())
    print(len(cases.folders), 'folders,', n, 'texts')


if __name__ == '__main__':
    main()
