# SPDX-License-Identifier: GPL-2.0-only
"""A wheel on a host without clang, bcc and libclang does everything that it does elsewhere."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from iridescent_xdp.builder import Builder
from iridescent_xdp.functions.base import function_for
from iridescent_xdp.kernel.features import Feature
from iridescent_xdp.template import bpf_directory, source_digest
from iridescent_xdp.template_json import from_json
from iridescent_xdp.template_source import parse_template
from iridescent_xdp.toolchain.base import Role
from iridescent_xdp.variant import Variant
from tests.kernel.command_lab import Lab, finish, traffic, until, verdicts
from tests.kernel.production_host import ProductionHost, build_wheel, install
from traffic.testbed import DUT_SIDE

pytestmark = pytest.mark.needs(Feature.LIVE_FRAMES, Feature.XDP_NATIVE, toolchain="llvm")

SHIPPED = sorted(bpf_directory().glob("*.bpf.c"))
NAMES = sorted(path.name.removesuffix(".bpf.c") for path in SHIPPED)
ABSENT = """
import importlib.util, shutil
from pathlib import Path
modules = [name for name in ("clang", "bcc") if importlib.util.find_spec(name)]
names = ("clang", *(f"clang-{n}" for n in range(9, 30)), "cc", "gcc", "llc", "opt")
print(modules, [name for name in names if shutil.which(name)])
"""
OBJECTS = """
import hashlib, json
from iridescent_xdp.builder import Builder
from iridescent_xdp.functions.base import function_for
from iridescent_xdp.template import bpf_directory, read_template
from iridescent_xdp.toolchain.base import Role
from iridescent_xdp.variant import Variant
made = {}
for path in bpf_directory().glob("*.bpf.c"):
    template = read_template(path)
    for role in Role:
        insns = Builder("llvm", cached=False).variant(
            function_for(template), Variant.generic(template.points), role)
        made[f"{template.name} {role}"] = hashlib.sha256(insns).hexdigest()
print(json.dumps(made))
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> ProductionHost:
    wheel = build_wheel(tmp_path_factory.mktemp("wheel"))
    return install(wheel, tmp_path_factory.mktemp("production") / "host")


@pytest.fixture
def edited(host: ProductionHost) -> Iterator[Path]:
    """The installed filter with one constant changed; as it was afterwards."""
    path = host.package / "bpf" / "filter.bpf.c"
    before = path.read_text()
    changed = before.replace("BATCH_64 ? 64 : choice", "BATCH_64 ? 32 : choice")
    assert changed != before
    path.write_text(changed)
    yield path
    path.write_text(before)


def start(host: ProductionHost, lab: Lab, *words: object) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        host.command(*words, namespace=lab.bed.dut),
        cwd=lab.folder,
        env=host.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    lab.started.append(process)
    return process


def facts(host: ProductionHost, lab: Lab, *words: object) -> Any:
    code, out, err = finish(start(host, lab, *words, "--json"))
    assert code == 0, err
    return json.loads(out)


def test_the_host_has_no_compiler(host: ProductionHost) -> None:
    assert host.evaluate(ABSENT).strip() == "[] []"


def test_specialize_preflight_attach_detach(host: ProductionHost, lab: Lab) -> None:
    events = lab.folder / "events.jsonl"
    process = start(host, lab, "run", lab.config(), "--once", "--events", events, "--json")
    until(lambda: events.exists() and '"event": "attached"' in events.read_text(), process)
    with traffic(lab) as generator:
        code, out, err = finish(process)
        assert code == 0, err
        sent = generator.stop()
    (told,) = json.loads(out)["interfaces"]
    search = told["search"]
    assert search["toolchain"] == "llvm"
    assert [row["status"] for row in search["variants"]] in (["winner"], ["measured"])
    assert search["variants"][0]["label"] == "rule_layout=tree", "compiled in, on this host"
    happened = [json.loads(line) for line in events.read_text().splitlines()]
    (built,) = [line for line in happened if line["event"] == "built"]
    assert built["variant"] == "rule_layout=tree"
    assert built["packets"] > 1000 and built["preflight_ms"] > 0
    assert not [line for line in happened if line["event"] == "refused"]

    (status,) = facts(host, lab, "status", DUT_SIDE)["interfaces"]
    assert status["attached"] and status["mode"] == "native" and not status["problems"]
    assert verdicts(status) == sent
    assert finish(start(host, lab, "detach", DUT_SIDE))[0] == 0
    lab.assert_untouched()


def test_the_wheel_carries_every_template_of_this_tree(host: ProductionHost) -> None:
    with ZipFile(host.wheel) as wheel:
        files = {name.removeprefix("iridescent_xdp/") for name in wheel.namelist()}
        for path, name in zip(SHIPPED, NAMES, strict=True):
            assert {f"bpf/{name}.bpf.c", f"prebuilt/{name}.bc"} <= files
            carried = json.loads(wheel.read(f"iridescent_xdp/prebuilt/{name}.json"))
            code = wheel.read(f"iridescent_xdp/prebuilt/{name}.bc")
            assert carried["source"] == source_digest(path)
            assert carried["bitcode"] == hashlib.sha256(code).hexdigest()
            assert str(path.parent).encode() not in code, "where it was built is nobody's business"
            read = from_json(carried["template"], path)
            assert read == parse_template(path)


def test_objects_are_those_that_clang_gives(host: ProductionHost) -> None:
    there = json.loads(host.evaluate(OBJECTS))
    here = {}
    for path in SHIPPED:
        template = parse_template(path)
        for role in Role:
            generic = Variant.generic(template.points)
            insns = Builder("llvm").variant(function_for(template), generic, role)
            here[f"{template.name} {role}"] = hashlib.sha256(insns).hexdigest()
    assert there == here


def test_doctor_tells_what_there_is_and_the_cures(host: ProductionHost) -> None:
    code, out, _ = host.run(host.command("doctor", "--json"))
    checks = {check["name"]: check for check in json.loads(out)["checks"]}
    assert code == 0
    assert checks["a toolchain"]["detail"] == "LLVM from prebuilt templates"
    assert checks["prebuilt templates"]["ok"]
    assert checks["prebuilt templates"]["detail"].startswith(", ".join(NAMES) + " by ")
    cures = {name: checks[name]["cure"] for name in ("clang", "libclang", "bcc compiles")}
    assert cures["clang"] == "apt-get install clang-19"
    assert cures["libclang"].startswith("pip install libclang==")
    assert "python3-bpfcc" in cures["bcc compiles"]


def test_an_edited_template_is_never_run_as_it_was(
    host: ProductionHost, lab: Lab, edited: Path
) -> None:
    code, _, err = finish(start(host, lab, "run", lab.config(), "--once"))
    assert code == 5
    assert f"{edited}, or a header of it, is not as it was when the package was built" in err
    assert "pip install libclang" in err and "install the package again" in err
    lab.assert_untouched()
    _, out, _ = host.run(host.command("doctor", "--json"))
    (check,) = [c for c in json.loads(out)["checks"] if c["name"] == "prebuilt templates"]
    assert (check["ok"], check["required"]) == (False, False)
    assert check["detail"] == "not as they were when the package was built: filter"


def test_a_template_of_ones_own_names_what_it_needs(host: ProductionHost, tmp_path: Path) -> None:
    shutil.copy(SHIPPED[0], tmp_path / "mine.bpf.c")
    code, _, err = host.run(host.command("inspect", tmp_path / "mine.bpf.c"))
    assert code == 5
    assert "the package does not carry mine.bpf.c ready to use" in err
    assert "pip install libclang" in err
