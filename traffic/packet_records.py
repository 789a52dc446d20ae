# SPDX-License-Identifier: GPL-2.0-only
"""How many packets a capture file says it has, and whether it is whole.

scapy's reader stops silently where a file is cut; this walk over the record headers tells.
Formats: https://datatracker.ietf.org/doc/draft-ietf-opsawg-pcap/ and .../-pcapng/.
"""

from __future__ import annotations

import struct

_PCAP_ENDIAN = {
    b"\xd4\xc3\xb2\xa1": "<",
    b"\xa1\xb2\xc3\xd4": ">",
    b"\x4d\x3c\xb2\xa1": "<",  # the last two: nanoseconds
    b"\xa1\xb2\x3c\x4d": ">",
}
_PCAPNG_MAGIC = b"\x0a\x0d\x0d\x0a"
_PCAPNG_ENDIAN = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
_PCAP_HEADER_BYTES = 24
_RECORD_HEADER_BYTES = 16
_MIN_BLOCK_BYTES = 12
_PACKET_BLOCKS = frozenset({2, 3, 6})  # the obsolete one, simple, enhanced


class DamagedCaptureError(ValueError):
    """The file is no capture, or is not whole; ``str()`` says where."""


def count_packets(data: bytes) -> int:
    """The number of packet records in a pcap or pcapng file.

    Raises DamagedCaptureError when it is neither, or ends inside a record.
    """
    if data[:4] in _PCAP_ENDIAN:
        return _count_pcap(data, _PCAP_ENDIAN[data[:4]])
    if data[:4] == _PCAPNG_MAGIC:
        return _count_pcapng(data)
    raise DamagedCaptureError(f"not a pcap or pcapng file, it starts with {data[:4].hex(' ')}")


def _count_pcap(data: bytes, endian: str) -> int:
    if len(data) < _PCAP_HEADER_BYTES:
        raise DamagedCaptureError(f"the file header is cut after {len(data)} bytes")
    at, count = _PCAP_HEADER_BYTES, 0
    while at < len(data):
        count += 1
        if at + _RECORD_HEADER_BYTES > len(data):
            raise DamagedCaptureError(f"the file ends inside packet {count}")
        (captured,) = struct.unpack_from(f"{endian}I", data, at + 8)
        at += _RECORD_HEADER_BYTES + captured
    if at > len(data):
        raise DamagedCaptureError(f"the file ends inside packet {count}")
    return count


def _count_pcapng(data: bytes) -> int:
    at, count, blocks, endian = 0, 0, 0, "<"
    while at < len(data):
        blocks += 1
        if at + _MIN_BLOCK_BYTES > len(data):
            raise DamagedCaptureError(f"the file ends inside block {blocks}")
        if data[at : at + 4] == _PCAPNG_MAGIC:
            magic = data[at + 8 : at + 12]
            if magic not in _PCAPNG_ENDIAN:
                raise DamagedCaptureError(f"block {blocks} has byte-order magic {magic.hex(' ')}")
            endian = _PCAPNG_ENDIAN[magic]
        kind, length = struct.unpack_from(f"{endian}II", data, at)
        if length < _MIN_BLOCK_BYTES or length % 4:
            raise DamagedCaptureError(f"block {blocks} claims a length of {length} bytes")
        count += kind in _PACKET_BLOCKS
        at += length
    if at > len(data):
        raise DamagedCaptureError(f"the file ends inside block {blocks}")
    return count
