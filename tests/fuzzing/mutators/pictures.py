"""Damage to images: other sizes in their headers, other formats behind their names."""

import io
import struct
import zlib
from collections.abc import Callable
from random import Random

from PIL import Image

from fuzzing.mutators import values
from fuzzing.mutators.mutator import rows

FORMATS = {
    "png": {},
    "jpg": {"format": "JPEG"},
    "webp": {},
    "bmp": {},
    "gif": {},
    "tiff": {},
    "ppm": {},
    "jp2": {"format": "JPEG2000"},
    "tga": {},
    "ico": {},
    "pcx": {},
    "dds": {},
    "sgi": {},
    "eps": {},
    "pdf": {},
    "icns": {},
    "msp": {"mode": "1"},
    "xbm": {"mode": "1"},
    "avif": {},
}
"""How an image is written in each format that Pillow writes, by suffix."""

SIZES = (0, 1, 2, 255, 4096, 20_000, 65_535, 10**6, 2**31 - 1, 2**31, 2**32 - 1)


def picture(side: int = 24, mode: str = "RGB") -> Image.Image:
    """A small image in which no two rows are alike."""
    image = Image.linear_gradient("L").resize((side, side)).convert("RGB")
    return image.convert(mode)


def encoded(suffix: str, *, side: int = 24, mode: str | None = None) -> bytes:
    """An image file of the format that `suffix` stands for; PNG where Pillow lacks it."""
    form = dict(FORMATS[suffix])
    own, name = form.pop("mode", "RGB"), form.pop("format", suffix.upper())
    file = io.BytesIO()
    try:
        picture(side, mode or own).save(file, name, **form)
    except (OSError, KeyError, ValueError):
        return encoded("png", side=side)
    return file.getvalue()


def _chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 8
    while at + 8 <= len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        found.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def _joined(chunks: list[tuple[bytes, bytes]]) -> bytes:
    pieces = [b"\x89PNG\r\n\x1a\n"]
    for kind, data in chunks:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        pieces.append(struct.pack(">I", len(data)) + kind + data + checksum)
    return b"".join(pieces)


def png_size(content: bytes, random: Random) -> bytes:
    """Another width or height, with a checksum that is right."""
    chunks = _chunks(encoded("png"))
    header = bytearray(chunks[0][1])
    at = random.choice((0, 4))
    header[at : at + 4] = struct.pack(">I", random.choice(SIZES))
    if random.random() < 0.3:
        header[random.choice((8, 9, 10, 11, 12))] = random.randrange(256)
    return _joined([(b"IHDR", bytes(header)), *chunks[1:]])


def png_chunks(content: bytes, random: Random) -> bytes:
    """Chunks dropped, doubled, added."""
    chunks = _chunks(encoded("png"))
    at = random.randrange(len(chunks))
    added = random.choice((
        (b"tEXt", b"a\0" + values.text(random).encode("utf-8", "replace")),
        (b"zTXt", b"a\0\0" + zlib.compress(b"\0" * (64 << 20), 9)),
        (b"iCCP", b"a\0\0" + zlib.compress(b"junk")), (b"eXIf", b"MM\0*\0\0\0\x08\xff\xff"),
        (b"acTL", struct.pack(">II", values.number(random) % 2**32, 0)), (b"gAMA", b"\0\0\0\0"),
        (b"PLTE", b"\0" * random.choice((0, 1, 3, 769))), (b"tRNS", b"\0" * 300), chunks[at],
    ))  # fmt: skip
    fewer, more = [*chunks[:at], *chunks[at + 1 :]], [*chunks[:at], added, *chunks[at:]]
    return _joined(random.choice((fewer, more)))


def another_format(content: bytes, random: Random) -> bytes:
    return encoded(random.choice(list(FORMATS)))


def another_mode(content: bytes, random: Random) -> bytes:
    mode = random.choice(("1", "L", "P", "LA", "RGBA", "CMYK", "I", "F", "I;16", "YCbCr", "LAB"))
    return encoded(random.choice(("png", "tiff", "webp")), mode=mode)


def one_pixel(content: bytes, random: Random) -> bytes:
    file = io.BytesIO()
    size = random.choice(((1, 1), (1, 20_000), (20_000, 1), (9000, 9000)))
    Image.new(random.choice(("1", "L", "P")), size).save(
        file, random.choice(("png", "gif", "tiff"))
    )
    return file.getvalue()


def many_frames(content: bytes, random: Random) -> bytes:
    file = io.BytesIO()
    frames = [picture().rotate(angle) for angle in range(random.choice((2, 50)))]
    frames[0].save(
        file, random.choice(("gif", "tiff", "png", "webp")), save_all=True, append_images=frames[1:]
    )
    return file.getvalue()


def postscript(content: bytes, random: Random) -> bytes:
    """What Pillow has Ghostscript draw."""
    box = random.choice((b"0 0 9 9", b"0 0 99999 99999", b"-1 -1 0 0", b"(atend)", b""))
    body = random.choice((b"showpage", b"(%pipe%touch x) (w) file", b"{} loop", b"(a) print quit"))
    return b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: " + box + b"\n%%EndComments\n" + body + b"\n"


def orientation(content: bytes, random: Random) -> bytes:
    """EXIF data with an odd orientation, or with none that can be read."""
    file, image = io.BytesIO(), picture()
    exif = image.getexif()
    exif[0x0112] = random.choice((0, 3, 6, 9, 255, 65_535))
    data = bytearray(exif.tobytes())
    if random.random() < 0.5:
        data[random.randrange(len(data))] ^= 0xFF
    image.save(file, random.choice(("jpeg", "png", "webp")), exif=bytes(data))
    return file.getvalue()


def of_format(suffix: str) -> Callable[[bytes, Random], bytes]:
    """A whole file of a format; a mutator of bytes then changes it."""

    def made(content: bytes, random: Random) -> bytes:
        from fuzzing.mutators.raw import RAW

        return random.choice(RAW).change(encoded(suffix), random)

    made.__name__ = f"broken_{suffix}"
    return made


IMAGE = rows(
    png_size,
    png_chunks,
    another_format,
    another_mode,
    one_pixel,
    many_frames,
    postscript,
    orientation,
    *map(of_format, FORMATS),
)
