#!/usr/bin/env python3
"""Makes t/grammar/front_goldens.json: grammars, texts, and verdicts of others.

    front_goldens.py LLAMA_SOURCES LLAMA_LIBRARIES [COUNT [FILE]]

GBNF by llama.cpp's own parser (a driver is compiled against libllama.so),
Lark by lark's parser='earley', lexer='dynamic_complete' (PyPI: lark 1.3),
regular expressions by node (flag u) and Python's re.  Texts are those given
with each grammar and random changes of them;
and COUNT (30) random grammars of each of the two with all short texts.
"""

import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile

import lark

CANDIDATES = 250
KEEP = 13  # of each verdict

DRIVER = r'''
#include "unicode.h"
#include "llama-grammar.h"
#include <cstdio>
#include <string>
#include <vector>

static bool read(std::string &s)
{
    unsigned n;
    if (scanf("%u", &n) != 1) return false;
    getchar();
    s.resize(n);
    return n == 0 || fread(&s[0], 1, n, stdin) == n;
}

int main()
{
    std::string kind, s;
    llama_grammar *g = nullptr;
    while (read(kind) && read(s)) {
        if (kind == "g") {
            g = llama_grammar_init_impl(nullptr, s.c_str(), "root", false,
                                        nullptr, 0, nullptr, 0);
            printf("%d\n", g != nullptr);
            continue;
        }
        llama_grammar *c = llama_grammar_clone_impl(*g);
        auto &stacks = llama_grammar_get_stacks(c);
        bool ok = true, end = false;
        for (auto cpt : unicode_cpts_from_utf8(s)) {
            llama_grammar_accept(c, cpt);
            if (stacks.empty()) { ok = false; break; }
        }
        for (auto &k : stacks) end |= k.empty();
        printf("%d\n", ok && end);
        llama_grammar_free_impl(c);
    }
    return 0;
}
'''


class Llama:
    def __init__(self, sources, libraries):
        self.dir = tempfile.mkdtemp()
        cpp = os.path.join(self.dir, 'driver.cpp')
        self.bin = os.path.join(self.dir, 'driver')
        open(cpp, 'w').write(DRIVER)
        subprocess.check_call(
            ['g++', '-std=c++17', '-O1', '-I', sources + '/src', '-I',
             sources + '/include', '-I', sources + '/ggml/include', '-o',
             self.bin, cpp, '-L', libraries, '-lllama', '-lggml',
             '-lggml-base', '-Wl,-rpath,' + libraries])

    def __call__(self, source, texts):
        """None: no grammar; or a verdict for each text."""
        def part(s):
            b = s.encode()
            return b'%d\n%s' % (len(b), b)
        data = part('g') + part(source)
        for t in texts:
            data += part('t') + part(t)
        try:
            out = subprocess.run([self.bin], input=data, capture_output=True,
                                 timeout=5)
        except subprocess.TimeoutExpired:  # nullable loops, say
            return None
        out = out.stdout.split()
        if out[:1] != [b'1']:
            return None
        return [v == b'1' for v in out[1:]]


def by_lark(source, texts):
    try:
        parser = lark.Lark(source, parser='earley', lexer='dynamic_complete')
    except (lark.exceptions.LarkError, AssertionError):
        return None
    out = []
    for t in texts:
        signal.alarm(20)
        try:
            parser.parse(t)
            out.append(True)
        except lark.exceptions.LarkError:
            out.append(False)
        except TimeoutError:
            return None
        finally:
            signal.alarm(0)
    return out


def by_node(source, texts):
    script = ('const [s,t]=JSON.parse(require("fs").readFileSync(0));'
              'let r;try{r=new RegExp("^(?:"+s+")$","u");'
              'console.log(JSON.stringify(t.map(x=>r.test(x))))}'
              'catch(e){console.log("null")}')
    out = subprocess.run(['node', '-e', script],
                         input=json.dumps([source, texts]).encode(),
                         capture_output=True).stdout
    return json.loads(out)


def by_python(source, texts):
    try:
        r = re.compile(source, re.ASCII)
    except re.error:
        return None
    return [r.fullmatch(t) is not None for t in texts]


def change(rng, text, letters):
    s = list(text)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        at = rng.randrange(len(s) + 1)
        what = rng.randrange(4)
        if what == 0:
            s.insert(at, rng.choice(letters))
        elif what == 1 and at < len(s):
            del s[at]
        elif what == 2 and at < len(s):
            s[at] = rng.choice(letters)
        elif at < len(s):
            n = rng.randrange(1, 4)
            s[at:at] = s[at:at + n]
    return ''.join(s)


def texts_of(rng, seeds, extra):
    out = dict.fromkeys(seeds)
    letters = sorted(set(''.join(seeds)) | set(extra)) or ['a']
    for _ in range(CANDIDATES * 10):
        if len(out) >= CANDIDATES:
            break
        text = change(rng, rng.choice(list(out)), letters)
        if len(text) < 60:
            out[text] = None
    return list(out)


# (source, texts to begin with, more letters)
GBNF = [
    ('root ::= "abc"', ['abc', 'ab', '']),
    ('root ::= "a" | "b" "c" | ', ['a', 'bc', 'b', '']),
    ('root ::= ("a" | "bb")* "c"', ['c', 'abbc', 'bbac']),
    ('root ::= "a"? "b"+ [cd]{2} "e"{1,} "f"{0,2}', ['abcde', 'bdceeff', 'bcd']),
    ('root ::= "x"{3}', ['xxx', 'xx', 'xxxx']),
    ('root ::= ("ab"{2,3}){2}', ['abababab', 'abab', 'ababab']),
    ('root ::= [^a-c\\n]+', ['xyz', 'd', 'abc', 'é\u3042'], 'abc\n'),
    ('root ::= [a\\]\\[\\\\-]+', ['a][\\-', 'a'], 'b'),
    ('root ::= [-a]+ [b-]* [^-] ', ['-ab-c', 'aax'], ''),
    ('root ::= "\\x41\\u00e9\\U0001F600" [\\x30-\\x33\\u3041-\\u3096]*',
     ['Aé😀', 'Aé😀0ゟあ', 'Aé'], '3ん'),
    ('root ::= "\\t\\r\\n\\"\\\\\\[\\]"', ['\t\r\n"\\[]', 't']),
    ('root ::= . . .', ['abc', 'é\n😀', 'ab']),
    ('root ::= .* "end"', ['end', 'endend', 'xyend', 'en']),
    ('root ::= "a" # comment\n# another\n   \n\n# more\nb ::= "c"', ['a', 'c']),
    ('root ::= (\n  "a" # one\n  | "b"\n\n  "c"\n)', ['a', 'bc', 'b']),
    ('root ::= "a" |\n  "b" |\n\n  # no\n  "c"', ['a', 'b', 'c']),
    ('root ::=\n  "a" x\nx ::= "y" | "z" root', ['ay', 'azay', 'az']),
    ('a-b ::= "x"\nroot ::= a-b a-b | B2\nB2 ::= "2"', ['xx', '2', 'x']),
    ('root ::= "a"\nroot ::= "b"', ['a', 'b']),
    ('x ::= "1"\nroot ::= x\nx ::= "2" x?', ['1', '2', '22']),
    ('root ::= "a"*?', ['', 'a', 'aa']),
    ('root ::= "ab"+*', ['', 'abab', 'aba']),
    ('root ::= "(" root ")" | ""', ['', '()', '(())', '(()']),
    ('root ::= "a" root "b" | "c" | root2\nroot2 ::= "d" root2 | "e"',
     ['acb', 'aacbb', 'dde', 'adeb']),
    ('root ::= expr\nexpr ::= term ([-+*/] term)*\n'
     'term ::= num | "(" ws expr ")" ws\nnum ::= [0-9]+ ws\nws ::= [ \\t\\n]*',
     ['1+2', '(1 - 2) * 3', '((4))', '1 +'], '()0'),
    ('root   ::= object\n'
     'value  ::= object | array | string | number | ("true" | "false" | "null") ws\n'
     'object ::=\n  "{" ws (\n            string ":" ws value\n'
     '    ("," ws string ":" ws value)*\n  )? "}" ws\n'
     'array  ::=\n  "[" ws (\n            value\n    ("," ws value)*\n  )? "]" ws\n'
     'string ::=\n  "\\"" (\n    [^"\\\\\\x7F\\x00-\\x1F] |\n'
     '    "\\\\" (["\\\\bfnrt] | "u" [0-9a-fA-F]{4})\n  )* "\\"" ws\n'
     'number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? '
     '([eE] [-+]? [0-9] [1-9]{0,15})? ws\n'
     'ws ::= | " " | "\\n" [ \\t]{0,20}',
     ['{"a": [1, 2.5e3], "b":null}', '{}', '{"\\u00e9" : {"x":[true,{}]}}',
      '{"a":[],"b":"\\n"}'], '"}]'),
    ('root ::= list\nlist ::= item | item "," list\nitem ::= [a-z]+ | "[" list "]"',
     ['a', 'a,b', '[a,bc],d', '[[x]]'], ',]'),
    ('root ::= "a"{2,4} ("b" "c"?){1,3}', ['aab', 'aaaabcbbc', 'aaabcbc']),
    ('root ::= ([a-c] [x-z]?){2,3} "!"', ['ab!', 'axbycz!', 'abc!']),
    ('root ::= s t\ns ::= "a" s | "a"\nt ::= "a" "b"', ['aab', 'ab', 'aaab']),
    ('root ::= e\ne ::= "a" e "a" | "b" e "b" | "a" | "b" | ""',
     ['aba', 'abba', 'ababa', 'ab']),
    ('root ::= "" [x]* ("")', ['', 'x', 'xx']),
    ('root ::= ( ( ( "a" ) | "b" ) "c"? )', ['ac', 'b', 'bc']),
    ('root ::= "a" {2} "b" ?', ['aa', 'aab', 'ab']),
    ('root::="a"b\nb::="c"', ['ac', 'a']),
    ('root ::= "日本" [ぁ-ん]+ "。"', ['日本あ。', '日本いろは。', '日本。'], '語'),
    ('root ::= "a" | "a" "b"\r\n\r\nx ::= "y"\r\n', ['a', 'ab']),
]

# Syntax alone: does llama.cpp take it?
GBNF_SYNTAX = [
    'root ::= a', 'root ::= "a', 'root ::= [a', 'root ::= ("a"', 'root = "a"',
    'root ::= "a")', 'root ::= "a" "\\q"', 'root ::= *', 'root ::= | *',
    'root ::= "a"{', 'root ::= "a"{}', 'root ::= "a"{2', 'root ::= "a"{,2}',
    'root ::= "a"{2,', 'root ::= "a"{2;3}', 'x ::= "a"', '', '\n\n',
    'root ::= ', 'root ::= "a" ::= "b"', 'root ::= "\\x4"', 'root ::= "\\u12"',
    'root ::= "a"\n  "b"', 'root ::= "a" ;', 'root', '::= "a"',
    'root ::= [\\-]', 'root ::= [a-]', 'root ::= [^]', 'root ::= []',
    'root ::= "a" # c', '# c\nroot ::= "a"', 'root ::= "a" b\nb ::=',
    'root ::= ("a"\n"b")', 'root ::= (\n)', 'root ::= <a', 'root ::= "a" &',
    'root ::= \'a\'', 'root ::= "a"{2}{3}', 'root ::= "a" root |',
]

LARK = [
    ('start: "a"', ['a', 'b', '']),
    ('start: "a" "b" | "c"', ['ab', 'c', 'a']),
    ('start: "a"? "b"* "c"+', ['c', 'abbcc', 'bc', 'ab']),
    ('start: ["x"] "y" [("z" | "w")]', ['y', 'xyz', 'yw']),
    ('start: "a"~3 "b"~1..2', ['aaab', 'aaabb', 'aab']),
    ('start: (A B)~2\nA: "a"\nB: "b"+', ['abab', 'abbbab', 'ab']),
    ('start: item ("," item)*\nitem: WORD | NUM\nWORD: /[a-z]+/\nNUM: /[0-9]+/',
     ['a', 'a,1', '12,ab,c'], ',9'),
    ('start: "if"i NAME\nNAME: ("a".."z")+', ['ifx', 'IFabc', 'iFz', 'if'], 'X'),
    ('start: a\n  | b\n\n  // no\n  | c\na: "1"\nb: "2"\nc: "3"',
     ['1', '2', '3', '4']),
    ('start: expr\n?expr: expr "+" term | term\n?term: term "*" atom -> mul\n'
     '  | atom\n?atom: INT | "(" expr ")"\n%import common.INT\n'
     '%import common.WS\n%ignore WS',
     ['1+2', '1 + 2 * (3)', ' (1) ', '1 2', '12'], '() \n'),
    ('start: "a" "b"\n%ignore " "\n%ignore /#[^\\n]*\\n/',
     ['ab', 'a b', ' a#x\nb ', 'a #', 'a b#q\n'], '#\n'),
    ('start: pair*\npair: KEY "=" (NUMBER | ESCAPED_STRING) ";"\nKEY: CNAME\n'
     '%import common (CNAME, NUMBER, ESCAPED_STRING, WS_INLINE)\n'
     '%ignore WS_INLINE',
     ['a=1;', 'b_1 = "x" ;', 'x=1.5e3;y="\\"";', ''], '";'),
    ('start: SIGNED_NUMBER\n%import common.SIGNED_NUMBER',
     ['1', '-1.5', '+.5e-3', '1.e5', '.', '1e', '00'], '+-.eE'),
    ('start: FLOAT\n%import common.FLOAT', ['1.', '1e5', '.5E+1', '1', '.e1'],
     '+-.'),
    ('start: SIGNED_FLOAT | HEXDIGIT HEXDIGIT\n'
     '%import common.SIGNED_FLOAT\n%import common.HEXDIGIT',
     ['-1.0', 'fF', '+1e1', 'g0'], '0a'),
    ('start: DECIMAL "|" SIGNED_INT\n%import common.DECIMAL\n'
     '%import common.SIGNED_INT', ['1.|2', '.5|-2', '1|1'], '+.'),
    ('start: LETTER DIGIT WORD LCASE_LETTER UCASE_LETTER\n'
     '%import common (LETTER, DIGIT, WORD, LCASE_LETTER, UCASE_LETTER)',
     ['a1bcD', 'Z0ABcD', 'a1bD'], 'xX'),
    ('start: L (NEWLINE L)*\nL: /[a-z]+/\n%import common.NEWLINE',
     ['a', 'a\nb', 'a\r\n\nb', 'a\r'], '\r\n'),
    ('start: (CR | LF)+ WS\n%import common (CR, LF, WS)',
     ['\r ', '\n\t', '\r\n\r\n ', '\n'], '\f '),
    ('start: (SH_COMMENT LF | CPP_COMMENT LF | SQL_COMMENT LF)+\n'
     '%import common (SH_COMMENT, CPP_COMMENT, SQL_COMMENT, LF)',
     ['#a\n', '//\n--x\n', '-\n'], '#/-'),
    ('start: NAME\n%import common.CNAME -> NAME', ['a', '_a9', '9a'], '_Z'),
    ('start: /a+/ /[^b]/s /B/i', ['aacb', 'a\nB', 'aaB'], 'xb'),
    ('start: /a b # no\n c/x "d"', ['abcd', 'a b cd'], ' '),
    ('start: /a.c/ /d.f/s', ['abcd\nf', 'a\ncdef', 'axcd f'], '\n'),
    ('start: "\\n" "\\t" "\\\\" "\\"" "\\x41" "\\u00e9"', ['\n\t\\"Aé', 'nt']),
    ('start: /\\d+\\s\\w+\\/[\\]\\-a]/', ['1 a/]', '23\t_b9/-', '1 a/'], 'é²٣'),
    ('start: /[\\w.]+@\\w+\\.[a-z]{2,3}/', ['a@b.de', 'x.y@zé.com', 'a@b.c'], '_'),
    ('start: /(?i:ab)c|(?P<n>x)(?:y)/', ['ABc', 'abc', 'xy', 'abC'], 'bB'),
    ('start: /[]a]+[^]a]/', [']ax', 'ab', ']]'], 'b'),
    ('start: /a{,2}b{2,}c{1,2}/', ['bbc', 'aabbbcc', 'abc', 'aaabbc']),
    ('start: "(" start ")" | "[" start? "]"', ['[]', '([])', '[([[]])]', '()']),
    ('start: a b\na: "x" a | "x"\nb: "x" "y"', ['xxy', 'xy', 'xxxy']),
    ('start: start "," X | X\nX: "x" | "xx"', ['x', 'x,xx', 'xx,x,x', 'x,']),
    ('start: kw+\n!kw: "let" | "in"\n%ignore /[ ]+/', ['let in', 'letin', 'let  '],
     ' '),
    ('start: TWO | ONE\nONE: "a" | "b"\nTWO: ONE ONE+', ['a', 'ab', 'aba', ''],
     'c'),
    ('start: obj\n?value: obj | arr | STR | NUM | "true" | "null"\n'
     'arr: "[" [value ("," value)*] "]"\nobj: "{" [pair ("," pair)*] "}"\n'
     'pair: STR ":" value\nSTR: /"[^"\\\\]*"/\nNUM: /-?[0-9]+/\n%ignore /[ \\n]+/',
     ['{"a": [1, true], "b":null}', '{}', '{"x":{"y":[]}}', '{"a" : -5}'], '"]}'),
    ('start.2: x | y\nx.1: "a"\ny.-1: "a" "b"', ['a', 'ab']),
    ('start: A~2..3 | B~0..1\nA: "a"~2\nB: "b"', ['aaaa', 'aaaaaa', 'b', '', 'aa']),
]

# (ours, the same in Lark proper)
LARK_AS = [
    ('start: "a"{2,3} "b"{2} "c"{1,}', 'start: "a"~2..3 "b"~2 "c"+',
     ['aabbc', 'aaabbccc', 'abbc']),
    ('start: A\nA: /[a-c]+/ & ~/.*cc.*/',
     'start: A\nA: /(?!.*cc)[a-c]+$/', ['abc', 'acca', 'cac', 'cc']),
    ('%llguidance {}\n# comment\nstart: a-b\na-b: "x"',
     'start: a_b\na_b: "x"', ['x', 'y']),
    ('start: /"[^"]*?"/ "!"', 'start: /"[^"]*"/ "!"', ['"a"!', '""!', '"']),
]

REGEX = [
    'abc', 'a|bc|', '(a|b)*c', 'a?b+c{2}d{1,}e{0,2}', '[^a-c]+', '[\\d\\-x]+',
    '\\w+@\\w+\\.com', '(?:ab){2,3}', '(?<y>\\d{4})-(?<m>\\d\\d)', '.*\\.txt',
    '(?=.*\\d)(?=.*[a-z])\\w{3,6}', '(?!no)[a-z]+', '(?!.*aa)[ab]+',
    'a(?=b)bc', '(?<=a)b|ab(?<!c)', '\\u0041\\x42\\u{43}', '[\\u3041-\\u3096]+',
    '\\p{Lu}\\p{Ll}+', '\\bfoo\\b bar', 'a\\Bb', '^abc$', '(^a|b)c$',
    '[a-z]+?x', '(a+)+b', '(x+x+)+y', '\\s*,\\s*', '\\$\\{[a-z]+\\}', 'é+[à-ü]',
    '(([a-z]+)(\\.[a-z]+)*)(@x)?', '-?(0|[1-9]\\d*)(\\.\\d+)?([eE][+-]?\\d+)?',
    '[0-9a-fA-F]{8}(-[0-9a-f]{4}){3}', '(?i:aB)c', '(?s:.)(?-s:.)x',
]

REGEX_TEXTS = {
    '\\w+@\\w+\\.com': ['a@b.com', 'x_1@y.com', '@b.com'],
    '(?<y>\\d{4})-(?<m>\\d\\d)': ['2024-12', '1999-1'],
    '.*\\.txt': ['a.txt', '.txt', 'atxt'],
    '(?=.*\\d)(?=.*[a-z])\\w{3,6}': ['a1b', '12c', 'abc', 'Z9y_'],
    '(?!no)[a-z]+': ['yes', 'no', 'not', 'on'],
    '\\u0041\\x42\\u{43}': ['ABC', 'AB'],
    '[\\u3041-\\u3096]+': ['あい', 'ア', 'ぁ'],
    '\\p{Lu}\\p{Ll}+': ['Abc', 'Éa', 'AB'],
    '\\bfoo\\b bar': ['foo bar', 'foobar'],
    '\\$\\{[a-z]+\\}': ['${abc}', '${}', '$a'],
    '[0-9a-fA-F]{8}(-[0-9a-f]{4}){3}': ['01234567-89ab-cdef-0123', '0123ABCD-1'],
    'a?b+c{2}d{1,}e{0,2}': ['abccd', 'bbccddee', 'bcd'],
    '[\\d\\-x]+': ['1-x', '-', 'a'],
    '(?:ab){2,3}': ['abab', 'ababab', 'ab'],
    'a\\Bb': ['ab', 'a b'],
    '(^a|b)c$': ['ac', 'bc', 'c'],
    '-?(0|[1-9]\\d*)(\\.\\d+)?([eE][+-]?\\d+)?': ['-1.5e+3', '0', '01', '10.0'],
    '\\s*,\\s*': [' , ', ',', '\t,\n'],
    '(([a-z]+)(\\.[a-z]+)*)(@x)?': ['a.b@x', 'ab', 'a.'],
    'é+[à-ü]': ['éà', 'ééü', 'é'],
    '(?i:aB)c': ['abc', 'ABc', 'abC'],
    '(?s:.)(?-s:.)x': ['\nax', 'a\nx', 'abx'],
    '[a-z]+?x': ['ax', 'xx', 'x'],
}

# Python's spellings.
PYTHON = [
    ('(?P<n>\\d+)x', ['12x', 'x']), ('(?i)abc', ['aBC', 'abc', 'abd']),
    ('\\Aab\\Z', ['ab', 'a']), ('(?s)a.b', ['a\nb', 'axb', 'ab']),
    ('(?x) a b # c\n [ ]', ['ab ', 'ab', 'a b']), ('a(?#no)b', ['ab', 'a']),
    ('(?i:k)[x-z]', ['Kx', 'kz', 'ka'], 'XZ'), ('\\a\\x41', ['\x07A', 'aA']),
    ('(?is)A.', ['a\n', 'Ab', 'b.']), ('(?i)[^a]', ['b', 'A', 'a']),
]


def random_expr(rng, depth, leaf, counts):
    what = rng.randrange(8) if depth else 7
    if what < 3:
        return ' '.join(random_expr(rng, depth - 1, leaf, counts)
                        for _ in range(rng.randrange(1, 4)))
    if what < 5:
        return '(' + ' | '.join(random_expr(rng, depth - 1, leaf, counts)
                                for _ in range(rng.randrange(1, 4))) + ')'
    if what < 6:
        return '(%s)%s' % (random_expr(rng, depth - 1, leaf, counts),
                           rng.choice(counts))
    return leaf()


def random_gbnf(rng):
    names = ['root', 'x', 'y', 'z'][:rng.randrange(1, 5)]

    def leaf():
        return rng.choice(['"a"', '"b"', '"ab"', '[ab]', '[^a]', '""']
                          + names + names[1:])
    counts = ['*', '+', '?', '{2}', '{1,2}', '{0,2}', '{2,}']
    return '\n'.join('%s ::= %s' % (n, ' | '.join(
        random_expr(rng, 2, leaf, counts)
        for _ in range(rng.randrange(1, 4)))) for n in names)


def random_lark(rng):
    names = ['start', 'x', 'y'][:rng.randrange(1, 4)]
    terminals = ['A', 'B'][:rng.randrange(0, 3)]

    def leaf():
        return rng.choice(['"a"', '"b"', '"ab"', '/[ab]/', '/a+/', '"b"i']
                          + names + names[1:] + terminals * 2)

    def part():
        return rng.choice(['"a"', '"b"', '/[ab]b?/'])
    counts = ['*', '+', '?', '~2', '~1..2']
    out = ['%s: %s' % (n, ' | '.join(
        random_expr(rng, 2, leaf, counts)
        for _ in range(rng.randrange(1, 4)))) for n in names]
    for n in terminals:
        out.append('%s: %s' % (n, part() + ' ' + random_expr(
            rng, 1, part, counts)))
    if rng.randrange(2):
        out.append('%ignore " "')
    return '\n'.join(out) + '\n'


def random_cases(rng, count, make, oracle, letters, longest):
    """Small random grammars, all short texts."""
    texts = ['']
    for n in range(longest):
        texts += [t + c for t in texts if len(t) == n for c in letters]
    while count:
        source = make(rng)
        verdicts = oracle(source, texts)
        if verdicts is None or not any(verdicts) or all(verdicts):
            continue
        count -= 1
        order = sorted(range(len(texts)), key=lambda i: rng.random())
        yield (source, [texts[i] for i in order],
               [verdicts[i] for i in order])


def late(*_):
    raise TimeoutError


def main():
    signal.signal(signal.SIGALRM, late)
    llama = Llama(*sys.argv[1:3])
    rng = random.Random(4)
    many = int(sys.argv[3]) if len(sys.argv) > 3 else 30
    cases = []

    def add(kind, source, texts, verdicts, **more):
        assert verdicts is not None, source
        assert len(texts) == len(verdicts), source
        assert any(verdicts), source
        yes = [t for t, v in zip(texts, verdicts) if v]
        no = [t for t, v in zip(texts, verdicts) if not v]
        cases.append(dict(kind=kind, source=source, **more,
                          yes=yes[:KEEP], no=no[:KEEP]))

    for source, seeds, *extra in GBNF:
        texts = texts_of(rng, seeds, extra[0] if extra else '')
        add('gbnf', source, texts, llama(source, texts))

    for source in GBNF_SYNTAX:
        cases.append(dict(kind='gbnf', source=source,
                          valid=llama(source, []) is not None))

    for source, seeds, *extra in LARK:
        texts = texts_of(rng, seeds, extra[0] if extra else '')
        add('lark', source, texts, by_lark(source, texts))

    for ours, theirs, seeds in LARK_AS:
        texts = texts_of(rng, seeds, '')
        add('lark', ours, texts, by_lark(theirs, texts))

    for source in REGEX:
        seeds = REGEX_TEXTS.get(source, ['abc', 'a', 'b', 'aab', 'xxy', 'abcde'])
        texts = texts_of(rng, seeds, 'abcx')
        verdicts = by_node(source, texts)
        if verdicts is None:  # modifiers are newer than node
            verdicts = by_python(source, texts)
        if any(verdicts):
            add('regex', source, texts, verdicts)
        else:
            print('nothing matches', source)

    for source, seeds, *extra in PYTHON:
        texts = texts_of(rng, seeds, extra[0] if extra else '')
        add('regex', source, texts, by_python(source, texts))

    for args in random_cases(rng, many, random_gbnf, llama, 'ab', 5):
        add('gbnf', *args)

    for args in random_cases(rng, many, random_lark, by_lark, 'ab ', 4):
        add('lark', *args)

    path = os.path.join(os.path.dirname(__file__), 'front_goldens.json')
    if len(sys.argv) > 4:
        path = sys.argv[4]
    with open(path, 'w') as f:
        f.write('[\n' + ',\n'.join(
            json.dumps(c, ensure_ascii=True) for c in cases) + '\n]\n')
    n = sum(len(c.get('yes', [])) + len(c.get('no', [])) for c in cases)
    yes = sum(len(c.get('yes', [])) for c in cases)
    print(len(cases), 'grammars', n, 'verdicts', yes, 'yes')


main()
