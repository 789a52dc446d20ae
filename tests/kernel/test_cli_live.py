# SPDX-License-Identifier: GPL-2.0-only
"""The commands as an operator uses them: processes in a namespace, real traffic, real pins."""

from __future__ import annotations

import json
import signal
from contextlib import closing
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from iridescent_xdp.builder import Builder
from iridescent_xdp.kernel.features import Feature
from iridescent_xdp.kernel.link import Link
from iridescent_xdp.kernel.netlink import find_interface
from iridescent_xdp.state import PINS, State
from tests.kernel.command_lab import Lab, finish, has_event, traffic, until, verdicts
from traffic.mixes import Mix, build
from traffic.pcap import write_pcap
from traffic.testbed import DUT_SIDE, GENERATOR_SIDE, Testbed, inside

pytestmark = pytest.mark.needs(Feature.LIVE_FRAMES, Feature.XDP_NATIVE)

NETNS = Path("/run/netns")
WIDE = {"vlan_depth": "[0, 1, 2]", "ipv6": "[true, false]", "no_ip_options": "[true, false]"}
SLOTS = 64  # SPEC_SLOTS of bpf/include/iridescent_run.h


@pytest.mark.parametrize("toolchain", ["llvm", "bcc"])
def test_search_status_explain_detach(lab: Lab, toolchain: str) -> None:
    events = lab.folder / "events.jsonl"
    words = ("run", lab.config(toolchain=toolchain), "--events", events)
    process = lab.start(*words, "--plot", lab.folder / "search.png", "--json")
    until((PINS / lab.key / "link").exists, process)
    with traffic(lab) as generator:
        until(lambda: {s for s in ("decision", "kept") if has_event(events, s)}, process)
        sent = generator.stop()
    process.send_signal(signal.SIGTERM)
    code, out, _ = finish(process)
    done = json.loads(out)
    (facts,) = done["interfaces"]
    search = facts["search"]
    assert code == done["exit_code"] == 0
    assert (search["toolchain"], search["space_size"]) == (toolchain, 2)
    assert {row["status"] for row in search["variants"]} <= {"winner", "measured", "refused"}
    assert facts["live"] == search["winner"]
    assert (lab.folder / "search.png").read_bytes().startswith(b"\x89PNG")

    status = lab.status()
    assert status["attached"] and status["phase"] == "left running"
    assert not status["controller"]["alive"]
    assert status["mode"] == facts["mode"] == "native"
    assert status["programs"]["live"]["key"] == facts["live_key"]
    assert status["programs"]["fallback"]["variant"] == "generic"
    assert verdicts(status) == sent, "each packet is counted once, through all swaps"

    row = search["variants"][0]
    told = lab.facts("explain", row["key"])
    assert told["variant"] == row["label"] and told["trials"]
    assert told["build"]["toolchain"] == toolchain
    for which in ("generic", "variant"):
        assert told["build"][which]["instructions"] > 100
        assert told["build"][which]["jited_bytes"] > 0
    assert {p["name"] for p in told["points"]} == {w.split("=")[0] for w in row["label"].split()}

    assert lab.run("detach", DUT_SIDE)[0] == 0
    lab.assert_untouched()
    code, _, err = lab.run("detach", DUT_SIDE)
    assert code == 6 and "nothing of ours is attached to 'dut0'" in err


def test_interrupt_in_the_middle_of_a_search(lab: Lab) -> None:
    events = lab.folder / "events.jsonl"
    with traffic(lab):
        process = lab.start("run", lab.config(seconds=60, points=WIDE), "--events", events)
        until(lambda: has_event(events, "trial"), process)
        process.send_signal(signal.SIGINT)
        code, out, _ = finish(process)
    assert code == 0
    status = lab.status()
    assert status["attached"] and status["phase"] == "left running"
    live = status["programs"]["live"]["variant"]  # generic, or what was surely ahead by then
    assert f"'{live}' stays attached" in out
    assert live == "generic" or has_event(events, "swap")
    assert _filled(lab) <= {0, 1}, "the arms are gone"


def _filled(lab: Lab) -> set[int]:
    template, _ = Builder().helper("root")
    with closing(State.adopt(PINS / lab.key, template)) as state:
        return {n for n in range(SLOTS) if state["slots"].read(n) is not None}


def test_kill_in_a_trial_then_status_then_a_new_run(lab: Lab) -> None:
    config = lab.config(sample_shift=12, seconds=60)  # long trials
    process = lab.start("run", config)
    until((PINS / lab.key / "link").exists, process)
    with traffic(lab) as generator:
        until(lambda: lab.status() and _live(lab) == "dispatcher", process)
        process.kill()
        process.wait()
        status = lab.status()
        assert status["phase"] == "search interrupted: traffic goes through proven arms"
        assert status["attached"] and not status["controller"]["alive"]
        counted = verdicts(status)
        done = lab.facts("run", lab.config(), "--once")
        sent = generator.stop()
    assert done["interfaces"][0]["adopted"]
    assert verdicts(lab.status()) == sent > counted, "counters are kept and nothing is lost"


def _live(lab: Lab) -> str:
    return str(lab.status()["programs"].get("live", {}).get("variant", ""))


def test_foreign_program_is_refused_by_name(lab: Lab) -> None:
    template, insns = Builder().helper("empty")
    with closing(State.create(template)) as state, state.load(insns, "their_program") as theirs:
        with inside(lab.bed.dut):
            link = Link.attach(theirs, find_interface(DUT_SIDE), "native")
        with closing(link):
            code, _, err = lab.run("run", lab.config(), "--once")
            assert code == 6
            assert "'their_program'" in err and "not ours" in err
            assert len(err.strip().splitlines()) == 1
            lab.assert_untouched(theirs.info.prog_id)
            _, out, _ = lab.run("status", DUT_SIDE)
            assert "their_program" in out


def test_unknown_interface(lab: Lab) -> None:
    text = lab.config().read_text().replace(DUT_SIDE, "nowhere0")
    (lab.folder / "site.toml").write_text(text)
    code, _, err = lab.run("run", "site.toml", "--once")
    assert code == 6
    assert "no interface 'nowhere0'" in err and DUT_SIDE in err
    lab.assert_untouched()


def test_mtu_too_large_for_native(tmp_path: Path) -> None:
    with Testbed(mtu=9000) as bed:
        lab = Lab(bed, tmp_path)
        code, _, err = lab.run("run", lab.config(mode="native"), "--once")
        assert code == 6
        assert "MTU of 9000" in err and "mtu 1500" in err
        lab.assert_untouched()


@pytest.mark.parametrize(
    "words", [("run", "site.toml", "--once"), ("status",), ("detach", DUT_SIDE)]
)
def test_missing_capability(lab: Lab, words: tuple[str, ...]) -> None:
    lab.config()
    caps = "-bpf,-net_admin,-sys_admin"
    code, out, err = lab.run(*words, before=("setpriv", f"--bounding-set={caps}"))
    assert code == 5
    assert out == "" and len(err.strip().splitlines()) == 1
    assert "CAP_BPF" in err and "CAP_NET_ADMIN" in err
    lab.assert_untouched()


def test_no_traffic(lab: Lab) -> None:
    code, out, err = lab.run("run", lab.config(), "--once")
    assert code == 0
    assert "no traffic seen for 3 s; generic stays" in err
    assert "'generic' stays attached" in out
    assert lab.status()["programs"]["live"]["variant"] == "generic"


def test_somebody_detaches_while_it_watches(lab: Lab) -> None:
    process = lab.start("run", lab.config())
    until((PINS / lab.key / "link").exists, process)
    with closing(Link.adopt(PINS / lab.key / "link", "native")) as link:
        link.detach()
    code, _, err = finish(process)
    assert code == 6
    assert f"'{DUT_SIDE}' is not attached any more" in err
    status = lab.status()
    assert not status["attached"] and "detached" in status["stale"]


def test_detach_asks_for_force_while_a_controller_lives(lab: Lab) -> None:
    process = lab.start("run", lab.config())
    until(lambda: lab.status() and lab.status()["attached"], process)
    assert lab.status()["controller"] == {"alive": True, "pid": process.pid}
    code, _, err = lab.run("detach", DUT_SIDE)
    assert code == 6 and f"process {process.pid}" in err and "--force" in err
    assert lab.xdp_program()
    assert lab.run("detach", DUT_SIDE, "--force")[0] == 0
    assert finish(process)[0] == 0
    lab.assert_untouched()


def test_detach_with_half_of_the_pins(lab: Lab) -> None:
    assert lab.run("run", lab.config(), "--once")[0] == 0
    (PINS / lab.key / "map_slots").unlink()
    status = lab.status()
    assert status["attached"] and any("map_slots" in line for line in status["problems"])
    assert lab.run("detach", DUT_SIDE)[0] == 0
    lab.assert_untouched()


def test_interface_is_gone(lab: Lab) -> None:
    assert lab.run("run", lab.config(), "--once")[0] == 0
    with inside(lab.bed.dut), IPRoute() as route:
        route.link("del", ifname=DUT_SIDE)
    status = lab.status()
    assert not status["attached"] and "interface is gone" in status["stale"]
    assert lab.run("detach", DUT_SIDE)[0] == 0
    assert not (PINS / lab.key).exists()


def test_template_that_does_not_build(lab: Lab) -> None:
    (lab.folder / "bad.bpf.c").write_text(
        '#include "iridescent.h"\n'
        'SPEC_BOOL(tuning, fast, false, "a point");\n'
        "static __always_inline int bad(struct xdp_md *ctx)\n"
        "{\n\treturn *(char *)(long)ctx->data_end + fast;\n}\nSPEC_PROGRAM(bad)\n"
    )
    path = lab.folder / "site.toml"
    path.write_text(f'[interface.{DUT_SIDE}]\nfunction = "bad.bpf.c"\ntoolchain = "llvm"\n')
    code, _, err = lab.run("run", path, "--once")
    assert code == 3
    assert "verifier refuses" in err and len(err.strip().splitlines()) == 1
    lab.assert_untouched()


def test_replayed_capture_is_counted(lab: Lab) -> None:
    assert lab.run("run", lab.config(), "--once")[0] == 0
    pcap, count = lab.folder / "some.pcap", 99_991  # a prime
    write_pcap(pcap, build(Mix(name="some", flows=64)))
    words = ("--interface", GENERATOR_SIDE, "--pcap", pcap, "--count", count)
    code, out, err = lab.run("traffic", "send", *words, ns=lab.bed.generator)
    assert code == 0, err
    assert "sent 99,991 packets" in out
    assert verdicts(lab.status()) == count


def test_one_interface_fails_the_other_goes_on(lab: Lab) -> None:
    path = lab.config()
    path.write_text(f'[interface.nowhere0]\nfunction = "filter"\n{path.read_text()}')
    code, out, err = lab.run("run", path, "--once", "--json")
    assert code == 6
    assert err.startswith("error: nowhere0: there is no interface 'nowhere0'")
    facts = json.loads(out)
    assert facts["exit_code"] == 6
    assert [(f["interface"], f["live"]) for f in facts["interfaces"]] == [(DUT_SIDE, "generic")]
    assert lab.status()["attached"]
    assert lab.run("status", "nowhere0")[0] == 6
