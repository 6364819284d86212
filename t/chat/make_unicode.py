#!/usr/bin/env python3
"""Prints what Python's str knows about characters, as sorted ranges.

Usage: make_unicode.py classes > engine/chat/jinja/jinja_unicode.h
       make_unicode.py cases > engine/chat/jinja/jinja_unicode_case.h
"""

import sys
import unicodedata

MAX = 0x110000
SURROGATES = range(0xD800, 0xE000)


def ranges(pred):
    out, start = [], None
    for cp in range(MAX + 1):
        yes = cp < MAX and cp not in SURROGATES and pred(chr(cp))
        if yes and start is None:
            start = cp
        elif not yes and start is not None:
            out.append((start, cp - 1))
            start = None
    return out


def emit(name, rows, width):
    kind = "range" if width == 2 else "shift"
    print(f"static const jinja_{kind}_t {name}[] = {{")
    line = "   "
    for row in rows:
        item = " {" + ", ".join(
            hex(v) if i < 2 else str(v) for i, v in enumerate(row)) + "},"
        if len(line) + len(item) > 80:
            print(line)
            line = "   "
        line += item
    print(line)
    print("};\n")


def shifts(fn):
    """(first, last, delta, step) of characters that map to one other."""
    pairs = []
    for cp in range(128, MAX):
        if cp in SURROGATES:
            continue
        to = fn(chr(cp))
        if len(to) == 1 and ord(to) != cp:
            pairs.append((cp, ord(to) - cp))
    out = []
    for cp, delta in pairs:
        if out and out[-1][2] == delta:
            first, last, _, step = out[-1]
            gap = cp - last
            if (first == last and gap in (1, 2)) or gap == step:
                out[-1] = (first, cp, delta, gap)
                continue
        out.append((cp, cp, delta, 1))
    return out


def specials(fn, base=None):
    out = []
    for cp in range(128, MAX):
        if cp in SURROGATES:
            continue
        to = fn(chr(cp))
        if (base and to != base(chr(cp))) or (not base and len(to) > 1):
            out.append((cp, *[ord(c) for c in to], *[0] * (3 - len(to))))
    return out


def emit_specials(name, rows):
    print(f"static const uint32_t {name}[][4] = {{")
    line = "   "
    for row in rows:
        item = " {" + ", ".join(hex(v) for v in row) + "},"
        if len(line) + len(item) > 80:
            print(line)
            line = "   "
        line += item
    print(line)
    print("};\n")


print(f"""/*
 * What Python's str knows about characters beyond ASCII: Unicode
 * {unicodedata.unidata_version}.  Made by t/chat/make_unicode.py; do not edit.
 * Ranges are sorted and inclusive.
 */

/* clang-format off */
""")
if sys.argv[1] == "classes":
    hi = lambda f: lambda c: ord(c) > 127 and f(c)
    emit("unprintable", ranges(hi(lambda c: not c.isprintable())), 2)
    emit("alpha", ranges(hi(str.isalpha)), 2)
    emit("decimal", ranges(hi(str.isdecimal)), 2)
    emit("digit", ranges(hi(str.isdigit)), 2)
    emit("numeric", ranges(hi(str.isnumeric)), 2)
    emit("lower", ranges(hi(str.islower)), 2)
    emit("upper", ranges(hi(str.isupper)), 2)
else:
    emit("to_upper", shifts(str.upper), 4)
    emit("to_lower", shifts(str.lower), 4)
    emit_specials("upper_special", specials(str.upper))
    emit_specials("lower_special", specials(str.lower))
    emit_specials("title_special", specials(str.title, str.upper))
print("/* clang-format on */")
