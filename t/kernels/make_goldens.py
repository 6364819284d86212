#!/usr/bin/env python3
"""Writes t/kernels/gemm.gold: one row of 256 elements of every format, as
random bytes (with finite scales) and as dequantised by PyPI's `gguf`.

    pip install gguf numpy && t/kernels/make_goldens.py > t/kernels/gemm.gold
"""

import numpy as np
from gguf import GGMLQuantizationType as T, GGML_QUANT_SIZES
from gguf.quants import dequantize

# Where the f16 scales stand in a block.
SCALES = {
    "F32": [], "F16": [], "BF16": [],
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
}

rng = np.random.default_rng(20261121)

print("# By t/kernels/make_goldens.py: TYPE, blocks, f32 values (hex).")

for name, scales in SCALES.items():
    kind = T[name]
    elements, size = GGML_QUANT_SIZES[kind]
    blocks = 256 // elements

    if name == "F32":
        raw = rng.standard_normal(256).astype("<f4").tobytes()
    elif name == "F16":
        raw = rng.standard_normal(256).astype("<f2")
        raw[:8] = [0.0, -0.0, 6e-8, -6e-8, 65504, -65504, 6.1e-5, 1e-4]
        raw = raw.tobytes()
    elif name == "BF16":
        raw = (rng.standard_normal(256).astype("<f4").view("<u4") >> 16)
        raw = raw.astype("<u2").tobytes()
    else:
        raw = rng.integers(0, 256, (blocks, size), dtype=np.uint8)
        for at in scales:
            value = rng.standard_normal((blocks, 1)).astype("<f2")
            raw[:, at:at + 2] = value.view(np.uint8)
        raw = raw.tobytes()

    data = np.frombuffer(raw, dtype=np.uint8).reshape(1, -1)
    if name in ("F32", "F16"):
        data = data.view("<f4" if name == "F32" else "<f2")
    values = dequantize(data, kind).astype("<f4").reshape(-1)
    assert values.shape == (256,)
    print(name, raw.hex(), values.tobytes().hex())
