"""TFRecord files and protocol buffers, as far as a data set's reader needs them, without TensorFlow.

A record is an eight-byte length, the length's check sum, the data, the data's check sum; check sums are masked CRC-32C
(https://www.tensorflow.org/tutorials/load_data/tfrecord). A message is a row of fields, each a key (number << 3 | kind) and
a value (https://protobuf.dev/programming-guides/encoding).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from paceline.errors import ConfigError, InvalidRequest

Value: TypeAlias = int | bytes  # a number or what follows a length; fixed-width values stay bytes

_CASTAGNOLI: Final = 0x82F63B78  # reversed polynomial of CRC-32C
_MASK: Final = 0xA282EAD8
_MAX_VARINT: Final = 10  # bytes


def _table() -> NDArray[np.uint32]:
    value = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        value = np.where(value & 1, value >> 1 ^ np.uint32(_CASTAGNOLI), value >> 1).astype(np.uint32)
    return value


_TABLE: Final = _table()
_BITS: Final = np.arange(32, dtype=np.uint32)


def crc32c(data: bytes) -> int:
    """The check sum of iSCSI. A check sum is linear: many stretches of the data are summed at once, then folded in pairs.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    start, num_stretches = np.uint32(0xFFFFFFFF), 1
    if len(data) > 64:
        num_stretches = 1 << len(data).bit_length() // 2 + 2
        data = bytes(0xFF - byte for byte in data[:4]) + data[4:]  # instead of the start,
        start = np.uint32(0)  # so that zeros in front change nothing
    length = -(-len(data) // num_stretches)
    padded = data.rjust(num_stretches * length, b"\0")
    stretches = np.frombuffer(padded, np.uint8).reshape(num_stretches, length)
    sums = np.concatenate([np.full(num_stretches, start), np.uint32(1) << _BITS])
    for column in np.pad(stretches, ((0, 32), (0, 0))).T.copy():
        sums = _TABLE[(sums ^ column) & 0xFF] ^ sums >> 8
    sums, shift = sums[:num_stretches], sums[num_stretches:]  # what a stretch of zeros makes of each bit
    while len(sums) > 1:
        sums = _shifted(sums[::2], shift) ^ sums[1::2]
        shift = _shifted(shift, shift)
    return int(sums[0]) ^ 0xFFFFFFFF


def _shifted(sums: NDArray[np.uint32], shift: NDArray[np.uint32]) -> NDArray[np.uint32]:
    result: NDArray[np.uint32] = np.bitwise_xor.reduce((sums[:, None] >> _BITS & 1) * shift, axis=1)  # [N, 32] -> [N]
    return result


def masked(crc: int) -> int:
    """What the file holds in place of a check sum."""
    return ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF


def records(path: Path) -> Iterator[bytes | None]:
    """The records; None for one whose data is damaged. Ends with an error where the framing is lost or the file is cut."""
    try:
        size = path.stat().st_size
        file = path.open("rb")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    with file:
        number = 0
        while header := file.read(12):
            where = f"{path}, record {number} at byte {file.tell() - len(header)}"
            if len(header) < 12 or struct.unpack_from("<I", header, 8)[0] != masked(crc32c(header[:8])):
                raise InvalidRequest(f"{where}: no record starts here; fetch the file again")
            (length,) = struct.unpack_from("<Q", header)
            if length + 4 > size - file.tell():
                raise InvalidRequest(f"{where}: the file is cut off; fetch it again")
            data, (check,) = file.read(length), struct.unpack("<I", file.read(4))
            yield data if check == masked(crc32c(data)) else None
            number += 1


@final
class Message:
    """A protocol buffer with the values of its fields by number."""

    def __init__(self, data: bytes) -> None:
        self._fields: dict[int, list[Value]] = {}
        position = 0
        while position < len(data):
            key, position = _varint(data, position)
            value, position = _value(data, position, key & 7)
            self._fields.setdefault(key >> 3, []).append(value)

    def messages(self, number: int) -> list[Message]:
        return [Message(value) for value in self.blobs(number)]

    def message(self, number: int) -> Message:
        """The last one, or an empty one."""
        blobs = self.blobs(number)
        return Message(blobs[-1]) if blobs else Message(b"")

    def blobs(self, number: int) -> list[bytes]:
        return [value for value in self._fields.get(number, []) if isinstance(value, bytes)]

    def text(self, number: int) -> str:
        blobs = self.blobs(number)
        return blobs[-1].decode(errors="replace") if blobs else ""

    def integer(self, number: int) -> int:
        values = [value for value in self._fields.get(number, []) if isinstance(value, int)]
        value = values[-1] & 0xFFFFFFFFFFFFFFFF if values else 0
        return value - (1 << 64) if value >> 63 else value

    def real(self, number: int) -> float:
        """A float or double; 0 where there is none."""
        blobs = [value for value in self.blobs(number) if len(value) in (4, 8)]
        if not blobs:
            return 0.0
        result: float = struct.unpack("<f" if len(blobs[-1]) == 4 else "<d", blobs[-1])[0]
        return result


def _value(data: bytes, position: int, kind: int) -> tuple[Value, int]:
    if kind == 0:
        return _varint(data, position)
    if kind == 2:
        length, position = _varint(data, position)
    elif kind in (1, 5):
        length = 8 if kind == 1 else 4
    else:
        raise InvalidRequest(f"byte {position} of a message starts a value of unknown kind {kind}")
    if length > len(data) - position:
        raise InvalidRequest(
            f"byte {position} of a message starts a value of {length} bytes, of which {len(data) - position} are there"
        )
    return data[position : position + length], position + length


def _varint(data: bytes, position: int) -> tuple[int, int]:
    result = 0
    for place, byte in enumerate(data[position : position + _MAX_VARINT]):
        result |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return result, position + place + 1
    raise InvalidRequest(f"byte {position} of a message starts a number that does not end")
