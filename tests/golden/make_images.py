"""Makes tests/golden/images/* and images.json (what Pillow decodes them to). Needs Pillow and numpy.

Run from anywhere: python3 tests/golden/make_images.py
"""
import json
import os
import struct
import zlib

import numpy as np
from PIL import Image

HERE = os.path.dirname(os.path.abspath(__file__))
FOLDER = os.path.join(HERE, "images")
os.makedirs(FOLDER, exist_ok=True)

WIDTH, HEIGHT = 11, 7
y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
COLOUR = np.stack([x * 23 % 256, y * 36 % 256, (x * 7 + y * 19) % 256], -1).astype(np.uint8)
GREY = ((x * 17 + y * 29) % 256).astype(np.uint8)
ALPHA = ((x * 25 + y * 5) % 256).astype(np.uint8)
GREY16 = (x * 5003 + y * 9001).astype(np.uint16)
# Smooth, so that two JPEG decoders agree to a few levels.
SMOOTH = np.stack([40 + x * 8, 60 + y * 12, 200 - x * 4 - y * 6], -1).astype(np.uint8)


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def raw_png(width, height, depth, colour, rows, interlace=0, extra=b""):
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows, 9))
            + chunk(b"IEND", b""))


def adam7(picture):
    rows = b""
    for y0, x0, dy, dx in ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)):
        for row in picture[y0::dy, x0::dx]:
            if row.size:
                rows += b"\0" + row.tobytes()
    return rows


def write(name, data):
    with open(os.path.join(FOLDER, name), "wb") as file:
        file.write(data)


def save(name, array, **options):
    Image.fromarray(array).save(os.path.join(FOLDER, name), **options)


save("rgb.png", COLOUR)
save("grey.png", GREY)
save("rgba.png", np.dstack([COLOUR, ALPHA]))
save("grey_alpha.png", np.dstack([GREY, ALPHA]))
save("grey16.png", GREY16)
save("one_bit.png", GREY > 127)
Image.fromarray(COLOUR).quantize(16).save(os.path.join(FOLDER, "palette.png"))
rgb16 = np.stack([GREY16, GREY16[::-1], GREY16[:, ::-1]], -1)
write("rgb16.png", raw_png(WIDTH, HEIGHT, 16, 2, b"".join(b"\0" + r.astype(">u2").tobytes() for r in rgb16)))
write("interlaced.png", raw_png(WIDTH, HEIGHT, 8, 2, adam7(COLOUR), 1))
save("rgb.jpg", SMOOTH, quality=95, subsampling=0)
save("subsampled.jpg", SMOOTH, quality=95, subsampling=2)
save("progressive.jpg", SMOOTH, quality=95, subsampling=0, progressive=True)
save("grey.jpg", SMOOTH[..., 0].copy(), quality=95)
save("restart.jpg", SMOOTH, quality=95, subsampling=0, restart_marker_blocks=1)
Image.fromarray(SMOOTH).convert("CMYK").save(os.path.join(FOLDER, "cmyk.jpg"), quality=95)
for orientation in range(1, 9):
    exif = Image.Exif()
    exif[0x0112] = orientation
    save(f"orientation{orientation}.jpg", SMOOTH, quality=95, subsampling=0, exif=exif)
save("rgb.bmp", COLOUR)
save("grey.bmp", GREY)
save("one_bit.bmp", GREY > 127)
# Rows stored top to bottom, and 32 bits a pixel with a meaningless fourth byte.
pad = b"\0" * (-WIDTH * 3 % 4)
body = b"".join(r[:, ::-1].tobytes() + pad for r in COLOUR)
write("top_down.bmp", b"BM" + struct.pack("<IHHI", 54 + len(body), 0, 0, 54)
      + struct.pack("<IiiHHIIiiII", 40, WIDTH, -HEIGHT, 1, 24, 0, len(body), 0, 0, 0, 0) + body)
body = np.dstack([COLOUR[::-1, :, ::-1], ALPHA]).tobytes()
write("rgbx.bmp", b"BM" + struct.pack("<IHHI", 54 + len(body), 0, 0, 54)
      + struct.pack("<IiiHHIIiiII", 40, WIDTH, HEIGHT, 1, 32, 0, len(body), 0, 0, 0, 0) + body)


def upright(picture, orientation):
    turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
    return picture if orientation == 1 else picture.transpose(turns[orientation])


def expected(name):
    """[height, width, 3] as data/image_codec.h describes it, from Pillow's decoding."""
    picture = Image.open(os.path.join(FOLDER, name))
    if name in ("rgb16.png", "grey16.png"):
        wide = rgb16 if name == "rgb16.png" else np.stack([GREY16] * 3, -1)
        return np.floor(wide.astype(np.float64) / 257 + 0.5).astype(np.uint8)
    if name == "rgbx.bmp":
        return COLOUR
    if "A" in picture.mode:
        values = np.asarray(picture.convert("RGBA")).astype(np.int64)
        alpha = values[..., 3:]
        return ((values[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    orientation = picture.getexif().get(0x0112, 1)
    return np.asarray(upright(picture.convert("RGB"), orientation))


table = {}
for name in sorted(os.listdir(FOLDER)):
    pixels = expected(name)
    table[name] = {"height": pixels.shape[0], "width": pixels.shape[1], "rgb": pixels.flatten().tolist()}
with open(os.path.join(HERE, "images.json"), "w") as file:
    json.dump(table, file, separators=(",", ":"))
    file.write("\n")
print(len(table), "pictures,", sum(os.path.getsize(os.path.join(FOLDER, n)) for n in table), "bytes")
