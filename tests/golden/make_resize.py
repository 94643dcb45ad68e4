"""Makes tests/golden/resize.json: what Pillow's antialiased bilinear resize makes of pictures that the test draws itself.

Run from anywhere: python3 tests/golden/make_resize.py. Needs Pillow and numpy.
"""
import json
import os

import numpy as np
from PIL import Image

HERE = os.path.dirname(os.path.abspath(__file__))
CASES = [(13, 9, 7, 5), (5, 4, 11, 9), (64, 48, 16, 16), (16, 16, 16, 8), (3, 3, 1, 1), (1, 1, 4, 3), (9, 31, 32, 6),
         (40, 2, 3, 7), (97, 61, 32, 32)]


def picture(width, height):
    """Byte i is the top of state i of the generator s -> 1664525 s + 1013904223 (mod 2^32), from s = 1."""
    state, values = 1, []
    for _ in range(width * height * 3):
        state = (1664525 * state + 1013904223) % 2**32
        values.append(state >> 24)
    return np.array(values, np.uint8).reshape(height, width, 3)


rows = []
for width, height, new_width, new_height in CASES:
    resized = Image.fromarray(picture(width, height)).resize((new_width, new_height), Image.Resampling.BILINEAR)
    rows.append({"from": [width, height], "to": [new_width, new_height], "rgb": np.asarray(resized).flatten().tolist()})
with open(os.path.join(HERE, "resize.json"), "w") as file:
    file.write("[\n" + ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows) + "\n]\n")
