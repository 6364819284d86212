#!/usr/bin/env python3
"""Makes hf/: small folders in the forms that families/ does not have, and
hf/expected.json, what they must be told as.

    util/deps goldens
    ~/.cache/ngx-llm/venv-goldens/bin/python t/model/make_hf.py

Run after make_families.py: they are the first layer of its models.

    fp8-tensor, fp8-channel, fp8-block   weights of torch.float8_e4m3fn and
                     their scales, as quantization_config says; the last one's
                     blocks do not divide the matrices
    compressed       the same by channels, as compressed-tensors names it
    sharded          three shards with an index; biases; tied
    qwen3moe-fp8     an expert's matrices in FP8 by blocks
    qwen3moe-fused   the experts' matrices stacked, F16
    qwen3moe-fused-fp8   the same in FP8, a block has gates and ups
    gpt-oss-bf16     the experts' matrices stacked, turned, gate and up in turn
    gemma3-images    a model of texts and images

expected.json: for each folder GGUF's names of tensors, with their type,
dimensions and the FNV-1a hash (64 bits) of their bytes (not rope_freqs, which
families/ is for).

greedy.json, for the whole way: what transformers answers to a chat, greedily,
with models of families/ in F32: the bytes of each token.
"""

import json
import pathlib
import shutil

import numpy as np
import torch
from safetensors.torch import load_file, save_file

HERE = pathlib.Path(__file__).parent
FAMILIES = HERE / 'families'
OUT = HERE / 'hf'
LAYER = 'model.layers.0.'
FP8_MAX = 448.0

NAMES = {
    'input_layernorm.weight': 'attn_norm.weight',
    'post_attention_layernorm.weight': 'ffn_norm.weight',
    'self_attn.q_proj': 'attn_q', 'self_attn.k_proj': 'attn_k',
    'self_attn.v_proj': 'attn_v', 'self_attn.o_proj': 'attn_output',
    'self_attn.q_norm': 'attn_q_norm', 'self_attn.k_norm': 'attn_k_norm',
    'mlp.gate_proj': 'ffn_gate', 'mlp.up_proj': 'ffn_up',
    'mlp.down_proj': 'ffn_down', 'mlp.gate.weight': 'ffn_gate_inp.weight',
    'mlp.router': 'ffn_gate_inp', 'self_attn.sinks': 'attn_sinks.weight',
    'pre_feedforward_layernorm': 'ffn_norm',
    'post_feedforward_layernorm': 'post_ffw_norm',
}

expected = {}


def fnv(data):
    h = 0xcbf29ce484222325
    for b in data:
        h = (h ^ b) * 0x100000001b3 & 0xffffffffffffffff
    return f'{h:016x}'


def raw(t):
    t = t.contiguous()
    return (t.view(torch.int16) if t.dtype == torch.bfloat16 else t) \
        .numpy().tobytes()


def name_of(name, post='ffn_norm'):
    if not name.startswith(LAYER):
        return {'model.embed_tokens.weight': 'token_embd.weight',
                'model.norm.weight': 'output_norm.weight',
                'lm_head.weight': 'output.weight'}[name]
    name = name[len(LAYER):]
    if name == 'post_attention_layernorm.weight':
        return f'blk.0.{post}.weight'
    for a, b in NAMES.items():
        if name.startswith(a):
            return 'blk.0.' + b + name[len(a):]
    raise KeyError(name)


def turned(t, heads):
    """Llama's rows of heads, halves made neighbours."""
    return t.reshape(heads, 2, t.shape[0] // heads // 2, -1).swapaxes(1, 2) \
        .reshape(t.shape)


def told(t, name):
    """As GGUF has it: vectors, biases, norms and routers in F32."""
    if t.ndim == 1 or not name.endswith('.weight') \
            or name.endswith(('_norm.weight', 'ffn_gate_inp.weight')):
        return t.float()
    return t


def source(name):
    state = load_file(FAMILIES / name / 'model.safetensors')
    conf = json.loads((FAMILIES / name / 'config.json').read_text())
    state = {k: v for k, v in state.items()
             if not k.startswith('model.layers.') or k.startswith(LAYER)}
    conf['num_hidden_layers'] = 1
    if 'layer_types' in conf:
        conf['layer_types'] = conf['layer_types'][:1]
    return conf, state


def save(name, conf, shards, want):
    folder = OUT / name
    folder.mkdir(parents=True)
    (folder / 'config.json').write_text(json.dumps(conf, indent=1) + '\n')
    if len(shards) == 1:
        save_file(shards[0], folder / 'model.safetensors')
    else:
        index = {}
        for i, shard in enumerate(shards):
            file = f'model-{i + 1:05}-of-{len(shards):05}.safetensors'
            save_file(shard, folder / file)
            index.update({k: file for k in shard})
        (folder / 'model.safetensors.index.json').write_text(json.dumps(
            {'metadata': {'total_size': 1}, 'weight_map': index}, indent=1))
    for f in folder.glob('*.safetensors'):
        f.chmod(0o644)
    types = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 30}
    expected[name] = {
        k: [types[v.dtype], list(reversed(v.shape)), fnv(raw(v))]
        for k, v in sorted(want.items())}
    print(name, sum(f.stat().st_size for f in folder.iterdir()), flush=True)


def quantised(w, rows, cols):
    """Blocks of rows x cols share a scale; 0: the whole length."""
    rows, cols = rows or w.shape[0], cols or w.shape[1]
    h, n = -(-w.shape[0] // rows), -(-w.shape[1] // cols)
    scale = torch.zeros(h, n)
    q = torch.zeros(w.shape, dtype=torch.float8_e4m3fn)
    back = torch.zeros(w.shape)
    for i in range(h):
        for j in range(n):
            at = (slice(i * rows, (i + 1) * rows),
                  slice(j * cols, (j + 1) * cols))
            scale[i, j] = w[at].float().abs().max() / FP8_MAX
            q[at] = (w[at].float() / scale[i, j]).to(torch.float8_e4m3fn)
            back[at] = q[at].float() * scale[i, j]
    return q, scale, back


def fp8(name, quant, rows, cols, suffix, shape):
    conf, state = source('llama')
    conf['quantization_config'] = quant
    tensors, want = {}, {}
    for k, v in state.items():
        if 'proj' not in k:
            tensors[k], w = v, v
        else:
            tensors[k], scale, w = quantised(v, rows, cols)
            tensors[k + suffix] = shape(scale)
            tensors[k.replace('weight', 'input_scale')] = torch.ones(1)
            if 'q_proj' in k or 'k_proj' in k:
                w = turned(w, 4 if 'q_proj' in k else 2)
        want[name_of(k)] = told(w, name_of(k))
    save(name, conf, [tensors], want)


def sharded():
    conf, state = source('llama')
    g = torch.Generator().manual_seed(7)
    conf['attention_bias'] = True
    conf['tie_word_embeddings'] = True
    for k in list(state):
        if 'self_attn' in k:
            state[k.replace('weight', 'bias')] = torch.randn(
                state[k].shape[0], generator=g).to(torch.bfloat16)
    state[LAYER + 'self_attn.rotary_emb.inv_freq'] = torch.ones(8)
    want = {}
    for k, v in state.items():
        if 'lm_head' in k or 'inv_freq' in k:
            continue
        w = v
        if 'q_proj' in k or 'k_proj' in k:
            w = turned(v, 4 if 'q_proj' in k else 2)
        want[name_of(k)] = told(w, name_of(k))
    keys = sorted(state)
    save('sharded', conf, [{k: state[k].contiguous() for k in keys[i::3]}
                           for i in range(3)], want)


def experts(state, part):
    return torch.stack([state[f'{LAYER}mlp.experts.{e}.{part}.weight']
                        for e in range(4)]).to(torch.float16)


def fused():
    conf, state = source('qwen3moe')
    conf['dtype'] = 'float16'
    gate, up, down = (experts(state, p)
                      for p in ('gate_proj', 'up_proj', 'down_proj'))
    state = {k: v.to(torch.float16) for k, v in state.items()
             if 'experts' not in k}
    want = {name_of(k): told(v, name_of(k)) for k, v in state.items()}
    want['blk.0.ffn_gate_exps.weight'] = gate
    want['blk.0.ffn_up_exps.weight'] = up
    want['blk.0.ffn_down_exps.weight'] = down
    state[LAYER + 'mlp.experts.gate_up_proj'] = torch.cat([gate, up], 1)
    state[LAYER + 'mlp.experts.down_proj'] = down
    save('qwen3moe-fused', conf, [state], want)


def moe_fp8(stacked):
    """Experts in FP8, blocks of 24 x 40, alone or stacked."""
    conf, state = source('qwen3moe')
    conf['quantization_config'] = {'quant_method': 'fp8',
                                   'weight_block_size': [24, 40]}
    conf['tie_word_embeddings'] = True
    p = LAYER + 'mlp.experts.'
    tensors = {k: v for k, v in state.items()
               if 'experts' not in k and 'lm_head' not in k}
    want = {name_of(k): told(v, name_of(k)) for k, v in tensors.items()}
    back = {}
    for part in ('gate_up', 'down') if stacked else ('gate', 'up', 'down'):
        all_q, all_s, all_b = [], [], []
        for e in range(4):
            w = torch.cat([state[f'{p}{e}.{x}_proj.weight']
                           for x in part.split('_')])
            q, scale, b = quantised(w, 24, 40)
            all_q.append(q), all_s.append(scale), all_b.append(b)
            if not stacked:
                tensors[f'{p}{e}.{part}_proj.weight'] = q
                tensors[f'{p}{e}.{part}_proj.weight_scale_inv'] = scale
        if stacked:
            tensors[f'{p}{part}_proj'] = torch.stack(all_q)
            tensors[f'{p}{part}_proj_scale_inv'] = torch.stack(all_s)
        back[part] = torch.stack(all_b)
    if stacked:
        back['gate'], back['up'] = back.pop('gate_up').chunk(2, 1)
    for part, b in back.items():
        want[f'blk.0.ffn_{part}_exps.weight'] = b
    save('qwen3moe-fused-fp8' if stacked else 'qwen3moe-fp8', conf, [tensors],
         want)


def gpt_oss():
    conf, state = source('gpt-oss')
    del conf['quantization_config']
    g = torch.Generator().manual_seed(8)
    state = {k: v for k, v in state.items()
             if not k.endswith(('_blocks', '_scales'))}
    p = LAYER + 'mlp.experts.'
    want = {name_of(k, 'post_attention_norm'):
            told(v, name_of(k, 'post_attention_norm'))
            for k, v in state.items() if 'experts' not in k}
    both = torch.randn(4, 64, 128, generator=g).to(torch.bfloat16)
    down = torch.randn(4, 64, 64, generator=g).to(torch.bfloat16)
    state[p + 'gate_up_proj'], state[p + 'down_proj'] = both, down
    want['blk.0.ffn_gate_exps.weight'] = both[:, :, ::2].swapaxes(1, 2)
    want['blk.0.ffn_up_exps.weight'] = both[:, :, 1::2].swapaxes(1, 2)
    want['blk.0.ffn_down_exps.weight'] = down.swapaxes(1, 2)
    bias = state[p + 'gate_up_proj_bias'].float()
    want['blk.0.ffn_gate_exps.bias'] = bias[:, ::2]
    want['blk.0.ffn_up_exps.bias'] = bias[:, 1::2]
    want['blk.0.ffn_down_exps.bias'] = state[p + 'down_proj_bias'].float()
    save('gpt-oss-bf16', conf, [state], want)


def images():
    conf, state = source('gemma3')
    text = {k: conf[k] for k in (
        'hidden_size', 'intermediate_size', 'num_hidden_layers', 'head_dim',
        'num_attention_heads', 'num_key_value_heads', 'sliding_window',
        'query_pre_attn_scalar', 'rope_scaling')}
    text['model_type'] = 'gemma3_text'
    conf = {'architectures': ['Gemma3ForConditionalGeneration'],
            'model_type': 'gemma3', 'text_config': text,
            'vision_config': {'model_type': 'siglip_vision_model'},
            'torch_dtype': 'bfloat16', 'eos_token_id': [1, 106]}
    want = {}
    for k, v in state.items():
        n = name_of(k, 'post_attention_norm')
        w = told(v, n)
        want[n] = w + 1 if n.endswith('_norm.weight') else w
    state = {'language_model.' + k: v for k, v in state.items()}
    state['vision_tower.vision_model.embeddings.patch_embedding.weight'] = \
        torch.ones(2, 3, 4, 4)
    state['multi_modal_projector.mm_soft_emb_norm.weight'] = torch.ones(2)
    save('gemma3-images', conf, [state], want)


def greedy(name, n):
    from transformers import AutoModelForCausalLM, AutoTokenizer
    tok = AutoTokenizer.from_pretrained(FAMILIES / name)
    model = AutoModelForCausalLM.from_pretrained(
        FAMILIES / name, dtype=torch.float32, attn_implementation='eager')
    text = tok.apply_chat_template([{'role': 'user', 'content': 'Say hello.'}],
                                   tokenize=False, add_generation_prompt=True)
    ids = tok(text, add_special_tokens=False)['input_ids']
    out, margins = [], []
    for _ in range(n):
        logits = model(torch.tensor([ids]), use_cache=False).logits[0, -1]
        top = logits.topk(2)
        margins.append(float(top.values[0] - top.values[1]))
        ids.append(int(top.indices[0]))
        out.append(ids[-1])
    alphabet = {v: k for k, v in bytes_to_unicode().items()}
    special = set(tok.all_special_ids)
    tokens = [[alphabet[c] for c in tok.convert_ids_to_tokens(i)]
              if i not in special else list(tok.decode([i]).encode())
              for i in out]
    print(name, 'least margin', min(margins), out, flush=True)
    return {'ids': out, 'tokens': tokens, 'prompt_tokens': len(ids) - n}


def bytes_to_unicode():
    """The alphabet of byte-level BPE."""
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    out, n = {b: chr(b) for b in keep}, 0
    for b in range(256):
        if b not in out:
            out[b] = chr(256 + n)
            n += 1
    return out


def main():
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    fp8('fp8-tensor', {'quant_method': 'fp8', 'activation_scheme': 'static'},
        0, 0, '_scale', lambda s: s.reshape(()))
    fp8('fp8-channel', {'quant_method': 'fp8'}, 1, 0, '_scale',
        lambda s: s.to(torch.float32))
    fp8('fp8-block', {'quant_method': 'fp8', 'fmt': 'e4m3',
                      'activation_scheme': 'dynamic',
                      'weight_block_size': [24, 40]}, 24, 40, '_scale_inv',
        lambda s: s)
    fp8('compressed', {
        'quant_method': 'compressed-tensors', 'format': 'float-quantized',
        'kv_cache_scheme': None, 'ignore': ['lm_head'], 'config_groups': {
            'group_0': {'targets': ['Linear'], 'weights': {
                'num_bits': 8, 'type': 'float', 'strategy': 'channel',
                'symmetric': True, 'dynamic': False}}}},
        1, 0, '_scale', lambda s: s)
    sharded()
    fused()
    moe_fp8(False)
    moe_fp8(True)
    gpt_oss()
    images()
    (OUT / 'expected.json').write_text(json.dumps(expected, indent=1) + '\n')
    (OUT / 'greedy.json').write_text(json.dumps(
        {n: greedy(n, 24) for n in ('llama', 'qwen3')}) + '\n')


if __name__ == '__main__':
    main()
