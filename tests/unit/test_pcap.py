# SPDX-License-Identifier: GPL-2.0-only
"""Capture files, by scapy and by hand: read as streams; damage is told by file and reason."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.utils import PcapReader, wrpcap, wrpcapng

from iridescent_xdp.errors import TrafficError
from traffic.mixes import Mix, build
from traffic.pcap import read_pcap, write_pcap

LINK = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
A = bytes(LINK / IP(src="10.0.0.1", dst="10.0.0.9") / UDP(dport=1))
B = bytes(LINK / IP(src="10.0.0.2", dst="10.0.0.9") / UDP(dport=2))
SHORT, LONG = bytes(13), bytes(1515)
NS = 1_000_000_000


def pcap(
    records: Sequence[tuple[bytes, int]], *, magic: int = 0xA1B23C4D, endian: str = "<",
    linktype: int = 1, snap: int = 65535,
) -> bytes:  # fmt: skip
    """A classic capture file of (frame, time in ns)."""
    data = struct.pack(f"{endian}IHHiIII", magic, 2, 4, 0, 0, snap, linktype)
    unit = 1 if magic == 0xA1B23C4D else 1000
    for frame, time_ns in records:
        kept = frame[:snap]
        seconds, rest = divmod(time_ns, NS)
        data += struct.pack(f"{endian}IIII", seconds, rest // unit, len(kept), len(frame)) + kept
    return data


def block(kind: int, body: bytes, endian: str = "<") -> bytes:
    body += bytes(-len(body) % 4)
    length = 12 + len(body)
    return struct.pack(f"{endian}II", kind, length) + body + struct.pack(f"{endian}I", length)


def section(endian: str = "<") -> bytes:
    return block(0x0A0D0D0A, struct.pack(f"{endian}IHHq", 0x1A2B3C4D, 1, 0, -1), endian)


def interface(endian: str = "<", *, linktype: int = 1, resolution: int | None = None) -> bytes:
    options = b""
    if resolution is not None:
        options = struct.pack(f"{endian}HHB3xI", 9, 1, resolution, 0)
    return block(1, struct.pack(f"{endian}HHI", linktype, 0, 0) + options, endian)


def enhanced(frame: bytes, ticks: int, endian: str = "<", *, interface_id: int = 0) -> bytes:
    head = struct.pack(
        f"{endian}5I", interface_id, ticks >> 32, ticks & 0xFFFFFFFF, len(frame), len(frame)
    )
    return block(6, head + frame, endian)


RECORDS = [(A, 5 * NS), (B, 5 * NS + 1500), (A, 7 * NS + 250_000)]
GAPS = [0, 1500, 2 * NS + 248_500]


def check(path: Path, gaps_ns: Sequence[int] = GAPS) -> None:
    capture = read_pcap(path)
    assert list(capture.stream.frames()) == [A, B, A]
    assert capture.stream.packets == (A, B)
    assert capture.stream.sequence.tolist() == [0, 1, 0]
    assert capture.gaps_ns.tolist() == list(gaps_ns)
    assert capture.note == f"{path.name}: 3 packets read, 2 distinct"


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize(("magic", "unit"), [(0xA1B23C4D, 1), (0xA1B2C3D4, 1000)])
def test_classic_captures(tmp_path: Path, endian: str, magic: int, unit: int) -> None:
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap(RECORDS, endian=endian, magic=magic))
    check(path, [0, 1500 // unit * unit, 2 * NS + 250_000 - 1500 // unit * unit])


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize(("resolution", "per_s"), [(None, 10**6), (9, 10**9), (0x80 | 30, 2**30)])
def test_pcapng(tmp_path: Path, endian: str, resolution: int | None, per_s: int) -> None:
    path = tmp_path / "a.pcapng"
    data = section(endian) + interface(endian, resolution=resolution)
    ticks = [time_ns * per_s // NS for _, time_ns in RECORDS]
    for (frame, _), tick in zip(RECORDS, ticks, strict=True):
        data += enhanced(frame, tick, endian) + block(5, bytes(12), endian)  # statistics
    path.write_bytes(data)
    clock = [tick * NS // per_s for tick in ticks]
    check(path, [0, clock[1] - clock[0], clock[2] - clock[1]])


def test_what_scapy_writes(tmp_path: Path) -> None:
    packets = [Ether(data) for data, _ in RECORDS]
    for packet, (_, time_ns) in zip(packets, RECORDS, strict=True):
        packet.time = time_ns / NS
    wrpcap(str(tmp_path / "a.pcap"), packets, nano=False)
    wrpcapng(str(tmp_path / "a.pcapng"), packets)
    for name in ("a.pcap", "a.pcapng"):
        assert list(read_pcap(tmp_path / name).stream.frames()) == [A, B, A]


def test_gzip(tmp_path: Path) -> None:
    path = tmp_path / "a.pcap.gz"
    path.write_bytes(gzip.compress(pcap(RECORDS)))
    check(path)


def test_frames_outside_are_skipped_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap([(SHORT, 0), (A, 100), (LONG, 150), (LONG, 170), (bytes(14), 200),
                           (bytes(1514), 300)]))  # fmt: skip
    capture = read_pcap(path)
    assert list(capture.stream.frames()) == [A, bytes(14), bytes(1514)]
    assert capture.gaps_ns.tolist() == [0, 100, 100]
    assert (capture.too_short, capture.too_long) == (1, 2)
    assert capture.note == (
        "a.pcap: 3 packets read, 3 distinct, 1 skipped (shorter than 14 bytes), "
        "2 skipped (longer than 1514 bytes)"
    )


def test_frames_that_the_capture_cut_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap([(A, 0), (bytes(20), 1)], snap=30))
    capture = read_pcap(path)
    assert list(capture.stream.frames()) == [A[:30], bytes(20)]
    assert capture.cut == 1
    assert "1 were cut by the capture's snap length" in capture.note


def test_time_that_goes_back_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap([(A, 500), (B, 200)]))
    assert read_pcap(path).gaps_ns.tolist() == [0, -300]


PNG = section() + interface()
UNREADABLE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "it is empty"),
    "text": (b"hello, this is no capture\n", "a pcap or pcapng file, it starts with 68 65 6c 6c"),
    "cut magic": (pcap(RECORDS)[:3], "not a pcap or pcapng file"),
    "cut header": (pcap(RECORDS)[:20], "the file header is cut after 20 bytes"),
    "no packets": (pcap([]), "it has no packets"),
    "no packets, pcapng": (PNG, "it has no packets"),
    "only unusable": (pcap([(SHORT, 0), (LONG, 0)]), "14 to 1514 bytes: 1 are shorter, 1 longer"),
    "raw IP": (pcap(RECORDS, linktype=101), "packet 1 has link type 101, not Ethernet"),
    "Linux cooked": (pcap(RECORDS, linktype=113), "link type 113, not Ethernet"),
    "second interface": (
        PNG + enhanced(A, 0) + interface(linktype=127) + enhanced(A, 1, interface_id=1),
        "packet 2 has link type 127, not Ethernet",
    ),
    "unknown interface": (PNG + enhanced(A, 0, interface_id=4), "only 0 of its 1 packets"),
    "cut packet": (pcap(RECORDS)[:-1], "the file ends inside packet 3"),
    "cut packet header": (pcap([(A, 0)]) + bytes(15), "the file ends inside packet 2"),
    "a length of 4 GB": (pcap([(A, 0)]) + b"\xff" * 16, "the file ends inside packet 2"),
    "cut block": ((PNG + enhanced(A, 0))[:-4], "the file ends inside block 3"),
    "cut block header": (PNG + enhanced(A, 0) + bytes(7), "the file ends inside block 4"),
    "block of 0 bytes": (PNG + bytes(12), "block 3 claims a length of 0 bytes"),
    "odd block": (PNG + struct.pack("<III", 6, 13, 13) + b"x", "block 3 claims a length of 13"),
    "bad byte order": (section()[:8] + b"abcd" + section()[12:], "byte-order magic 61 62 63 64"),
    "no time": (PNG + block(3, struct.pack("<I", len(A)) + A), "simple packet blocks have no time"),
    "cut gzip": (gzip.compress(pcap(RECORDS))[:-9], "the gzip stream is damaged"),
    "false gzip": (b"\x1f\x8bnothing", "gzip"),
    "empty gzip": (gzip.compress(b""), "it is empty"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNREADABLE)
def test_an_unusable_file_is_named_with_the_reason(tmp_path: Path, case: str) -> None:
    data, words = UNREADABLE[case]
    path = tmp_path / "broken.pcap"
    path.write_bytes(data)
    with pytest.raises(TrafficError) as caught:
        read_pcap(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert "tcpdump" in caught.value.cure
    assert caught.value.exit_code == 7


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "cut.pcap"
    whole = {
        "pcap": pcap([(A, 0), (B, 1)]),
        "pcapng": section() + interface() + enhanced(A, 0) + enhanced(B, 1),
    }
    good = {
        "pcap": {len(pcap([(A, 0)]))},
        "pcapng": {len(section() + interface() + enhanced(A, 0))},
    }
    for kind, data in whole.items():
        for length in range(len(data)):
            path.write_bytes(data[:length])
            if length in good[kind]:
                assert list(read_pcap(path).stream.frames()) == [A]
                continue
            with pytest.raises(TrafficError):
                read_pcap(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TrafficError, match=r"nowhere\.pcap: No such file or directory"):
        read_pcap(tmp_path / "nowhere.pcap")
    with pytest.raises(TrafficError, match="Is a directory"):
        read_pcap(tmp_path)


def test_written_captures_are_read_by_scapy_and_back(tmp_path: Path) -> None:
    path = tmp_path / "w.pcap"
    stream = build(Mix(name="w", flows=20, ipv6_share=0.5, break_share=0.01))
    gaps_ns = np.arange(len(stream.sequence), dtype=np.int64) * 7
    write_pcap(path, stream, gaps_ns=gaps_ns)
    capture = read_pcap(path)
    assert list(capture.stream.frames()) == list(stream.frames())
    assert capture.gaps_ns.tolist() == gaps_ns.tolist()
    with PcapReader(str(path)) as reader:
        first = reader.read_packet()
    assert bytes(first) == next(stream.frames())
    assert Ether in first


def test_by_default_packets_are_a_microsecond_apart(tmp_path: Path) -> None:
    write_pcap(tmp_path / "w.pcap", build(Mix(name="w", flows=2)))
    assert set(read_pcap(tmp_path / "w.pcap").gaps_ns[1:].tolist()) == {1000}


def test_what_cannot_be_written(tmp_path: Path) -> None:
    stream = build(Mix(name="w", flows=2))
    with pytest.raises(TrafficError, match=r"no/w\.pcap cannot be written: No such file"):
        write_pcap(tmp_path / "no" / "w.pcap", stream)
    with pytest.raises(TrafficError, match="each of the 65536 positions, got 3"):
        write_pcap(tmp_path / "w.pcap", stream, gaps_ns=np.zeros(3, dtype=np.int64))
