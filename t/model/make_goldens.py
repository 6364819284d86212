#!/usr/bin/env python3
"""Makes goldens/goldens.bin and gemma3.bin: what t/model/goldens.c expects of
the default model and of Gemma 3 270M, computed by transformers in F32 on the
same dequantised weights.  The model's architecture says which one it is.

    util/deps goldens
    ~/.cache/ngx-llm/venv-goldens/bin/python t/model/make_goldens.py [MODEL]
        [--llama-src DIR --llama-lib DIR] [--threads N]

--llama-src (or LLAMA_SRC) is a source tree of llama.cpp, --llama-lib
(LLAMA_LIB) the folder with its built libraries; without them llama.cpp's
figures are taken over from the file that is there.

The files, little endian, no padding:

    u8  magic[8] "LLMGOLD1"
    u32 n_vocab, n_prompts, n_greedy, stride, n_top, n_kl, n_mass, id_bytes
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
        u16 or u32 ids[n_mass]      the most probable tokens, falling
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
from transformers import (AutoTokenizer, Gemma3ForCausalLM, Gemma3TextConfig,
                          LlamaConfig, LlamaForCausalLM)

HERE = pathlib.Path(__file__).parent / 'goldens'
CACHE = pathlib.Path(os.environ.get('NGX_LLM_CACHE')
                     or pathlib.Path.home() / '.cache/ngx-llm')
MODEL = CACHE / 'SmolLM2-135M-Instruct.Q4_1.gguf'
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


def gemma_chat(text):
    return (f'<start_of_turn>user\n{text}<end_of_turn>\n'
            '<start_of_turn>model\n')


GEMMA_PROMPTS = [
    'Once upon a time',
    'The capital of France is',
    gemma_chat('What is the capital of Norway?'),
    gemma_chat('Übersetze ins Englische: „Der Turm wurde 1871 gebaut.“'),
    '#include <stdio.h>\n\nint\nmain(void)\n{\n    for (int i = 0; i <',
    '灯台は海の',
    'Emoji: 🌊🗼⚓️ and 👩‍🚒, then',
    gemma_chat('Summarise this in one sentence.\n\n' + TEXT[:3000]),
]


def smollm_ids(path, reader):
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
    return lambda text: tok.encode(text).ids


def gemma_ids(path, reader):
    path = pathlib.Path(path)
    return AutoTokenizer.from_pretrained(path.parent,
                                         gguf_file=path.name).encode


def dequantised(reader):
    weights = {}
    for t in reader.tensors:
        w = gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32)
        weights[t.name] = torch.from_numpy(w.copy())
    return weights


def gemma(reader):
    def number(key):
        return reader.fields['gemma3.' + key].contents()

    names = {'attn_norm': 'input_layernorm', 'post_attention_norm':
             'post_attention_layernorm', 'ffn_norm':
             'pre_feedforward_layernorm', 'post_ffw_norm':
             'post_feedforward_layernorm', 'attn_q': 'self_attn.q_proj',
             'attn_k': 'self_attn.k_proj', 'attn_v': 'self_attn.v_proj',
             'attn_q_norm': 'self_attn.q_norm', 'attn_k_norm':
             'self_attn.k_norm', 'attn_output': 'self_attn.o_proj',
             'ffn_gate': 'mlp.gate_proj', 'ffn_up': 'mlp.up_proj',
             'ffn_down': 'mlp.down_proj'}
    state = {}

    for name, w in dequantised(reader).items():
        if name.startswith('blk.'):
            _, layer, what, _ = name.split('.')
            key = f'model.layers.{layer}.{names[what]}.weight'
        else:
            key = {'token_embd.weight': 'model.embed_tokens.weight',
                   'output_norm.weight': 'model.norm.weight'}[name]
        # GGUF has the norms' 1 + w as their weight.
        state[key] = w - 1 if 'norm' in name else w

    state['lm_head.weight'] = state['model.embed_tokens.weight']
    heads = number('attention.head_count')
    config = Gemma3TextConfig(
        vocab_size=state['lm_head.weight'].shape[0],
        hidden_size=number('embedding_length'),
        intermediate_size=number('feed_forward_length'),
        num_hidden_layers=number('block_count'), num_attention_heads=heads,
        num_key_value_heads=number('attention.head_count_kv'),
        head_dim=number('attention.key_length'),
        query_pre_attn_scalar=number('attention.key_length'),
        max_position_embeddings=number('context_length'),
        sliding_window=number('attention.sliding_window'),
        rms_norm_eps=float(number('attention.layer_norm_rms_epsilon')),
        rope_parameters={
            'full_attention': {'rope_type': 'default',
                               'rope_theta': float(number('rope.freq_base'))},
            'sliding_attention': {'rope_type': 'default',
                                  'rope_theta': 10000.0}},
        tie_word_embeddings=True, attn_implementation='eager')
    m = Gemma3ForCausalLM(config)
    missing, unexpected = m.load_state_dict(state, strict=False)
    assert not missing and not unexpected, (missing, unexpected)
    return m.eval()


def llama(reader):
    def number(key):
        return reader.fields[key].contents()

    layers = number('llama.block_count')
    heads = number('llama.attention.head_count')
    kv = number('llama.attention.head_count_kv')
    weights = dequantised(reader)

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


def prompt_golden(how, m, ids):
    logits, past = forward(m, ids)
    rows = sorted({len(ids) // 2, len(ids) - 1})
    out = struct.pack('<II', len(ids), len(rows))
    out += np.array(ids, '<i4').tobytes()
    greedy, margins, last = [], [], logits[-1]

    for _ in range(how['greedy']):
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
        top = np.argsort(-row, kind='stable')[:how['top']]
        norm = float(np.linalg.norm(row.astype(np.float64)))
        out += struct.pack('<If', pos, norm)
        out += row[::how['stride']].astype('<f4').tobytes()
        out += top.astype('<u4').tobytes() + row[top].astype('<f4').tobytes()

    return out, greedy, min(margins)


def log_softmax(rows):
    rows = rows.astype(np.float64)
    rows -= rows.max(axis=-1, keepdims=True)
    return rows - np.log(np.exp(rows).sum(axis=-1, keepdims=True))


def most_probable(logits, n):
    """Ids and log-probabilities of the n most probable, row by row."""
    ids, mass = [], []
    for row in logits:
        logp = log_softmax(row)
        top = np.argsort(-logp, kind='stable')[:n]
        ids.append(top)
        mass.append(logp[top].astype('<f4'))
    return np.array(ids), np.array(mass)


def kl_coarse(ids, logp, logits):
    """Mean KL over n_mass + 1 events."""
    each = []
    for i, row in enumerate(logits):
        p = np.exp(logp[i].astype(np.float64))
        q = log_softmax(row)[ids[i].astype(np.int64)]
        rest_p = max(1 - p.sum(), 1e-12)
        rest_q = max(1 - np.exp(q).sum(), 1e-12)
        rest = rest_p * np.log(rest_p / rest_q)
        each.append((p * (logp[i] - q)).sum() + rest)
    return np.mean(each)


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
        subprocess.run([exe, args.model, f'{tmp}/ids', f'{tmp}/out'],
                       check=True, stderr=subprocess.DEVNULL)
        return np.fromfile(f'{tmp}/out', '<f4').reshape(-1, n_vocab)


MODELS = {
    'llama': dict(out='goldens.bin', ids=smollm_ids, model=llama,
                  prompts=PROMPTS, greedy=64, stride=12, top=50, mass=64,
                  text=8192),
    'gemma3': dict(out='gemma3.bin', ids=gemma_ids, model=gemma,
                   prompts=GEMMA_PROMPTS, greedy=32, stride=512, top=20,
                   mass=32, text=640),
}


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
    how = MODELS[reader.fields['general.architecture'].contents()]
    encode, m = how['ids'](args.model, reader), how['model'](reader)
    n_vocab = m.config.vocab_size
    path = HERE / how['out']

    text = encode(TEXT)[:how['text']]
    logits, _ = forward(m, text)
    top, mass = most_probable(logits, how['mass'])
    full = np.exp(mass.astype(np.float64)).sum(1).mean()
    told = [log_softmax(logits[i])[text[i + 1]] for i in range(len(text) - 1)]
    print(f'text: {len(text)} tokens, perplexity {np.exp(-np.mean(told)):.3f}, '
          f'the {how["mass"]} hold {full:.4f} of the mass', flush=True)
    del logits

    if args.llama_src:
        peer = llama_cpp(args, text, n_vocab)
        kl = kl_coarse(top, mass, peer)
        top1 = float((peer.argmax(1) == top[:, 0]).mean())
        print(f'llama.cpp: mean KL {kl:.6f}, top-1 {top1:.4f}', flush=True)
        del peer
    else:
        kl, top1, peer_greedy = struct.unpack_from('<ddd', path.read_bytes(),
                                                   40)

    id_type = '<u2' if n_vocab <= 65536 else '<u4'
    out = b'LLMGOLD1' + struct.pack(
        '<8I', n_vocab, len(how['prompts']), how['greedy'], how['stride'],
        how['top'], len(text), how['mass'], int(id_type[2]))
    body, same = b'', 0

    for prompt in how['prompts']:
        ids = list(encode(prompt))
        data, greedy, margin = prompt_golden(how, m, ids)
        body += data
        if args.llama_src:
            peer = llama_cpp(args, ids + greedy[:-1], n_vocab)
            peer = peer[-how['greedy']:]
            same += int((peer.argmax(1) == greedy).sum())
        print(f'{len(ids):5} tokens, least margin {margin:.5f}: {greedy[:8]}',
              flush=True)

    if args.llama_src:
        peer_greedy = same / (how['greedy'] * len(how['prompts']))
        print(f'llama.cpp: top-1 over greedy tokens {peer_greedy:.4f}')

    out += struct.pack('<ddd', kl, top1, peer_greedy) + body
    out += np.array(text, '<i4').tobytes()
    for i in range(len(text)):
        out += top[i].astype(id_type).tobytes() + mass[i].tobytes()

    path.write_bytes(out)
    print(f'{len(out)} bytes')


if __name__ == '__main__':
    sys.exit(main())
