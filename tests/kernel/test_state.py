# SPDX-License-Identifier: GPL-2.0-only
"""State outlives code: maps are created, pinned, adopted; a wrong shape is refused."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from iridescent_xdp.errors import StateError, VerifierError
from iridescent_xdp.kernel import bpf
from iridescent_xdp.kernel.program import Program, summary
from iridescent_xdp.state import PINS, State, ensure_bpffs
from iridescent_xdp.switchboard import helper_templates, remove_pins
from iridescent_xdp.template import bpf_directory, find_template, read_template
from tests.kernel.fixtures import TABLES, filter_function

FILTER = read_template(find_template("filter"))
RULE_MAPS = frozenset({"rules4", "rules6"})


@pytest.fixture
def pins() -> Iterator[Path]:
    ensure_bpffs()
    directory = PINS / f"test-{secrets.token_hex(4)}"
    directory.mkdir(parents=True)
    yield directory
    remove_pins(directory)
    assert not directory.exists()


def map_ids(state: State) -> dict[str, int]:
    return {name: bpf.map_info(held.fd).map_id for name, held in state.maps.items()}


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_maps_are_as_declared() -> None:
    with closing(State.create(FILTER, *helper_templates())) as state:
        wanted = {spec.name: spec for t in (FILTER, *helper_templates()) for spec in t.maps}
        assert set(state.maps) == set(wanted)
        for name, held in state.maps.items():
            info, spec = bpf.map_info(held.fd), wanted[name]
            told = (info.map_type, info.key_bytes, info.value_bytes, info.entries)
            assert told == (spec.map_type, spec.key_bytes, spec.value_bytes, spec.entries), name


def test_contents_survive_their_process(pins: Path) -> None:
    first = State.create(FILTER)
    first.pin(pins)
    first["counters"].write(0, b"\x07" * FILTER.map("counters").value_bytes)
    ids = map_ids(first)
    first.close()
    with closing(State.adopt(pins, FILTER)) as second:
        assert map_ids(second) == ids
        value = second["counters"].read()
        assert value is not None and value.tobytes() == b"\x07" * value.nbytes


def test_fresh_tables_leave_the_pinned_ones_alone(pins: Path) -> None:
    """New code is loaded onto new tables; what runs keeps the old ones until it is replaced."""
    with closing(State.create(FILTER)) as old:
        filter_function().fill(old)
        old.pin(pins)
        before = old["rules4"].read()
        with closing(State.adopt(pins, FILTER, fresh=RULE_MAPS)) as new:
            changed = {n for n, number in map_ids(new).items() if number != map_ids(old)[n]}
            assert changed == RULE_MAPS
            empty, kept = new["rules4"].read(), old["rules4"].read()
            assert empty is not None and not any(empty.tobytes())
            assert before is not None and kept is not None and np.array_equal(before, kept)
            new.pin(pins, RULE_MAPS)
            with closing(State.adopt(pins, FILTER)) as third:
                assert map_ids(third) == map_ids(new)


def test_another_shape_is_refused(pins: Path) -> None:
    before = open_descriptors()
    with closing(State.create(FILTER)) as state:
        state.pin(pins)
    (pins / "map_counters").unlink()
    fd = bpf.map_create(6, 4, 24, 1, name="counters")
    bpf.obj_pin(fd, pins / "map_counters")
    os.close(fd)
    with pytest.raises(StateError, match="iridescent detach") as caught:
        State.adopt(pins, FILTER)
    assert "map_counters has (type, key, value, entries) (6, 4, 24, 1)" in str(caught.value)
    assert open_descriptors() == before, "descriptors are left open"


def test_a_missing_pin_is_an_error(pins: Path) -> None:
    with closing(State.create(FILTER)) as state:
        state.pin(pins)
    (pins / "map_rules6").unlink()
    with pytest.raises(OSError, match="map_rules6"):
        State.adopt(pins, FILTER)


def test_per_cpu_values_have_a_row_for_each_cpu() -> None:
    cpus = bpf.possible_cpus()
    with closing(State.create(FILTER)) as state:
        counters = state["counters"]
        rows = np.zeros(cpus, dtype=FILTER.structs["filter_counters"])
        rows["pending_packets"] = np.arange(1, cpus + 1)
        counters.write(0, rows)
        read = counters.read()
        assert read is not None and read["pending_packets"].tolist() == list(range(1, cpus + 1))
        counters.zero()
        read = counters.read()
        assert read is not None and not any(read.tobytes())


def test_a_hash_is_listed_filled_and_emptied() -> None:
    with closing(State.create(FILTER)) as state:
        filter_function().fill(state)
        allow, deny = state["allow4"], state["deny6"]
        assert allow.contents() == {prefix(32, "c6336401"): b"\x01"}  # 198.51.100.1
        assert deny.contents() == {prefix(64, "20010db8000d" + "00" * 10): b"\x01"}
        assert allow.delete(prefix(32, "c6336401")) and not allow.delete(prefix(32, "c6336401"))
        deny.clear()
        assert deny.keys() == [] == allow.keys()


def prefix(length: int, address: str) -> bytes:
    return length.to_bytes(4, "little") + bytes.fromhex(address)


def test_rules_are_written_for_each_family() -> None:
    with closing(State.create(FILTER)) as state:
        filter_function().fill(state)
        four, six = state["rules4"].read(), state["rules6"].read()
        assert four is not None and six is not None
        families = [rule.family for rule in TABLES.rules]
        for value, family in ((four[0], 4), (six[0], 6)):
            table = value["lists"][int(value["turn"])]
            wanted = [place for place, is_for in enumerate(families) if is_for in (None, family)]
            assert int(table["count"]) == len(wanted)
            assert table["rules"]["rest"]["id"][: len(wanted)].tolist() == wanted


def test_a_failed_creation_leaves_no_descriptor(tmp_path: Path) -> None:
    text = (bpf_directory() / "empty.bpf.c").read_text()
    text += 'MAP_ARRAY(none, __u32, 0, "no entries");\n'
    (tmp_path / "none.bpf.c").write_text(text)
    template = read_template(tmp_path / "none.bpf.c")
    before = open_descriptors()
    with pytest.raises(OSError, match="creating map 'none'"):
        State.create(template)
    assert open_descriptors() == before


def test_the_verifiers_reason_is_one_line_and_its_log_is_kept() -> None:
    exit_without_result = bytes.fromhex("9500000000000000")
    with pytest.raises(VerifierError) as caught:
        Program.load(exit_without_result, "bad")
    assert str(caught.value) == "the verifier refuses 'bad': R0 !read_ok"
    assert "processed" in caught.value.log and len(caught.value.log.splitlines()) > 2
    assert summary(caught.value.log) == "R0 !read_ok"


def test_closing_twice_is_no_error() -> None:
    state = State.create(FILTER)
    state.close()
    state.close()
    assert all(held.fd == -1 for held in state.maps.values())
