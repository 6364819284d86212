#!/usr/bin/env python3
"""Writes t/model/quant.gold: how far llama.cpp's quantisers are from the
weights, as t/model/quant.c makes them: RMS of the error by RMS of the weights,
for each type and distribution.

    pip install numpy && t/model/make_quant.py LIBGGML-BASE.SO > t/model/quant.gold
"""

import ctypes
import sys

import numpy as np

ROWS, COLS = 64, 512
TYPES = {"q4_0": (2, 32, 18), "q4_1": (3, 32, 20), "q5_0": (6, 32, 22),
         "q5_1": (7, 32, 24), "q8_0": (8, 32, 34), "q4_K": (12, 256, 144),
         "q5_K": (13, 256, 176), "q6_K": (14, 256, 210),
         "iq4_nl": (20, 32, 18), "mxfp4": (39, 32, 17)}


def weights(kind):
    """Sums of 8 draws of 16 bits; `heavy` is its cube, `shifted` has a mean,
    `outliers` a weight of every 64 times 8."""
    state, out = 12345, np.empty(ROWS * COLS, dtype=np.float64)
    for i in range(ROWS * COLS):
        total = 0
        for _ in range(8):
            state = (state * 1664525 + 1013904223) & 0xffffffff
            total += state >> 16
        x = (total - 8 * 32768) / 65536.0
        if kind == "heavy":
            x = x * x * x
        elif kind == "shifted":
            x = x + 0.75
        elif kind == "outliers" and i % 64 == 17:
            x = x * 8
        out[i] = x / 32
    return out.astype(np.float32).reshape(ROWS, COLS)


lib = ctypes.CDLL(sys.argv[1])
lib.ggml_quantize_chunk.restype = ctypes.c_size_t
lib.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p,
                                    ctypes.c_int64, ctypes.c_int64, ctypes.c_int64,
                                    ctypes.c_void_p]

print("# By t/model/make_quant.py: type, weights, RMS of the error / RMS.")

for kind in ("normal", "heavy", "shifted", "outliers"):
    x = weights(kind)
    for name, (number, elems, size) in TYPES.items():
        q = np.zeros(x.size // elems * size, dtype=np.uint8)
        y = np.empty_like(x)
        lib.ggml_quantize_chunk(number, x.ctypes.data, q.ctypes.data, 0, ROWS, COLS, None)
        back = getattr(lib, "dequantize_row_" + name)
        back.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
        back(q.ctypes.data, y.ctypes.data, x.size)
        x64, y64 = x.astype(np.float64), y.astype(np.float64)
        error = np.sqrt(np.mean((x64 - y64) ** 2) / np.mean(x64 ** 2))
        print(f"{number} {kind} {error:.6f}")
