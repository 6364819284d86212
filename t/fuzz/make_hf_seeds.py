#!/usr/bin/env python3
"""Makes the seeds of the safetensors and hf fuzz targets: tiny folders of
each kind of tensor, one as a file, config.json, a NUL and the weights.

    python3 t/fuzz/make_hf_seeds.py
"""

import json
import pathlib
import random
import struct

SEEDS = pathlib.Path(__file__).parent / 'seeds'
SIZES = {'F32': 4, 'F16': 2, 'BF16': 2, 'F8_E4M3': 1, 'U8': 1, 'I64': 8}
L = 'model.layers.0.'
rng = random.Random(1)


def safetensors(tensors, pad=0):
    head, data = {'__metadata__': {'format': 'pt'}}, b''
    for name, (dtype, shape) in tensors.items():
        n = SIZES[dtype]
        for d in shape:
            n *= d
        head[name] = {'dtype': dtype, 'shape': shape,
                      'data_offsets': [len(data), len(data) + n]}
        data += bytes(rng.randrange(256) for _ in range(n))
    text = json.dumps(head, separators=(',', ':')).encode() + b' ' * pad
    return struct.pack('<Q', len(text)) + text + data


def put(kind, name, data):
    (SEEDS / kind).mkdir(parents=True, exist_ok=True)
    (SEEDS / kind / name).write_bytes(data)


def folder(name, conf, tensors):
    base = dict(hidden_size=8, intermediate_size=12, num_hidden_layers=1,
                num_attention_heads=2, num_key_value_heads=1, vocab_size=5,
                max_position_embeddings=64, rms_norm_eps=1e-6)
    base.update(conf)
    text = json.dumps(base, separators=(',', ':')).encode()
    put('hf', name, text + b'\0' + safetensors(tensors))


def attention(d='BF16', dim=4, n=8):
    return {L + 'self_attn.q_proj.weight': (d, [2 * dim, n]),
            L + 'self_attn.k_proj.weight': (d, [dim, n]),
            L + 'self_attn.v_proj.weight': (d, [dim, n]),
            L + 'self_attn.o_proj.weight': (d, [n, 2 * dim])}


def rest(n=8):
    return {'model.embed_tokens.weight': ('BF16', [5, n]),
            'model.norm.weight': ('F32', [n]),
            L + 'input_layernorm.weight': ('BF16', [n]),
            L + 'post_attention_layernorm.weight': ('F16', [n])}


def mlp(d='BF16', n=8, ff=12):
    return {L + 'mlp.gate_proj.weight': (d, [ff, n]),
            L + 'mlp.up_proj.weight': (d, [ff, n]),
            L + 'mlp.down_proj.weight': (d, [n, ff])}


def main():
    folder('llama', {
        'architectures': ['LlamaForCausalLM'], 'rope_theta': 1e4,
        'rope_scaling': {'rope_type': 'llama3', 'factor': 8.0,
                         'low_freq_factor': 1.0, 'high_freq_factor': 4.0,
                         'original_max_position_embeddings': 16}},
        {**rest(), **attention(), **mlp(), 'lm_head.weight': ('F16', [5, 8]),
         L + 'self_attn.q_proj.bias': ('F32', [8]),
         L + 'self_attn.rotary_emb.inv_freq': ('F32', [2])})

    weights = {**attention('F8_E4M3'), **mlp('F8_E4M3')}
    scales = {k + '_scale_inv': ('F32', [-(-d[1][0] // 3), -(-d[1][1] // 5)])
              for k, d in weights.items()}
    folder('fp8-block', {
        'architectures': ['LlamaForCausalLM'],
        'quantization_config': {'quant_method': 'fp8',
                                'weight_block_size': [3, 5]}},
        {**rest(), **weights, **scales})

    scales = {k + '_scale': ('BF16', [d[1][0], 1]) for k, d in weights.items()}
    folder('compressed', {
        'architectures': ['Qwen2ForCausalLM'],
        'quantization_config': {
            'quant_method': 'compressed-tensors', 'format': 'float-quantized',
            'config_groups': {'group_0': {'weights': {
                'num_bits': 8, 'type': 'float', 'strategy': 'channel'}}}}},
        {**rest(), **weights, **scales})

    experts = {f'{L}mlp.experts.{e}.{p}_proj.weight': ('F16', s)
               for e in range(2)
               for p, s in (('gate', [6, 8]), ('up', [6, 8]), ('down', [8, 6]))}
    moe = {'architectures': ['Qwen3MoeForCausalLM'], 'num_experts': 2,
           'num_experts_per_tok': 1, 'moe_intermediate_size': 6,
           'head_dim': 4}
    router = {L + 'mlp.gate.weight': ('BF16', [2, 8])}
    norms = {L + 'self_attn.q_norm.weight': ('BF16', [4]),
             L + 'self_attn.k_norm.weight': ('BF16', [4])}
    folder('qwen3moe', moe, {**rest(), **attention(), **norms, **router,
                             **experts})
    folder('qwen3moe-fused', moe, {
        **rest(), **attention(), **norms, **router,
        L + 'mlp.experts.gate_up_proj': ('BF16', [2, 12, 8]),
        L + 'mlp.experts.down_proj': ('BF16', [2, 8, 6])})

    oss = {'architectures': ['GptOssForCausalLM'], 'hidden_size': 32,
           'intermediate_size': 32, 'num_local_experts': 2, 'head_dim': 4,
           'num_experts_per_tok': 1, 'sliding_window': 8,
           'rope_parameters': {'rope_type': 'yarn', 'rope_theta': 1e4,
                               'factor': 4, 'truncate': False}}
    base = {**rest(32), **attention(n=32),
            L + 'self_attn.sinks': ('BF16', [2]),
            L + 'mlp.router.weight': ('BF16', [2, 32]),
            L + 'mlp.router.bias': ('BF16', [2])}
    folder('gpt-oss', {**oss, 'quantization_config': {'quant_method': 'mxfp4'}},
           {**base,
            L + 'mlp.experts.gate_up_proj_bias': ('BF16', [2, 64]),
            L + 'mlp.experts.gate_up_proj_blocks': ('U8', [2, 64, 1, 16]),
            L + 'mlp.experts.gate_up_proj_scales': ('U8', [2, 64, 1]),
            L + 'mlp.experts.down_proj_blocks': ('U8', [2, 32, 1, 16]),
            L + 'mlp.experts.down_proj_scales': ('U8', [2, 32, 1])})
    folder('gpt-oss-bf16', {**oss, 'hidden_size': 6, 'intermediate_size': 4},
           {**rest(6), L + 'mlp.experts.gate_up_proj': ('BF16', [2, 6, 8]),
            L + 'mlp.experts.down_proj': ('BF16', [2, 4, 6])})

    folder('phi3', {
        'architectures': ['Phi3ForCausalLM'], 'partial_rotary_factor': 1.0,
        'original_max_position_embeddings': 16, 'sliding_window': 16,
        'rope_scaling': {'type': 'longrope', 'long_factor': [1.0, 4.0],
                         'short_factor': [1.0, 1.5]}},
        {**rest(), L + 'self_attn.qkv_proj.weight': ('BF16', [16, 8]),
         L + 'mlp.gate_up_proj.weight': ('BF16', [24, 8]),
         L + 'mlp.down_proj.weight': ('BF16', [8, 12])})

    text = {'hidden_size': 8, 'intermediate_size': 12, 'num_hidden_layers': 1,
            'num_attention_heads': 2, 'num_key_value_heads': 1, 'head_dim': 4,
            'rope_parameters': {
                'full_attention': {'rope_type': 'linear', 'factor': 8,
                                   'rope_theta': 1e6},
                'sliding_attention': {'rope_theta': 1e4}},
            'layer_types': ['sliding_attention']}
    folder('gemma3', {'architectures': ['Gemma3ForConditionalGeneration'],
                      'text_config': text},
           {**{'language_model.' + k: v
               for k, v in {**rest(), **attention(), **mlp(), **norms}.items()},
            'vision_tower.x.weight': ('I64', [1])})

    put('safetensors', 'few', safetensors(
        {'a': ('F32', [2, 3]), 'b': ('BF16', []), 'c': ('U8', [0, 7]),
         'd': ('F8_E4M3', [1, 2, 3, 1])}, pad=5))
    put('safetensors', 'none', safetensors({}))
    put('safetensors', 'many', safetensors(
        {f'model.layers.{i}.weight': ('F16', [i, 2]) for i in range(40)}))


if __name__ == '__main__':
    main()
