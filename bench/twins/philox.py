"""Philox4x32-10 in NumPy, bit for bit the engine's generator (kernels/philox.h), and the weights drawn from it.

A draw is a pure function of (seed, stream, step, element): key = seed, counter = (element, stream, step low, step high).
Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC'11.
"""

import numpy as np

STREAM_WEIGHTS = 1  # RandomStream::weights
STREAM_DRAWING = 7  # RandomStream::drawing

_MASK32 = np.uint64(0xFFFFFFFF)
_SHIFT32 = np.uint64(32)
_MULTIPLIER_0 = np.uint64(0xD2511F53)
_MULTIPLIER_1 = np.uint64(0xCD9E8D57)
_BLOCKS_AT_A_TIME = 1 << 16  # keeps the ten rounds' temporaries in cache


def philox4x32_10(counter, key0: int, key1: int) -> np.ndarray:
    """counter: four values or equal-length arrays below 2^32; returns uint32 [blocks, 4]."""
    x, y, z, w = np.broadcast_arrays(*(np.atleast_1d(np.asarray(c, dtype=np.uint64)) for c in counter))
    for _ in range(10):
        p0 = _MULTIPLIER_0 * x
        p1 = _MULTIPLIER_1 * z
        x, y, z, w = ((p1 >> _SHIFT32) ^ y ^ np.uint64(key0), p1 & _MASK32,
                      (p0 >> _SHIFT32) ^ w ^ np.uint64(key1), p0 & _MASK32)
        key0 = (key0 + 0x9E3779B9) & 0xFFFFFFFF
        key1 = (key1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack([x, y, z, w], axis=-1).astype(np.uint32)


def words(seed: int, stream: int, step: int, count: int) -> np.ndarray:
    """uint32 [count]: element e is word e % 4 of block e // 4."""
    blocks = (count + 3) // 4
    out = np.empty((blocks, 4), dtype=np.uint32)
    for first in range(0, blocks, _BLOCKS_AT_A_TIME):
        element = np.arange(first, min(first + _BLOCKS_AT_A_TIME, blocks), dtype=np.uint64)
        counter = (element, stream, step & 0xFFFFFFFF, step >> 32)
        out[first:first + len(element)] = philox4x32_10(counter, seed & 0xFFFFFFFF, seed >> 32)
    return out.reshape(-1)[:count]


def uniform01(seed: int, stream: int, step: int, count: int) -> np.ndarray:
    """float32 [count] in [0, 1), 24 bits each."""
    return (words(seed, stream, step, count) >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)


def uniform(seed: int, stream: int, step: int, count: int, low: float, high: float) -> np.ndarray:
    """float32 [count] in [low, high): low + (high - low) * uniform01."""
    low, high = np.float32(low), np.float32(high)
    return low + (high - low) * uniform01(seed, stream, step, count)


def symmetric(seed: int, step: int, count: int, bound: np.float32) -> np.ndarray:
    """float32 [count] in [-bound, bound): (2 * uniform01 - 1) * bound on the weights stream; one rounding only."""
    u = uniform01(seed, STREAM_WEIGHTS, step, count)
    return (np.float32(2.0) * u - np.float32(1.0)) * np.float32(bound)


def kaiming_bound(fan: int) -> np.float32:
    """sqrt(6 / fan), division and root each rounded to float32."""
    return np.sqrt(np.float32(6.0) / np.float32(fan))
