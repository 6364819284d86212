#!/usr/bin/env python3
"""Makes t/text/goldens with the `tokenizers` package as the independent
implementation:

    texts.txt            texts, one a line; backslash escapes \\n \\r \\\\ \\xNN
    smollm2.txt          their tokens under the default model's vocabulary,
                         one line of ids a text, no special token matched
    smollm2-special.txt  "number: ids" where matching special tokens differs
    pre-NAME.txt         their words under a pre-tokenizer: lengths in bytes,
                         one character each (0-9a-zA-Z), longer ones as "<n>"

Usage: make_goldens.py MODEL.gguf     (needs: pip install tokenizers)
"""

import os
import random
import struct
import sys
import unicodedata

from tokenizers import AddedToken, Regex, Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import (ByteLevel, Digits, Punctuation, Sequence,
                                       Split)

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'goldens')
DIGITS = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'


def gguf_metadata(path):
    data = open(path, 'rb').read(64 << 20)
    at = 4
    kinds = {0: 'B', 1: 'b', 2: 'H', 3: 'h', 4: 'I', 5: 'i', 6: 'f', 7: '?',
             10: 'Q', 11: 'q', 12: 'd'}

    def num(f):
        nonlocal at
        v, = struct.unpack_from('<' + f, data, at)
        at += struct.calcsize('<' + f)
        return v

    def string():
        nonlocal at
        n = num('Q')
        at += n
        return data[at - n:at].decode('utf-8')

    def value(t):
        if t == 8:
            return string()
        if t == 9:
            t, n = num('I'), num('Q')
            return [value(t) for _ in range(n)]
        return num(kinds[t])

    num('I'), num('Q')
    out = {}
    for _ in range(num('Q')):
        key = string()
        out[key] = value(num('I'))
    return out


# ---------------------------------------------------------------- the texts

SENTENCES = '''
The quick brown fox jumps over the lazy dog, doesn't it? It's 42 o'clock.
I'll've been y'all'd've; WE'RE, they'Ve, I'M, don'T, he'D, she'S, it'll.
Straße, naïve café, Ærøskøbing, Łódź, Đà Nẵng, İstanbul, ſhip'ſ.
Der Fußgängerübergang an der Königstraße wurde für 12.345,67 € gebaut.
Le cœur déçu mais l'âme plutôt naïve, Louÿs rêva de crapaüter.
El pingüino Wenceslao hizo kilómetros bajo exhaustiva lluvia y frío.
В чащах юга жил бы цитрус? Да, но фальшивый экземпляр!
Ξεσκεπάζω την ψυχοφθόρα βδελυγμία. Ταΰγετος.
דג סקרן שט בים מאוכזב ולפתע מצא חברה. שָׁלוֹם
نص حكيم له سر قاطع وذو شأن عظيم مكتوب على ثوب أخضر ١٢٣
ऋषियों को सताने वाले दुष्ट राक्षसों के राजा रावण का सर्वनाश। १२३
আমি বাংলায় গান গাই। ০১২৩
நான் தமிழ் பேசுகிறேன். ௧௨௩
เป็นมนุษย์สุดประเสริฐเลิศคุณค่า ๑๒๓
いろはにほへと ちりぬるを。カタカナ、ﾊﾝｶｸ。漢字かな交じり文１２３
我能吞下玻璃而不伤身体。全角，标点！２０２４年。𠀀𠮷
다람쥐 헌 쳇바퀴에 타고파. 한국어 텍스트 123개
ქართული ენა, Მთავრული. Հայերեն լեզու։
አማርኛ ጽሑፍ። ᚠᛇᚻ ᛒᛦᚦ ᛖᚠᛒ
👩‍👩‍👧‍👦 👍🏽 🇩🇪🇫🇷 ❤️‍🔥 ☕️ 🧑🏿‍💻 1️⃣ ✨…
e\u0301 e\u0300\u0323 Z\u0351\u036b\u0343\u036aa\u0302l\u0338g\u0337o\u0360 \u1100\u1161\u11a8
½ ⅔ ² ³ ₂ Ⅷ ⅳ ① ⑳ 一二三 ٣ ४ 𝟘𝟙 ๙ ௰
\u00a0nbsp\u00a0\u00a0two \u3000ideo\u2003em\u2009thin\u200bzero\u2060wj\ufeffbom
a\u2028b\u2029c\u0085d\u000be\u000cf\u001cg\u001fh\u180ei
int main(void) { return printf("%d\\n", 0x1F) && a->b[i++] <<= 3; }
    def f(self, *args, **kw):\n        return {k: v for k, v in kw.items() if v != ''}\n
\tif (p == NULL) {\n\t\treturn -EINVAL;\n\t}\n\n\n/* done */\n
SELECT * FROM "users" WHERE id IN (1,22,333,4444,55555) AND name LIKE '%o''brien%';
<div class="a-b c_d" onclick='go(1)'>&nbsp;&#x27;</div><!-- x --><br/>
{"role": "user", "content": [1, 2.5e-10, null, true, "\\u00e9\\n"]}
https://example.org/a/b?c=d&e=%20f#g user.name+tag@mail.example.co.uk
$ ls -la ~/.ssh | grep -E '^-rw' > /dev/null 2>&1 || true
+ - = < > | ~ ^ ` $ € £ ¥ ₿ © ® ™ § ¶ † ‡ • ‰ ′ ″ ※
「引用」『二重』（括弧）【隅付】〈山〉《二重山》〔亀甲〕—–-…‥
x=1;y=2;z=x+y;print(z);/*c*/#d\n@e\\f::g->h?.i!==j
1 12 123 1234 12345 123456 1,234,567.89 -1 +2 3e5 0xFF 1st 2nd v1.2.3 10:30
word\n\nword\r\n\r\nword\r\rword \n word\t\n\tword  \n  word   
   leading   and   trailing   
\n
\r\n
\t\t
'
''
's's's'
'S'LL'RE' 'x
don’t can’t “quotes” ‘single’
ALLCAPS CamelCaseWord mixedCASEword XMLHttpRequest iPhone McDonald's
_under_score __dunder__ kebab-case dotted.name path/to/file C:\\\\dir
aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
======================================================= ---------------
........................................................................
                                                                        x
antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis
\x00\x01\x02\x03\x04\x05\x06\x07\x08\x0e\x0f\x10\x13\x14\x16\x1d\x7f
\U000f0000\ue000\U0010fffd\uffff\ufdd0
'''

SPECIAL = [
    '<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n',
    '<|im_start|><|im_end|><|endoftext|>',
    'a <|im_end|> b', '<|im_end|', '<|im_end |>', '<<|im_end|>>',
    '<|im_start|', '<|im_<|im_start|>start|>', '<|IM_START|>',
    'x<file_sep>y<filename>z<reponame><repo_name>', "it's<|im_end|>'s",
    '12<|im_end|>34', ' <|im_start|> ', '<jupyter_code>a\n<jupyter_output>b',
]

WORDS = '''the of and to in is you that it he was for on are as with his they I at
be this have from or one had by word but not what all were we when your can said
there use an each which she do how their if will up other about out many then them
these so some her would make like him into time has look two more write go see
number no way could people my than first water been call who oil its now find long
down day did get come made may part function return const struct import class def
self None True null void static int char include while else switch'''.split()

ALPHABETS = [(0x41, 0x5a), (0x61, 0x7a), (0xc0, 0x24f), (0x370, 0x3ff),
             (0x400, 0x52f), (0x531, 0x58f), (0x5d0, 0x5ea), (0x620, 0x6d3),
             (0x904, 0x97f), (0x985, 0x9fe), (0xa05, 0xa76), (0xb85, 0xbfa),
             (0xc05, 0xc7f), (0xd05, 0xd7f), (0xe01, 0xe5b), (0xe81, 0xedf),
             (0xf40, 0xfbc), (0x1000, 0x109f), (0x10a0, 0x10ff),
             (0x1100, 0x11ff), (0x1200, 0x137c), (0x13a0, 0x13fd),
             (0x1780, 0x17f9), (0x1800, 0x18aa), (0x1e00, 0x1fff),
             (0x2000, 0x206f), (0x2070, 0x209c), (0x20a0, 0x20c0),
             (0x2100, 0x214f), (0x2150, 0x218b), (0x2190, 0x22ff),
             (0x2460, 0x24ff), (0x2c00, 0x2dff), (0x3000, 0x30ff),
             (0x3131, 0x318e), (0x3400, 0x4dbf), (0x4e00, 0x9fff),
             (0xa000, 0xa4cf), (0xa640, 0xa7ca), (0xac00, 0xd7a3),
             (0xf900, 0xfad9), (0xfb00, 0xfb4f), (0xfe10, 0xfe6b),
             (0xff01, 0xffee), (0x10000, 0x100fa), (0x10400, 0x1044f),
             (0x118a0, 0x118ff), (0x12000, 0x1236f), (0x1d400, 0x1d7ff),
             (0x1e900, 0x1e95f), (0x1f300, 0x1f64f), (0x1f900, 0x1f9ff),
             (0x20000, 0x2a6df), (0, 0x10ffff)]

GLUE = [' ', ' ', ' ', ' ', '  ', '   ', '\n', '\n\n', '\r\n', '\t', ' \n',
        '\n ', '', '', ', ', '. ', '-', '/', '_', "'", "'s ", "'re", "'ſ", '…',
        '\u00a0', '\u3000', '\u2028', '\u0085', '!', '?!', ' (', ') ', '"',
        '1', '22', '333', '4444', ' 5', '=', '+=', '$', '`', '\u0301', '\u200d',
        '、', '。', '①', '²']


def is_stable(c):
    """Assigned in the oldest Unicode version of the implementations."""
    return unicodedata.category(c) not in ('Cn', 'Cs')


def make_texts():
    rnd = random.Random(20261121)
    texts = [s.encode('ascii', 'backslashreplace').decode('unicode_escape')
             if '\\' in s else s for s in SENTENCES.split('\n') if s]
    texts += ['\n', '\r\n', '\t\t', 'a\nb', 'a\r\n\r\nb ', '\n \n \n x',
              'if (p)\n{\n\treturn -1;\n}\n\n\n/* done */\n',
              'def f(x):\n    return {k: v for k, v in x}\n\n\n']
    texts += SPECIAL
    texts += [''.join(rnd.choice(' \n\t\r\u3000\u00a0')
                      for _ in range(rnd.randint(1, 12))) + x
              for x in ['', 'x', '1', '!', "'s", 'é'] for _ in range(8)]
    texts += [' ' * n for n in range(1, 40, 3)]
    texts += ['\n' * n + 'x' for n in range(1, 12, 2)]

    for lo, hi in ALPHABETS:
        letters = [chr(c) for c in range(lo, hi + 1) if is_stable(chr(c))]
        for _ in range(9):
            words = [''.join(rnd.choice(letters)
                             for _ in range(rnd.randint(1, 7)))
                     for _ in range(rnd.randint(1, 6))]
            texts.append(''.join(w + rnd.choice(GLUE) for w in words))

    for _ in range(420):
        n = rnd.randint(2, 22)
        texts.append(''.join(
            rnd.choice([str.lower, str.lower, str.title, str.upper])(
                rnd.choice(WORDS)) + rnd.choice(GLUE) for _ in range(n)))

    for _ in range(60):
        texts.append(''.join(rnd.choice('abcdefgh ABXYZ012.,(){}[]<>=+-*/\\"\'\n'
                                        '\t_:;#@!?&|^~`$%')
                             for _ in range(rnd.randint(5, 60))))

    return texts


def escape(s):
    out = ''
    for c in s:
        if c == '\\':
            out += '\\\\'
        elif c == '\n':
            out += '\\n'
        elif c == '\r':
            out += '\\r'
        elif ord(c) < 32:
            out += '\\x%02x' % ord(c)
        else:
            out += c
    return out


# ------------------------------------------------------- the implementations

def smollm2(path, special):
    meta = gguf_metadata(path)
    assert meta['tokenizer.ggml.pre'] == 'smollm'
    tokens = meta['tokenizer.ggml.tokens']
    merges = [tuple(m.split(' ')) for m in meta['tokenizer.ggml.merges']]
    tok = Tokenizer(BPE({t: i for i, t in enumerate(tokens)}, merges))
    tok.pre_tokenizer = Sequence([
        Digits(individual_digits=True),
        ByteLevel(add_prefix_space=False, use_regex=True)])
    if special:
        types = meta['tokenizer.ggml.token_type']
        tok.add_special_tokens([
            AddedToken(t, special=True, normalized=False)
            for t, k in zip(tokens, types) if k == 3])
    return tok


SHORT = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
BLANKS = r'\s*[\r\n]+|\s+(?!\S)|\s+'
UPPER = r'[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]'
LOWER = r'[\p{Ll}\p{Lm}\p{Lo}\p{M}]'


def split(*patterns):
    return Sequence([Split(Regex(p), 'isolated') for p in patterns]
                    + [ByteLevel(add_prefix_space=False, use_regex=False)])


def llama3(digits):
    return (SHORT + r'|[^\r\n\p{L}\p{N}]?\p{L}+|' + digits
            + r'| ?[^\s\p{L}\p{N}]+[\r\n]*|' + BLANKS)


def cased(end, digits):
    return (r'[^\r\n\p{L}\p{N}]?' + UPPER + '*' + LOWER + '+' + end
            + r'|[^\r\n\p{L}\p{N}]?' + UPPER + '+' + LOWER + '*' + end + '|'
            + digits + r'| ?[^\s\p{L}\p{N}]+[\r\n/]*|' + BLANKS)


PRES = {
    'gpt-2': ByteLevel(add_prefix_space=False, use_regex=True),
    'smollm': Sequence([Digits(individual_digits=True),
                        ByteLevel(add_prefix_space=False, use_regex=True)]),
    'falcon': Sequence([Punctuation('contiguous'),
                        ByteLevel(add_prefix_space=False, use_regex=True),
                        Digits(individual_digits=False),
                        Split(Regex('[0-9][0-9][0-9]'), 'isolated')]),
    'falcon3': Sequence([Punctuation('contiguous'),
                         ByteLevel(add_prefix_space=False, use_regex=True),
                         Digits(individual_digits=True)]),
    'falcon-h1': Sequence([Punctuation('contiguous'),
                           Split(Regex(cased('', r'\p{N}')), 'isolated'),
                           ByteLevel(add_prefix_space=False, use_regex=False),
                           Split(Regex('[0-9]'), 'isolated')]),
    'deepseek-coder': split('[\r\n]', r'\s?\p{L}+', r'\s?\p{P}+',
                            '[一-龥ࠀ-一가-퟿]+', r'\p{N}'),
    'deepseek-v3': split(
        r'\p{N}{1,3}', '[一-龥぀-ゟ゠-ヿ]+',
        r'''[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+'''
        r'''|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|'''
        + BLANKS),
    'llama-bpe': split(llama3(r'\p{N}{1,3}')),
    'qwen2': split(llama3(r'\p{N}')),
    'qwen35': split(SHORT + r'|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}'
                    r'| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|' + BLANKS),
    'gpt-4o': split(cased(SHORT + '?', r'\p{N}{1,3}')),
    'tekken': split(cased('', r'\p{N}')),
}


def lengths(pre, text):
    # Every byte is one character in ByteLevel's spelling.
    return ''.join(DIGITS[len(w)] if len(w) < len(DIGITS) else '<%d>' % len(w)
                   for w, _ in pre.pre_tokenize_str(text))


def write(name, lines):
    with open(os.path.join(OUT, name), 'w', encoding='utf-8',
              newline='\n') as f:
        f.write(''.join(line + '\n' for line in lines))


def main():
    texts = make_texts()
    for t in texts:
        assert t and all(is_stable(c) or ord(c) in (0xffff, 0xfdd0) for c in t)

    plain, special = smollm2(sys.argv[1], False), smollm2(sys.argv[1], True)
    a = [plain.encode(t).ids for t in texts]
    b = [special.encode(t).ids for t in texts]

    os.makedirs(OUT, exist_ok=True)
    write('texts.txt', map(escape, texts))
    write('smollm2.txt', (' '.join(map(str, x)) for x in a))
    write('smollm2-special.txt',
          ('%d: %s' % (i, ' '.join(map(str, y)))
           for i, (x, y) in enumerate(zip(a, b)) if x != y))

    for name, pre in PRES.items():
        write('pre-%s.txt' % name, (lengths(pre, t) for t in texts))

    print(len(texts), 'texts')


if __name__ == '__main__':
    main()
