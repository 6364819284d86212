#!/usr/bin/env python3
"""Writes the seeds of the model fuzz target: the heads of some GGUFs of
t/model/families, without the tokenizer's keys."""

import os
import struct

HERE = os.path.dirname(os.path.abspath(__file__))
NAMES = ['llama', 'mixtral', 'gemma3', 'phi3', 'gpt-oss', 'qwen2-yarn',
         'granite']
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def number(self, form):
        v, = struct.unpack_from('<' + form, self.data, self.at)
        self.at += struct.calcsize('<' + form)
        return v

    def string(self):
        n = self.number('Q')
        self.at += n
        return self.data[self.at - n:self.at]

    def skip(self, kind):
        if kind == 8:
            self.string()
        elif kind == 9:
            kind, n = self.number('I'), self.number('Q')
            for _ in range(n):
                self.skip(kind)
        else:
            self.at += SIZES[kind]


def head(data):
    r = Reader(data)
    r.at = 8
    n_tensors, n_kv = r.number('Q'), r.number('Q')
    kept = []
    for _ in range(n_kv):
        start = r.at
        key = r.string()
        r.skip(r.number('I'))
        if not key.startswith((b'tokenizer.', b'general.')) \
                or key == b'general.architecture':
            kept.append(data[start:r.at])
    start = r.at
    for _ in range(n_tensors):
        r.string()
        n_dims = r.number('I')
        r.at += n_dims * 8 + 12
    out = data[:8] + struct.pack('<QQ', n_tensors, len(kept))
    out += b''.join(kept) + data[start:r.at]
    return out + b'\0' * (-len(out) % 32)


folder = os.path.join(HERE, 'seeds/model')
os.makedirs(folder, exist_ok=True)

for name in NAMES:
    path = os.path.join(HERE, f'../model/families/{name}.gguf')
    with open(path, 'rb') as f:
        data = head(f.read())
    with open(os.path.join(folder, name), 'wb') as f:
        f.write(data)
