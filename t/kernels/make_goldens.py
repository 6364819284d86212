#!/usr/bin/env python3
"""Writes t/kernels/gemm.gold: rows of 256 elements of every format, as random
bytes (with finite scales) and as dequantised by PyPI's `gguf`.  One row with
scales of a usual size and, for integer formats, two with extreme ones: the
largest, the smallest normal and subnormal, zeros of both signs.

    pip install gguf numpy && t/kernels/make_goldens.py > t/kernels/gemm.gold
"""

import numpy as np
from gguf import GGMLQuantizationType as T, GGML_QUANT_SIZES
from gguf.quants import dequantize

# Where the f16 scales stand in a block.
SCALES = {
    "F32": [], "F16": [], "BF16": [],
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2],
    "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0], "MXFP4": [],
}

EXTREME = np.array([0x0001, 0x7bff, 0x83ff, 0x8000, 0x0400, 0xfbff, 0x0000,
                    0x8001, 0x03ff], dtype="<u2")
EXPONENTS = np.array([0, 1, 2, 3, 127, 252, 254, 255], dtype=np.uint8)

rng = np.random.default_rng(20261121)


def floats(name):
    if name == "F32":
        return rng.standard_normal(256).astype("<f4").tobytes()
    if name == "F16":
        raw = rng.standard_normal(256).astype("<f2")
        raw[:8] = [0.0, -0.0, 6e-8, -6e-8, 65504, -65504, 6.1e-5, 1e-4]
        return raw.tobytes()
    raw = rng.standard_normal(256).astype("<f4").view("<u4") >> 16
    return raw.astype("<u2").tobytes()


def blocks(name, turn):
    elements, size = GGML_QUANT_SIZES[T[name]]
    n = 256 // elements
    raw = rng.integers(0, 256, (n, size), dtype=np.uint8)
    if name == "MXFP4":
        raw[:, 0] = np.roll(EXPONENTS, turn)[:n] if turn else \
            rng.integers(110, 130, n)
    for i, at in enumerate(SCALES[name]):
        value = rng.standard_normal((n, 1)).astype("<f2")
        if turn:
            value = np.roll(EXTREME, turn + i - 1)[:n].reshape(n, 1)
        raw[:, at:at + 2] = value.view(np.uint8)
    return raw.tobytes()


print("# By t/kernels/make_goldens.py: TYPE, blocks, f32 values (hex).")

for name in SCALES:
    plain = name in ("F32", "F16", "BF16")
    for turn in range(1 if plain else 3):
        raw = floats(name) if plain else blocks(name, turn)
        data = np.frombuffer(raw, dtype=np.uint8).reshape(1, -1)
        if name in ("F32", "F16"):
            data = data.view("<f4" if name == "F32" else "<f2")
        with np.errstate(over="ignore"):
            values = dequantize(data, T[name]).astype("<f4").reshape(-1)
        assert values.shape == (256,)
        print(name, raw.hex(), values.tobytes().hex())
