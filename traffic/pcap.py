# SPDX-License-Identifier: GPL-2.0-only
"""Capture files: a pcap or pcapng becomes a stream with its timing, and back."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from os import PathLike
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scapy.error import Scapy_Exception
from scapy.utils import RawPcapReader, RawPcapWriter

from iridescent_xdp.errors import TrafficError
from traffic.mix_stream import Stream
from traffic.packet_build import MAX_FRAME_BYTES, MIN_FRAME_BYTES
from traffic.packet_records import DamagedCaptureError, count_packets

LINKTYPE_ETHERNET = 1  # https://www.tcpdump.org/linktypes.html

_GZIP_MAGIC = b"\x1f\x8b"
_NS_PER_S = 1_000_000_000
_CURE = "capture on an Ethernet interface, for example with tcpdump -w FILE"


@dataclass(frozen=True, kw_only=True, eq=False)
class Capture:
    """What was read: a stream that repeats the file's packets in their order, and the timing.

    ``gaps_ns`` (int64, read-only) has for each position the time since the packet before, 0
    for the first; a capture that goes back in time has negative gaps. ``too_short`` and
    ``too_long`` count the packets left out, ``cut`` those that the capture itself had cut.
    """

    stream: Stream
    gaps_ns: npt.NDArray[np.int64]
    too_short: int = 0
    too_long: int = 0
    cut: int = 0

    @property
    def note(self) -> str:
        """One line: what was read, and what was left out."""
        read, distinct = len(self.stream.sequence), len(self.stream.packets)
        parts = [f"{self.stream.name}: {read} packets read, {distinct} distinct"]
        if self.too_short:
            parts.append(f"{self.too_short} skipped (shorter than {MIN_FRAME_BYTES} bytes)")
        if self.too_long:
            parts.append(f"{self.too_long} skipped (longer than {MAX_FRAME_BYTES} bytes)")
        if self.cut:
            parts.append(f"{self.cut} were cut by the capture's snap length")
        return ", ".join(parts)


@dataclass(frozen=True)
class _Record:
    data: bytes
    time_ns: int
    wire_bytes: int


def read_pcap(path: str | PathLike[str]) -> Capture:
    """Read a pcap or pcapng file, gzip-compressed or not.

    Packets shorter than 14 or longer than 1514 bytes (no MTU-1500 Ethernet frame) are left out
    and counted; their time goes to the next packet. Raises TrafficError, naming the file and
    the reason, when it cannot be read, is damaged, is not Ethernet, or has no usable packet.
    """
    path = Path(path)
    numbers: dict[bytes, int] = {}
    sequence: list[int] = []
    times: list[int] = []
    too_short = too_long = cut = 0
    for record in _records(path):
        too_short += len(record.data) < MIN_FRAME_BYTES
        too_long += len(record.data) > MAX_FRAME_BYTES
        if MIN_FRAME_BYTES <= len(record.data) <= MAX_FRAME_BYTES:
            cut += len(record.data) < record.wire_bytes
            sequence.append(numbers.setdefault(record.data, len(numbers)))
            times.append(record.time_ns)
    if not sequence:
        raise _unreadable(path, _nothing(too_short, too_long))
    clock = np.array(times, dtype=np.int64)
    gaps_ns = np.concatenate((np.zeros(1, dtype=np.int64), clock[1:] - clock[:-1]))
    gaps_ns.flags.writeable = False
    stream = Stream(
        name=path.name, packets=tuple(numbers), sequence=np.array(sequence, dtype=np.uint32)
    )
    return Capture(stream=stream, gaps_ns=gaps_ns, too_short=too_short, too_long=too_long, cut=cut)


def write_pcap(
    path: str | PathLike[str], stream: Stream, *, gaps_ns: npt.NDArray[np.int64] | None = None
) -> None:
    """Write one round of ``stream`` as a pcap with nanosecond times, 1 µs apart by default.

    Raises TrafficError when the file cannot be written or ``gaps_ns`` has another length.
    """
    if gaps_ns is None:
        gaps_ns = np.full(len(stream.sequence), 1000, dtype=np.int64)
    if len(gaps_ns) != len(stream.sequence):
        raise TrafficError(
            f"{path}: gaps_ns must have one value for each of the {len(stream.sequence)} "
            f"positions, got {len(gaps_ns)}"
        )
    buffer = BytesIO()
    writer = RawPcapWriter(buffer, linktype=LINKTYPE_ETHERNET, nano=True)
    writer.write_header(None)
    for data, time_ns in zip(stream.frames(), np.cumsum(gaps_ns).tolist(), strict=True):
        sec, nsec = divmod(time_ns, _NS_PER_S)
        writer.write_packet(data, sec=sec, usec=nsec)
    try:
        Path(path).write_bytes(buffer.getvalue())
    except OSError as error:
        raise TrafficError(f"{path} cannot be written: {error.strerror}") from error


def _records(path: Path) -> Iterator[_Record]:
    data = _contents(path)
    try:
        expected = count_packets(data)
        with RawPcapReader(BytesIO(data)) as reader:  # type: ignore[arg-type]
            found = 0
            for found, (frame, meta) in enumerate(reader, start=1):
                linktype = getattr(meta, "linktype", None) or reader.linktype
                if linktype != LINKTYPE_ETHERNET:
                    raise _unreadable(
                        path, f"packet {found} has link type {linktype}, not Ethernet"
                    )
                yield _Record(bytes(frame), _time_ns(reader, meta), meta.wirelen)
    except (DamagedCaptureError, Scapy_Exception) as error:
        raise _unreadable(path, str(error)) from error
    if found != expected:
        raise _unreadable(path, f"only {found} of its {expected} packets could be read")


def _contents(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        if data[:2] == _GZIP_MAGIC:
            data = gzip.decompress(data)
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error
    except (EOFError, zlib.error) as error:
        raise _unreadable(path, f"the gzip stream is damaged: {error}") from error
    if not data:
        raise _unreadable(path, "it is empty")
    return data


def _time_ns(reader: RawPcapReader, meta: object) -> int:
    """When the packet was captured; pcapng keeps ticks, pcap seconds and a fraction."""
    resolution = getattr(meta, "tsresol", None)
    if resolution is None:
        fraction = int(meta.usec) * (1 if reader.nano else 1000)  # type: ignore[attr-defined]
        return int(meta.sec) * _NS_PER_S + fraction  # type: ignore[attr-defined]
    high, low = meta.tshigh, meta.tslow  # type: ignore[attr-defined]
    if high is None:
        raise DamagedCaptureError("its simple packet blocks have no time")
    return (int(high) << 32 | int(low)) * _NS_PER_S // int(resolution)


def _nothing(too_short: int, too_long: int) -> str:
    if not too_short + too_long:
        return "it has no packets"
    return (
        f"no packet has {MIN_FRAME_BYTES} to {MAX_FRAME_BYTES} bytes: "
        f"{too_short} are shorter, {too_long} longer"
    )


def _unreadable(path: Path, reason: str) -> TrafficError:
    return TrafficError(f"{path}: {reason}", cure=_CURE)
