from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.errors import ConfigError, InvalidRequest
from paceline.streaming.sources.tfrecord import Message, crc32c, records
from tests.streaming.sources.made import field, tfrecord


def bytewise(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


@given(st.binary(max_size=400))
def test_check_sum_equals_the_bytewise_one(data: bytes) -> None:
    assert crc32c(data) == bytewise(data)


@pytest.mark.parametrize(  # RFC 3720, B.4
    ("data", "expected"),
    [
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_published_check_sums(data: bytes, expected: int) -> None:
    assert crc32c(data) == expected


def test_long_data() -> None:
    data = np.random.default_rng(0).integers(0, 256, 50_001, np.uint8).tobytes()
    assert crc32c(data) == bytewise(data)


def test_records_come_back(tmp_path: Path) -> None:
    payloads = [b"", b"one", bytes(1000)]
    assert list(records(tfrecord(tmp_path / "a", payloads))) == payloads


def test_damaged_data_is_told_and_the_next_record_is_read(tmp_path: Path) -> None:
    path = tfrecord(tmp_path / "a", [b"one", b"two"])
    data = bytearray(path.read_bytes())
    data[13] ^= 1
    path.write_bytes(data)
    assert list(records(path)) == [None, b"two"]


@pytest.mark.parametrize("left", [5, 13, 18, 25])
def test_a_cut_file_says_where(tmp_path: Path, left: int) -> None:
    path = tfrecord(tmp_path / "a", [b"one", b"two"])
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(InvalidRequest, match=r"record [01] at byte"):
        list(records(path))


def test_nonsense_is_no_record(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"this is no record at all")
    with pytest.raises(InvalidRequest, match="no record starts here"):
        list(records(path))
    with pytest.raises(ConfigError, match="cannot be read"):
        list(records(tmp_path / "absent"))


def test_fields_by_number() -> None:
    inner = field(1, "text") + field(2, 1.5) + field(3, 2.5, single=True)
    message = Message(field(1, 300) + field(2, inner) + field(2, b"\x08\x01") + field(16, -5) + field(1, 7))
    assert (message.integer(1), message.integer(16), message.integer(9)) == (7, -5, 0)
    first, second = message.messages(2)
    assert (first.text(1), first.real(2), first.real(3), first.real(9)) == ("text", 1.5, 2.5, 0.0)
    assert second.integer(1) == 1


@given(st.binary(max_size=60))
def test_any_bytes_are_a_message_or_refused(data: bytes) -> None:
    try:
        message = Message(data)
    except InvalidRequest:
        return
    for number in range(20):
        message.integer(number), message.real(number), message.text(number)
