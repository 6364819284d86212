#!/usr/bin/env python3
"""Writes the tables of engine/grammar/re_ecma_unicode.c: Python's \\d and \\w."""

import re
import unicodedata


def ranges(pattern):
    out, start = [], None
    for c in range(0x110001):
        hit = c < 0x110000 and re.match(pattern, chr(c)) is not None
        if hit and start is None:
            start = c
        elif not hit and start is not None:
            out.append((start, c - 1))
            start = None
    return out


def table(name, pattern):
    line, lines = '', []
    for lo, hi in ranges(pattern):
        item = '{0x%x, 0x%x},' % (lo, hi)
        if len(line) + len(item) + 1 > 76:
            lines.append(line)
            line = ''
        line += (' ' if line else '') + item
    lines.append(line)
    print('static const re_range_t %s[] = {' % name)
    print('\n'.join('    ' + s for s in lines).rstrip(','))
    print('};')


print('/* Unicode %s, by t/grammar/unicode_ranges.py. */' %
      unicodedata.unidata_version)
print('/* clang-format off */')
table('digit', r'\d')
table('word', r'\w')
print('/* clang-format on */')
