"""CHECKSUM and DATASUM of an HDU that is written piece by piece (FITS standard 4.0, appendix J)."""

from __future__ import annotations

import numpy as np

ONES = 0xFFFFFFFF
PUNCTUATION = frozenset(b":;<=>?@[\\]^_`")
"""What the text of a CHECKSUM must not hold."""


class Sum:
    """The 32-bit ones' complement sum of bytes that come in pieces of any length."""

    def __init__(self, value: int = 0) -> None:
        """Start at the sum of what came before."""
        self._value = value
        self._rest = b""

    def add(self, piece: bytes) -> None:
        """Go on with a piece; bytes that make no whole word wait for the next one."""
        piece = self._rest + piece
        whole = len(piece) // 4 * 4
        self._rest = piece[whole:]
        words = np.frombuffer(piece, ">u4", whole // 4)
        self._value = _fold(self._value + int(words.sum(dtype=np.uint64)))

    @property
    def value(self) -> int:
        """The sum, as if zeros filled the last word."""
        last = int.from_bytes(self._rest.ljust(4, b"\0"), "big") if self._rest else 0
        return _fold(self._value + last)


def _fold(total: int) -> int:
    """Carry what is beyond 32 bits to the front."""
    while total > ONES:
        total = (total & ONES) + (total >> 32)
    return total


def encode(total: int) -> str:
    """The 16 characters that bring an HDU of this sum to -0."""
    text = bytearray(16)
    for i, byte in enumerate((ONES - total).to_bytes(4, "big")):
        for j, character in enumerate(_four(byte)):
            text[4 * j + i] = character
    return bytes(text[-1:] + text[:-1]).decode("ascii")


def _four(byte: int) -> list[int]:
    """Four letters or digits that add to a byte, from the code of 0 on."""
    quarter, rest = divmod(byte, 4)
    four = [ord("0") + quarter + rest, *[ord("0") + quarter] * 3]
    while any(character in PUNCTUATION for character in four):
        for j in (0, 2):
            if four[j] in PUNCTUATION or four[j + 1] in PUNCTUATION:
                four[j] += 1
                four[j + 1] -= 1
    return four
