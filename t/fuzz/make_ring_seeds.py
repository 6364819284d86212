#!/usr/bin/env python3
"""Writes the seeds of t/fuzz/ring.c into t/fuzz/seeds/ring/: valid records of
every type for both ends, a valid handshake, a writer's run."""

import os
import struct

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "seeds", "ring")
SIZE = 65536
NONE = 0xffffffff


def rec(kind, payload=b"", flags=0, slot=1, gen=1):
    r = struct.pack("<IBBHII", 16 + len(payload), kind, flags, 0, slot, gen)
    r += payload
    return r + b"\0" * (-len(r) % 16)


def submit(op=1, strings=(b"m", b"tenant", b"salt", b"id"), flags=1):
    s = struct.pack("<HHIQqQ32sIIIIHHHHH6x", op, 1, flags, 100, 1700000000, 42,
                    b"0123456789abcdef" * 2, 65536, 1000, 2000, 3000,
                    *map(len, strings), 0)
    assert len(s) == 96
    return s + b"".join(strings)


def admit(name=b"smollm2"):
    return struct.pack("<32sIIIIHB13x", b"f" * 32, 10, 2, 16, 1, len(name),
                       1) + name


def data(tokens=(1, 2, 3), body=b"data: {}\n\n"):
    return struct.pack("<HHIII", 0, 1, 0, len(tokens), len(body)) + \
        struct.pack("<%di" % len(tokens), *tokens) + body


def end(strings=(b"", b"user", b"gpt")):
    e = struct.pack("<HHHHIIIIIIQQQQQHHHH48x", 0, 1, 200, 0, 1, 2, 3, 4, 5, 6,
                    7, 8, 9, 10, 11, *map(len, strings), 1)
    assert len(e) == 128
    return e + b"".join(strings)


def ring(mode, at, records):
    """The records from byte `at` of the ring on, a PAD where one is due."""
    out, pos = b"", at
    for r in records:
        gap = SIZE - pos % SIZE
        if len(r) > gap:
            pad = rec(0, b"\0" * (gap - 16), slot=NONE, gen=0)
            out, pos = out + pad, pos + gap
        out, pos = out + r, pos + len(r)
    return struct.pack("<BHI", mode, at // 16, len(out)) + out


def hello(magic=0x314d4c4c58474e):
    size = 16384 + 2 * SIZE
    h = struct.pack("<QHHIIIQQQ16x", magic, 1, 0, 0, 77, 0, 0, 0, size)
    r = struct.pack("<QHHIQQQQQ8x", magic, 1, 0, 0, size, 16384, SIZE,
                    16384 + SIZE, SIZE)
    return b"\2" + h + r + struct.pack("<BBI", 7, 3, size)


WORKER = [
    rec(1, b'{"models":[]}', slot=NONE, gen=0), rec(2, submit()),
    rec(3, b"{" * 50, 1), rec(3, b"}" * 33), rec(4), rec(5, struct.pack("<II", 9, 0)),
    rec(6, struct.pack("<II", 4096, 0)), rec(7),
]
ENGINE = [
    rec(32, b'{"models":[', 1, NONE, 0), rec(32, b"]}", 0, NONE, 0),
    rec(33, admit()), rec(34, struct.pack("<HBBI8x", 200, 2, 0, 0)),
    rec(35, data()), rec(35, data((), b"x" * 300)), rec(35, data((5,) * 64, b"")),
    rec(36, end()),
]
SEEDS = {
    "worker": ring(0, 0, WORKER),
    "worker-wrap": ring(0, SIZE - 208, WORKER),
    "engine": ring(1, 0, ENGINE),
    "engine-wrap": ring(1, 5 * SIZE - 112, ENGINE),
    "pad-only": ring(0, SIZE - 32, [])[:3] + struct.pack("<I", 32)
    + rec(0, b"\0" * 16, slot=NONE, gen=0),
    "hello": hello(),
    "hello-garbage": hello(1),
    "writer": b"\3" + b"".join(struct.pack("<HI", n, n * 7 % 1000)
                               for n in (0, 1, 100, 8000, 8176, 8177, 15, 16, 4000) * 12),
}

os.makedirs(OUT, exist_ok=True)
for name, seed in SEEDS.items():
    with open(os.path.join(OUT, name), "wb") as f:
        f.write(seed)
