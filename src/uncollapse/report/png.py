"""Check that bytes are one complete PNG image, without decoding it."""

import struct
import zlib

MOST_SIDE = 10_000  # pixels
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def is_png(content: bytes) -> bool:
    """Whether the content is exactly one intact PNG of at most MOST_SIDE pixels a side."""
    # 33 bytes: signature and header
    if len(content) < 33 or not content.startswith(SIGNATURE + b"\0\0\0\x0dIHDR"):
        return False
    sides, place, name = struct.unpack_from(">II", content, 16), len(SIGNATURE), b""
    # chunk after chunk, until the end or a fault
    while name != b"IEND" and (chunk := read_chunk(content, place)):
        name, place = chunk
    return (
        name == b"IEND" and place == len(content) and all(1 <= side <= MOST_SIDE for side in sides)
    )


def read_chunk(content: bytes, place: int) -> tuple[bytes, int] | None:
    """The name of the chunk at an offset, and the offset of the next one; None if damaged."""
    # a chunk: length, name, content, checksum of name and content
    size = int.from_bytes(content[place : place + 4], "big")
    checked, end = content[place + 4 : place + 8 + size], place + 12 + size
    if end > len(content) or zlib.crc32(checked) != int.from_bytes(content[end - 4 : end], "big"):
        return None
    return checked[:4], end
