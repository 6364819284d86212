#!/usr/bin/env python3
"""Makes families/: a small random model of each family, as transformers saves
it (families/NAME/: config.json, model.safetensors; some with a tokenizer and
a chat template), the GGUF of it by llama.cpp's converter (families/NAME.gguf)
and families/logits.bin, what transformers computes with it in F32.

    util/deps goldens
    ~/.cache/ngx-llm/venv-goldens/bin/python t/model/make_families.py
        [--llama-src DIR] [--only NAME,...]

--llama-src (or LLAMA_SRC) is a source tree of llama.cpp; without it the GGUFs
stay as they are.  --only makes some folders and GGUFs, but all logits anew.

All parameters are random, norms and biases too, so that one left out shows.
What the converter does not write though the model's mathematics need it
(Mistral's window) is added as our own reader of folders tells it; the
tokenizer step is ours too: a family without a tokenizer gets Llama's.

logits.bin, little endian, no padding:

    u8  magic[8] "LLMFAML1"
    u32 n_vocab, n_cases
    n_cases times:
        u8  name[24]          NUL-padded; the folder and the GGUF
        u32 context           to be configured; 0: the file's own
        u32 n_tokens, n_rows
        i32 tokens[n_tokens]
        n_rows times: u32 pos; f32 logits[n_vocab]  after tokens[0..pos]
"""

import argparse
import importlib
import json
import math
import os
import pathlib
import shutil
import struct
import sys
import tempfile

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models,
                        pre_tokenizers, trainers)
import transformers
from transformers import AutoModelForCausalLM

HERE = pathlib.Path(__file__).parent / 'families'
TEXT = pathlib.Path(__file__).parent / 'goldens/text.txt'
VOCAB = 320

COMMON = dict(vocab_size=VOCAB, hidden_size=64, intermediate_size=96,
              num_hidden_layers=2, num_attention_heads=4,
              num_key_value_heads=2, max_position_embeddings=512,
              tie_word_embeddings=False, bos_token_id=None, eos_token_id=317,
              pad_token_id=None)


def rope(base, kind='default', **more):
    return {'rope_theta': base, 'rope_type': kind, **more}


def spread(n, most):
    """Factors of LongRoPE: n of them, rising from 1 to `most`."""
    return [round(1 + (most - 1) * (i / (n - 1)) ** 2, 4) for i in range(n)]


# Name -> the class's prefix, what differs from COMMON, and how it is saved:
# `old` is config.json as transformers 4 wrote it.  Cases: context and length.
FAMILIES = {
    'llama': dict(
        cls='Llama', old=True, dtype='bfloat16', tokenizer='llama',
        conf=dict(rope_parameters=rope(
            500000.0, 'llama3', factor=8.0, low_freq_factor=1.0,
            high_freq_factor=4.0, original_max_position_embeddings=64),
            bos_token_id=316)),
    'llama-linear': dict(
        cls='Llama', dtype='float32',
        conf=dict(num_hidden_layers=1, tie_word_embeddings=True,
                  max_position_embeddings=64, mlp_bias=False,
                  rope_parameters=rope(10000.0, 'linear', factor=4.0)),
        cases=[(256, 80), (256, 200)]),
    'mistral': dict(
        cls='Mistral', old=True, dtype='float16',
        conf=dict(sliding_window=24, head_dim=32, intermediate_size=64,
                  rope_parameters=rope(10000.0))),
    'mixtral': dict(
        cls='Mixtral', dtype='bfloat16',
        conf=dict(num_local_experts=4, num_experts_per_tok=2,
                  intermediate_size=64, sliding_window=None,
                  tie_word_embeddings=True,
                  rope_parameters=rope(1000000.0))),
    'smollm3': dict(
        cls='SmolLM3', dtype='bfloat16',
        conf=dict(num_hidden_layers=5, intermediate_size=64,
                  num_key_value_heads=1, tie_word_embeddings=True,
                  rope_parameters=rope(5000000.0))),
    'qwen2': dict(
        cls='Qwen2', old=True, dtype='bfloat16',
        conf=dict(tie_word_embeddings=True, sliding_window=None,
                  use_sliding_window=False,
                  rope_parameters=rope(1000000.0))),
    'qwen2-yarn': dict(
        cls='Qwen2', dtype='bfloat16',
        conf=dict(head_dim=32, max_position_embeddings=64,
                  intermediate_size=64, sliding_window=None,
                  rope_parameters=rope(
                      10000.0, 'yarn', factor=4.0, beta_fast=4.0,
                      beta_slow=2.0, attention_factor=1.25,
                      original_max_position_embeddings=64)),
        cases=[(64, 60), (256, 100), (256, 250)]),
    'qwen3': dict(
        cls='Qwen3', dtype='bfloat16', tokenizer='qwen2',
        conf=dict(head_dim=32, tie_word_embeddings=True, sliding_window=None,
                  use_sliding_window=False,
                  rope_parameters=rope(1000000.0))),
    'qwen3moe': dict(
        cls='Qwen3Moe', dtype='bfloat16',
        conf=dict(head_dim=32, num_experts=4, num_experts_per_tok=2,
                  moe_intermediate_size=32, norm_topk_prob=True,
                  decoder_sparse_step=1, mlp_only_layers=[],
                  sliding_window=None, rope_parameters=rope(1000000.0))),
    'gemma': dict(
        cls='Gemma', dtype='bfloat16',
        conf=dict(head_dim=32, num_key_value_heads=1,
                  hidden_act='gelu_pytorch_tanh',
                  tie_word_embeddings=True, rope_parameters=rope(10000.0))),
    'gemma2': dict(
        cls='Gemma2', old=True, dtype='bfloat16',
        conf=dict(num_hidden_layers=3, head_dim=32, sliding_window=24,
                  query_pre_attn_scalar=32, tie_word_embeddings=True,
                  intermediate_size=64, attn_logit_softcapping=20.0,
                  final_logit_softcapping=10.0,
                  rope_parameters=rope(10000.0))),
    'gemma3': dict(
        cls='Gemma3', text=True, old=True, dtype='bfloat16',
        conf=dict(num_hidden_layers=6, num_attention_heads=2, head_dim=32,
                  num_key_value_heads=1, intermediate_size=32,
                  sliding_window=24, query_pre_attn_scalar=32,
                  tie_word_embeddings=True,
                  rope_parameters={
                      'sliding_attention': rope(10000.0),
                      'full_attention': rope(1000000.0, 'linear',
                                             factor=8.0)})),
    'phi3': dict(
        cls='Phi3', old=True, dtype='bfloat16',
        conf=dict(intermediate_size=96, sliding_window=48,
                  num_attention_heads=2, num_key_value_heads=1,
                  original_max_position_embeddings=64,
                  max_position_embeddings=512,
                  rope_parameters=rope(
                      10000.0, 'longrope', partial_rotary_factor=0.75,
                      short_factor=spread(12, 1.5),
                      long_factor=spread(12, 16.0),
                      original_max_position_embeddings=64)),
        cases=[(64, 60), (0, 80), (512, 150)]),
    'gpt-oss': dict(
        cls='GptOss', dtype='bfloat16', mxfp4=True,
        conf=dict(head_dim=32, num_local_experts=4, num_experts_per_tok=2,
                  intermediate_size=64, sliding_window=24,
                  rope_parameters=rope(
                      150000.0, 'yarn', factor=8.0, beta_fast=32.0,
                      beta_slow=1.0, truncate=False,
                      original_max_position_embeddings=64)),
        cases=[(0, 80), (0, 150), (512, 400)]),
    'granite': dict(
        cls='Granite', old=True, dtype='bfloat16',
        conf=dict(tie_word_embeddings=True, attention_multiplier=0.11,
                  embedding_multiplier=2.5, residual_multiplier=0.45,
                  logits_scaling=3.0, rope_parameters=rope(10000.0))),
}

CHATML = """{%- for m in messages -%}
{{- '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""

LLAMA3 = """{{- bos_token -}}
{%- for m in messages -%}
{{- '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n' -}}
{{- m['content'] | trim + '<|eot_id|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
{%- endif -%}
"""

# Pre-tokenizers' expressions as these families publish them.
SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s" \
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

TOKENIZERS = {
    'llama': dict(digits='{1,3}', template=LLAMA3, bos='<|begin_of_text|>',
                  eos='<|eot_id|>',
                  special=['<|begin_of_text|>', '<|eot_id|>',
                           '<|start_header_id|>', '<|end_header_id|>']),
    'qwen2': dict(digits='', template=CHATML, bos=None, eos='<|im_end|>',
                  special=['<|endoftext|>', '<|im_end|>', '<|im_start|>',
                           '<|unused|>']),
}


def tokenizer(folder, kind):
    """A byte-level BPE of VOCAB tokens: bytes, merges, four special ones."""
    t = TOKENIZERS[kind]
    tok = Tokenizer(models.BPE(ignore_merges=kind == 'llama'))
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(SPLIT % t['digits']), 'isolated'),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tok.decoder = decoders.ByteLevel()
    tok.train([str(TEXT)], trainers.BpeTrainer(
        vocab_size=VOCAB - 4, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    tok.add_special_tokens([AddedToken(s, special=True, normalized=False)
                            for s in t['special']])
    assert tok.get_vocab_size() == VOCAB
    tok.save(str(folder / 'tokenizer.json'))
    conf = {'tokenizer_class': 'PreTrainedTokenizerFast',
            'bos_token': t['bos'], 'eos_token': t['eos'],
            'add_bos_token': t['bos'] is not None, 'model_max_length': 512,
            'chat_template': t['template']}
    (folder / 'tokenizer_config.json').write_text(json.dumps(conf, indent=2))
    ids = [tok.token_to_id(t['eos'])]
    (folder / 'generation_config.json').write_text(json.dumps(
        {'eos_token_id': ids, 'do_sample': True, 'temperature': 0.6,
         'top_p': 0.9}, indent=2))


def randomise(model, gemma, seed):
    g = torch.Generator().manual_seed(seed)

    def normal(p, dev):
        p.copy_(torch.randn(p.shape, generator=g) * dev)

    for name, p in model.named_parameters():
        leaf = name.split('.')[-2] if name.endswith(('weight', 'bias')) else \
            name.split('.')[-1]
        if 'embed_tokens' in name:
            normal(p, 0.2 if gemma else 1.0)
        elif 'norm' in leaf:
            p.copy_(torch.rand(p.shape, generator=g) + (-0.5 if gemma
                                                        else 0.5))
        elif p.ndim == 1 or name.endswith('bias'):
            normal(p, 0.4)
        elif leaf in ('q_proj', 'k_proj', 'qkv_proj'):
            normal(p, 1.6 / math.sqrt(p.shape[1]))
        elif leaf in ('gate_up_proj', 'down_proj') and p.ndim == 3:
            # gpt-oss has [expert][in][out]
            normal(p, 1.2 / math.sqrt(min(p.shape[1:])))
        else:
            normal(p, 1.2 / math.sqrt(p.shape[1]))


FP4 = np.array([0, .5, 1, 1.5, 2, 3, 4, 6], np.float32)
FP4 = np.concatenate([FP4, -FP4])


def mxfp4(w):
    """[..., n] -> blocks [..., n/32, 16], scales [..., n/32], values; OCP MX:
    a scale is 2^(e - 127), e from the largest element; elements are E2M1, the
    even one of a byte's two in its low half."""
    x = w.reshape(*w.shape[:-1], -1, 32)
    e = np.floor(np.log2(np.maximum(np.abs(x).max(-1), 1e-30))) - 2
    scale = np.exp2(e)[..., None]
    code = np.abs((x / scale)[..., None] - FP4).argmin(-1).astype(np.uint8)
    value = (FP4[code] * scale).reshape(w.shape)
    return (code[..., 0::2] | code[..., 1::2] << 4, (e + 127).astype(np.uint8),
            value)


def pack_mxfp4(folder, model):
    """The experts of a saved gpt-oss as the original checkpoints have them."""
    state = load_file(folder / 'model.safetensors')
    for name, p in model.named_parameters():
        if not name.endswith(('gate_up_proj', 'down_proj')):
            continue
        w = p.detach().numpy().swapaxes(1, 2) # [expert][out][in]
        blocks, scales, value = mxfp4(w)
        p.copy_(torch.from_numpy(value.swapaxes(1, 2).copy()))
        del state[name]
        state[name + '_blocks'] = torch.from_numpy(blocks.copy())
        state[name + '_scales'] = torch.from_numpy(scales.copy())
    save_file(state, folder / 'model.safetensors', {'format': 'pt'})
    conf = json.loads((folder / 'config.json').read_text())
    conf['quantization_config'] = {
        'quant_method': 'mxfp4',
        'modules_to_not_convert': [
            'model.layers.*.self_attn', 'model.layers.*.mlp.router',
            'model.embed_tokens', 'lm_head']}
    (folder / 'config.json').write_text(json.dumps(conf, indent=2))


def old_config(folder):
    """config.json with the keys of transformers 4."""
    conf = json.loads((folder / 'config.json').read_text())
    conf['torch_dtype'] = conf.pop('dtype')
    conf['transformers_version'] = '4.51.0'
    conf.pop('layer_types', None)
    params = conf.pop('rope_parameters')
    if 'full_attention' in params:
        conf['rope_local_base_freq'] = params['sliding_attention']['rope_theta']
        conf['sliding_window_pattern'] = 6
        params = params['full_attention']
    conf['rope_theta'] = params.pop('rope_theta')
    if 'partial_rotary_factor' in params:
        conf['partial_rotary_factor'] = params.pop('partial_rotary_factor')
    if params['rope_type'] == 'default':
        conf['rope_scaling'] = None
    elif params['rope_type'] == 'longrope':
        params.pop('original_max_position_embeddings')
        params['type'] = params.pop('rope_type')
        conf['rope_scaling'] = params
    else:
        conf['rope_scaling'] = params
    (folder / 'config.json').write_text(json.dumps(conf, indent=2) + '\n')


def make(name, seed):
    f = FAMILIES[name]
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    conf = {**COMMON, **f['conf']}
    kind = f['cls'] + ('TextConfig' if f.get('text') else 'Config')
    config = getattr(transformers, kind)(**conf)
    config.architectures = [f['cls'] + 'ForCausalLM']
    model = getattr(transformers, f['cls'] + 'ForCausalLM')(config)
    randomise(model, f['cls'].startswith('Gemma'), seed)
    model = model.to(getattr(torch, f['dtype'])) # rounded
    model.save_pretrained(folder)
    if f.get('mxfp4'):
        pack_mxfp4(folder, model.float())
    if f.get('old'):
        old_config(folder)
    (folder / 'generation_config.json').unlink(missing_ok=True)
    if f.get('tokenizer'):
        tokenizer(folder, f['tokenizer'])
    (folder / 'model.safetensors').chmod(0o644)
    size = (folder / 'model.safetensors').stat().st_size
    print(f'{name}: {size} bytes', flush=True)


def load(name):
    f, folder = FAMILIES[name], HERE / name
    if not f.get('mxfp4'):
        return AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation='eager').eval()

    conf = json.loads((folder / 'config.json').read_text())
    del conf['quantization_config']
    state = {k: v.float() if v.dtype != torch.uint8 else v for k, v in
             load_file(folder / 'model.safetensors').items()}
    for key in [k for k in state if k.endswith('_blocks')]:
        b = state.pop(key).numpy()
        s = state.pop(key.replace('_blocks', '_scales')).numpy()
        code = np.stack([b & 15, b >> 4], -1).reshape(*b.shape[:-1], 32)
        w = FP4[code] * np.exp2(s.astype(np.float32) - 127)[..., None]
        w = w.reshape(*b.shape[:2], -1).swapaxes(1, 2)
        state[key.replace('_blocks', '')] = torch.from_numpy(w.copy())
    model = transformers.GptOssForCausalLM(transformers.GptOssConfig(
        **conf, attn_implementation='eager'))
    model.load_state_dict(state)
    return model.float().eval()


def vocabulary(converter):
    """Tokens, their types and the pre-tokenizer, out of tokenizer.json."""
    conf = json.loads((converter.dir_model / 'tokenizer.json').read_text())
    tokens = {i: t for t, i in conf['model']['vocab'].items()}
    tokens.update({t['id']: t['content'] for t in conf['added_tokens']})
    types = [1] * (VOCAB - 4) + [3] * 4 # normal, control
    ours = FAMILIES[converter.dir_model.name].get('tokenizer', 'llama')
    return ([tokens[i] for i in range(VOCAB)], types,
            {'llama': 'llama-bpe', 'qwen2': 'qwen2'}[ours])


def convert(name, src):
    """The converter's GGUF; vocabulary and windows as the docstring says."""
    sys.path.insert(0, str(src))
    main = importlib.import_module('convert_hf_to_gguf')
    base = importlib.import_module('conversion.base')
    llama = importlib.import_module('conversion.llama').LlamaModel
    base.TextModel.get_vocab_base = vocabulary
    base.TextModel._set_vocab_sentencepiece = \
        lambda self, *a, **k: self._set_vocab_gpt2()

    if not hasattr(llama, 'plain'):
        llama.plain = llama.set_gguf_parameters

        def parameters(self):
            llama.plain(self)
            if self.hparams.get('sliding_window'):
                self.gguf_writer.add_sliding_window(
                    self.hparams['sliding_window'])
        llama.set_gguf_parameters = parameters

    with tempfile.TemporaryDirectory() as tmp:
        tmp = pathlib.Path(tmp) / name
        shutil.copytree(HERE / name, tmp)
        if not FAMILIES[name].get('tokenizer'):
            tokenizer(tmp, 'llama')
        if name == 'phi3':
            path = tmp / 'tokenizer_config.json'
            path.write_text(path.read_text().replace(
                'PreTrainedTokenizerFast', 'GPT2Tokenizer'))
        out = HERE / f'{name}.gguf'
        dtype = FAMILIES[name]['dtype']
        sys.argv = ['convert', str(tmp), '--outfile', str(out), '--outtype',
                    {'bfloat16': 'bf16', 'float16': 'f16',
                     'float32': 'f32'}[dtype]]
        main.main()
    print(f'{name}.gguf: {out.stat().st_size} bytes', flush=True)


def cases(name, rng):
    out, model = [], None
    for context, n in FAMILIES[name].get('cases', [(0, 80), (0, 150)]):
        # LongRoPE keeps what a longer text before it chose: load anew.
        model = load(name)
        tokens = rng.integers(0, VOCAB, n)
        logits = model(torch.from_numpy(tokens)[None],
                       use_cache=False).logits[0]
        logits = logits.float().numpy()
        rows = sorted({0, n // 3, n // 2, n - 2, n - 1})
        body = name.encode().ljust(24, b'\0')
        body += struct.pack('<III', context, n, len(rows))
        body += tokens.astype('<i4').tobytes()
        for pos in rows:
            body += struct.pack('<I', pos) + logits[pos].astype('<f4').tobytes()
        out.append(body)
        top = np.sort(logits[rows], axis=1)
        print(f'{name}: {n} tokens, norm {np.linalg.norm(logits[-1]):.2f}, '
              f'least margin {(top[:, -1] - top[:, -2]).min():.4f}', flush=True)
    return out


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--llama-src', default=os.environ.get('LLAMA_SRC'),
                        type=pathlib.Path)
    parser.add_argument('--only')
    args = parser.parse_args()
    names = args.only.split(',') if args.only else list(FAMILIES)
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    transformers.logging.set_verbosity_error()

    for name in names:
        make(name, 1000 + list(FAMILIES).index(name))

    body = []
    for i, name in enumerate(FAMILIES):
        body += cases(name, np.random.default_rng(i))

    out = b'LLMFAML1' + struct.pack('<II', VOCAB, len(body)) + b''.join(body)
    (HERE / 'logits.bin').write_bytes(out)
    print(f'logits.bin: {len(out)} bytes')

    for name in names if args.llama_src else []:
        convert(name, args.llama_src.resolve())


if __name__ == '__main__':
    sys.exit(main())
