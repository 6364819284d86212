#!/usr/bin/env python3
"""Writes the seeds of the gguf and tokenizer fuzz targets."""

import os
import struct

HERE = os.path.dirname(os.path.abspath(__file__))


def string(s):
    s = s if isinstance(s, bytes) else s.encode()
    return struct.pack('<Q', len(s)) + s


def value(t, v):
    if t == 8:
        return string(v)
    if t == 9:
        kind, items = v
        return (struct.pack('<IQ', kind, len(items))
                + b''.join(value(kind, x) for x in items))
    return struct.pack('<' + {4: 'I', 5: 'i', 6: 'f', 7: '?', 10: 'Q'}[t], v)


def gguf(kvs, tensors, data, align=32, version=3):
    out = b'GGUF' + struct.pack('<IQQ', version, len(tensors), len(kvs))
    for k, t, v in kvs:
        out += string(k) + struct.pack('<I', t) + value(t, v)
    for name, dims, kind, off in tensors:
        out += string(name) + struct.pack('<I', len(dims))
        out += struct.pack('<%dQ' % len(dims), *dims)
        out += struct.pack('<IQ', kind, off)
    return out + b'\0' * (-len(out) % align) + data if tensors else out


def alphabet():
    more = 256
    for b in range(256):
        if 33 <= b < 127 or 161 <= b < 173 or b >= 174:
            yield chr(b)
        else:
            yield chr(more)
            more += 1


def save(folder, name, data):
    folder = os.path.join(HERE, 'seeds', folder)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), 'wb') as f:
        f.write(data)


TOKENS = list(alphabet()) + ['aa', 'aaaa', 'He', 'll', '<|im_end|>', '<think>']
TYPES = [1] * 260 + [3, 4]
VOCAB = [
    ('tokenizer.ggml.model', 8, 'gpt2'),
    ('tokenizer.ggml.pre', 8, 'smollm'),
    ('tokenizer.ggml.tokens', 9, (8, TOKENS)),
    ('tokenizer.ggml.token_type', 9, (5, TYPES)),
    ('tokenizer.ggml.merges', 9, (8, ['a a', 'aa aa', 'H e', 'l l'])),
    ('tokenizer.ggml.eos_token_id', 4, 260),
    ('tokenizer.ggml.add_bos_token', 7, False),
]

save('gguf', 'empty', gguf([], [], b''))
save('gguf', 'vocab', gguf(VOCAB, [], b''))
save('gguf', 'tensors', gguf(
    [('general.architecture', 8, 'llama'), ('general.alignment', 4, 32),
     ('llama.context_length', 10, 8192), ('llama.rope.freq_base', 6, 1e5)],
    [('token_embd.weight', [32, 4], 8, 0), ('output_norm.weight', [8], 0, 160),
     ('blk.0.attn_q.weight', [32, 2], 3, 192)], b'\x11' * 232))

TEXTS = {
    'plain': "Hello, world! It's 12345 o'clock; don't.\n\n\tif (x) { return; }",
    'special': '<!>hello<|end|>x<think>a</think><br><br><br>[PAD273]<unused>',
    'special-untrusted': '<!>hello<|end|>x <think> <br> <|end|><|end|><!>',
    'unicode': 'Straße 中文字 かな 한국어 👩‍👩‍👧 e\u0301 १२३ \u00a0\u3000\u2028x',
    'spaces': '   \n \n\n\r\n\t  x      y' + ' ' * 70 + 'z',
    'long': 'a' * 200 + ' ' + 'hello' * 30 + 'abc' * 20,
}

for i, (name, text) in enumerate(TEXTS.items()):
    for k, mask in enumerate((0xff, 0x55)):
        save('tokenizer', '%s-%d' % (name, k),
             bytes([i * 2 + k + (0x80 if 'untrusted' in name else 0), mask])
             + text.encode())

save('tokenizer', 'bytes', bytes([0x40, 3]) + bytes(range(256)))
save('tokenizer', 'ill-formed', bytes([1, 0x0f])
     + b'a\xe2\x82\xf0\x9f\x98\xc3(\xed\xa0\x80\xff\xfe<!>\xc0\x80<|end|>\xf4')
