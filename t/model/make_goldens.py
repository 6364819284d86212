#!/usr/bin/env python3
"""Makes goldens/goldens.bin: what t/model/goldens.c expects of the default
model, computed by transformers in F32 on the same dequantised weights.

    util/deps goldens
    ~/.cache/ngx-llm/venv-goldens/bin/python t/model/make_goldens.py [MODEL]
        [--llama-src DIR --llama-lib DIR] [--threads N]

--llama-src (or LLAMA_SRC) is a source tree of llama.cpp, --llama-lib
(LLAMA_LIB) the folder with its built libraries; without them llama.cpp's
figures are taken over from the goldens.bin that is there.

goldens.bin, little endian, no padding:

    u8  magic[8] "LLMGOLD1"
    u32 n_vocab, n_prompts, n_greedy, stride, n_top, n_kl, n_mass, 0
    f64 llama_kl, llama_top1        llama.cpp's on the same file: of the text,
    f64 llama_greedy                and top-1 over all greedy tokens
    n_prompts times:
        u32 n_tokens, n_rows
        i32 tokens[n_tokens], greedy[n_greedy]
        f32 margin[n_greedy]        largest logit less the second largest
        n_rows times:
            u32 pos                 the logits after tokens[0..pos]
            f32 norm                L2 norm of all n_vocab logits
            f32 logits[(n_vocab + stride - 1) / stride]
                                    of tokens 0, stride, 2 stride...
            u32 ids[n_top]          of the largest logits, falling
            f32 top[n_top]
    i32 text[n_kl]
    n_kl times:                     position i, teacher-forced
        u16 ids[n_mass]             the most probable tokens, falling
        f32 logprob[n_mass]

KL(p || q) at a position is taken over n_mass + 1 events: each of the n_mass
tokens, and all others together. Its mean over the text, and how often the
largest logit is the same token's (top-1; over the text, which is ours, and
over the greedy tokens, which is what the model writes itself), are the
figures of integer arithmetic.
"""

import argparse
import os
import pathlib
import struct
import subprocess
import sys
import tempfile

import gguf
import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM

HERE = pathlib.Path(__file__).parent / 'goldens'
CACHE = pathlib.Path(os.environ.get('NGX_LLM_CACHE')
                     or pathlib.Path.home() / '.cache/ngx-llm')
MODEL = CACHE / 'SmolLM2-135M-Instruct.Q4_1.gguf'
GREEDY, STRIDE, TOP, MASS = 64, 12, 50, 64
TEXT = (HERE / 'text.txt').read_text()


def chat(*messages):
    system = ('You are a helpful AI assistant named SmolLM, '
              'trained by Hugging Face')
    out = f'<|im_start|>system\n{system}<|im_end|>\n'
    for i, text in enumerate(messages):
        role = 'assistant' if i % 2 else 'user'
        out += f'<|im_start|>{role}\n{text}<|im_end|>\n'
    return out + '<|im_start|>assistant\n'


PROMPTS = [
    'Once',
    'The capital of France is',
    chat('What is the capital of Norway?'),
    chat('Write a short poem about a lighthouse.'),
    chat('Name three primes.', '2, 3 and 5.', 'And three more, please.'),
    chat('Übersetze ins Englische: „Der Turm wurde 1871 gebaut.“'),
    'def fibonacci(n):\n    """The n-th Fibonacci number."""\n',
    '#include <stdio.h>\n\nint\nmain(void)\n{\n    for (int i = 0; i <',
    '{"name": "Ada", "born": 1815, "languages": ["',
    '| Port | Tide |\n|------|------|\n| Gull Rock | 4.2 m |\n|',
    'Q: If a train travels 60 km in 45 minutes, how fast is it?\nA:',
    'В начале было',
    '灯台は海の',
    'Emoji: 🌊🗼⚓️ and 👩‍🚒, then',
    '\t\t  \n\n   spaces,\ttabs\r\nand   lines   \n\n\n',
    'tick tock ' * 40,
    TEXT[:500],
    TEXT[1300:3100],
    chat('Summarise this in one sentence.\n\n' + TEXT[:3000]),
    TEXT,
]


def tokenizer(reader):
    def strings(key):
        field = reader.fields[key]
        return [bytes(field.parts[i]).decode() for i in field.data]

    tokens = strings('tokenizer.ggml.tokens')
    merges = [tuple(m.split(' ')) for m in strings('tokenizer.ggml.merges')]
    types = reader.fields['tokenizer.ggml.token_type'].contents()
    tok = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, merges))
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    tok.decoder = decoders.ByteLevel()
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False)
                            for t, k in zip(tokens, types) if k == 3])
    return tok


def model(reader):
    def number(key):
        return reader.fields[key].contents()

    layers = number('llama.block_count')
    heads = number('llama.attention.head_count')
    kv = number('llama.attention.head_count_kv')
    weights = {}

    for t in reader.tensors:
        w = gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32)
        weights[t.name] = torch.from_numpy(w.copy())

    def halves(w, n):
        # GGUF's rows of a head are pairs (2i, 2i + 1) for rope;
        # transformers rotates i with i + half.
        return (w.reshape(n, w.shape[0] // n // 2, 2, w.shape[1])
                .swapaxes(1, 2).reshape(w.shape).contiguous())

    names = {'attn_norm': 'input_layernorm', 'ffn_norm':
             'post_attention_layernorm', 'attn_q': 'self_attn.q_proj',
             'attn_k': 'self_attn.k_proj', 'attn_v': 'self_attn.v_proj',
             'attn_output': 'self_attn.o_proj', 'ffn_gate': 'mlp.gate_proj',
             'ffn_up': 'mlp.up_proj', 'ffn_down': 'mlp.down_proj'}
    state = {'model.embed_tokens.weight': weights.pop('token_embd.weight'),
             'model.norm.weight': weights.pop('output_norm.weight')}
    state['lm_head.weight'] = state['model.embed_tokens.weight']

    for name, w in weights.items():
        _, layer, what, _ = name.split('.')
        if what in ('attn_q', 'attn_k'):
            w = halves(w, heads if what == 'attn_q' else kv)
        state[f'model.layers.{layer}.{names[what]}.weight'] = w

    base = float(number('llama.rope.freq_base'))
    config = LlamaConfig(
        vocab_size=state['lm_head.weight'].shape[0],
        hidden_size=number('llama.embedding_length'),
        intermediate_size=number('llama.feed_forward_length'),
        num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=kv,
        max_position_embeddings=number('llama.context_length'),
        rms_norm_eps=float(number('llama.attention.layer_norm_rms_epsilon')),
        rope_parameters={'rope_type': 'default', 'rope_theta': base},
        rope_theta=base, tie_word_embeddings=True,
        attn_implementation='eager')
    m = LlamaForCausalLM(config)
    missing, unexpected = m.load_state_dict(state, strict=False)
    assert not missing and not unexpected, (missing, unexpected)
    second = float(m.model.rotary_emb.inv_freq[1]) # the base was taken
    assert abs(second * base ** (2 / config.head_dim) - 1) < 1e-6
    return m.eval()


def forward(m, ids):
    """Logits [n, n_vocab] and the cache."""
    out = m(torch.tensor([ids]), use_cache=True)
    return out.logits[0].float().numpy(), out.past_key_values


def prompt_golden(m, ids):
    logits, past = forward(m, ids)
    rows = sorted({len(ids) // 2, len(ids) - 1})
    out = struct.pack('<II', len(ids), len(rows))
    out += np.array(ids, '<i4').tobytes()
    greedy, margins, last = [], [], logits[-1]

    for _ in range(GREEDY):
        a, b = np.argsort(-last, kind='stable')[:2]
        greedy.append(int(a))
        margins.append(float(last[a] - last[b]))
        step = m(torch.tensor([[int(a)]]), past_key_values=past,
                 use_cache=True)
        past, last = step.past_key_values, step.logits[0, -1].float().numpy()

    out += np.array(greedy, '<i4').tobytes()
    out += np.array(margins, '<f4').tobytes()

    for pos in rows:
        row = logits[pos]
        top = np.argsort(-row, kind='stable')[:TOP]
        norm = float(np.linalg.norm(row.astype(np.float64)))
        out += struct.pack('<If', pos, norm)
        out += row[::STRIDE].astype('<f4').tobytes()
        out += top.astype('<u4').tobytes() + row[top].astype('<f4').tobytes()

    return out, greedy, min(margins)


def log_softmax(rows):
    rows = rows.astype(np.float64)
    rows -= rows.max(axis=-1, keepdims=True)
    return rows - np.log(np.exp(rows).sum(axis=-1, keepdims=True))


def kl_coarse(ids, logp, q):
    """Mean KL over n_mass + 1 events; q: log-probabilities of all tokens."""
    p = np.exp(logp.astype(np.float64))
    mine = np.take_along_axis(q, ids.astype(np.int64), 1)
    rest_p = np.maximum(1 - p.sum(1), 1e-12)
    rest_q = np.maximum(1 - np.exp(mine).sum(1), 1e-12)
    each = (p * (logp - mine)).sum(1) + rest_p * np.log(rest_p / rest_q)
    return each.mean()


def llama_cpp(args, ids, n_vocab):
    with tempfile.TemporaryDirectory() as tmp:
        src, lib = args.llama_src, args.llama_lib
        exe = f'{tmp}/llama_logits'
        subprocess.run(['cc', '-O2', f'-I{src}/include',
                        f'-I{src}/ggml/include', '-o', exe,
                        str(HERE / 'llama_logits.c'), f'-L{lib}', '-lllama',
                        '-lggml', '-lggml-base', f'-Wl,-rpath,{lib}'],
                       check=True)
        np.array(ids, '<i4').tofile(f'{tmp}/ids')
        subprocess.run([exe, args.model, f'{tmp}/ids', f'{tmp}/out'], check=True,
                       stderr=subprocess.DEVNULL)
        return np.fromfile(f'{tmp}/out', '<f4').reshape(-1, n_vocab)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('model', nargs='?', default=MODEL)
    parser.add_argument('--llama-src', default=os.environ.get('LLAMA_SRC'))
    parser.add_argument('--llama-lib', default=os.environ.get('LLAMA_LIB'))
    parser.add_argument('--threads', type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_grad_enabled(False)

    reader = gguf.GGUFReader(args.model)
    tok, m = tokenizer(reader), model(reader)
    n_vocab = m.config.vocab_size

    text = tok.encode(TEXT).ids
    logits, _ = forward(m, text)
    logp = log_softmax(logits)
    top = np.argsort(-logp, axis=1, kind='stable')[:, :MASS]
    mass = np.take_along_axis(logp, top, 1).astype('<f4')
    full = np.exp(mass.astype(np.float64)).sum(1).mean()
    print(f'text: {len(text)} tokens, perplexity '
          f'{np.exp(-logp[np.arange(len(text) - 1), text[1:]].mean()):.3f}, '
          f'the {MASS} hold {full:.4f} of the mass')

    if args.llama_src:
        peer = llama_cpp(args, text, n_vocab)
        q = log_softmax(peer)
        kl = kl_coarse(top, mass, q)
        whole = (np.exp(logp) * (logp - q)).sum(1).mean()
        top1 = float((peer.argmax(1) == top[:, 0]).mean())
        print(f'llama.cpp: mean KL {kl:.6f} ({whole:.6f} over all tokens), '
              f'top-1 {top1:.4f}')
    else:
        old = (HERE / 'goldens.bin').read_bytes()
        kl, top1, peer_greedy = struct.unpack_from('<ddd', old, 40)

    out = b'LLMGOLD1' + struct.pack('<8I', n_vocab, len(PROMPTS), GREEDY,
                                    STRIDE, TOP, len(text), MASS, 0)
    body, same = b'', 0

    for prompt in PROMPTS:
        ids = tok.encode(prompt).ids
        data, greedy, margin = prompt_golden(m, ids)
        body += data
        if args.llama_src:
            peer = llama_cpp(args, ids + greedy[:-1], n_vocab)[-GREEDY:]
            same += int((peer.argmax(1) == greedy).sum())
        print(f'{len(ids):5} tokens, least margin {margin:.5f}: '
              f'{tok.decode(greedy)[:60]!r}', flush=True)

    if args.llama_src:
        peer_greedy = same / (GREEDY * len(PROMPTS))
        print(f'llama.cpp: top-1 over greedy tokens {peer_greedy:.4f}')

    out += struct.pack('<ddd', kl, top1, peer_greedy) + body
    out += np.array(text, '<i4').tobytes()
    for i in range(len(text)):
        out += top[i].astype('<u2').tobytes() + mass[i].tobytes()

    (HERE / 'goldens.bin').write_bytes(out)
    print(f'{len(out)} bytes')


if __name__ == '__main__':
    sys.exit(main())
