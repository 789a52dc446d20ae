# SPDX-License-Identifier: GPL-2.0-only
"""Guests with stock Debian kernels: ``python -m vagrant.vm build|run|smoke|test|matrix``."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Any

import click

from iridescent_xdp.commands.output import tell
from iridescent_xdp.errors import IridescentError
from vagrant.vm import matrix as features
from vagrant.vm.host import cache_folder, require_root
from vagrant.vm.image import ensure_image
from vagrant.vm.kernels import DEFAULT, KERNELS, kernel_named
from vagrant.vm.qemu import ACCELERATORS
from vagrant.vm.session import PYTEST, SMOKE, Settings, boot, tally

TEST_S, SMOKE_S, MATRIX_S = 1500.0, 300.0, 300.0
INTERRUPTED = 130


def machine_options(timeout_s: float) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Options of every command that boots a guest; they arrive as one ``settings``."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        def command(**given: Any) -> None:
            fields = ("cpus", "memory_mib", "accel", "timeout_s", "rebuild")
            settings = Settings(**{field: given.pop(field) for field in fields})
            function(settings=settings, **given)

        command.__doc__ = function.__doc__
        command.__name__ = function.__name__
        accels = click.Choice(["auto", *ACCELERATORS])
        for option in (
            click.option("--rebuild", is_flag=True, help="Build the image anew."),
            click.option("--timeout", "timeout_s", default=timeout_s, help="Seconds, per boot."),
            click.option("--accel", type=accels, default="auto", help="auto: KVM if it works."),
            click.option("--memory", "memory_mib", default=2048, help="MiB of the guest."),
            click.option("--cpus", default=2, help="CPUs of the guest."),
        ):
            command = option(command)
        return command

    return decorate


kernel_option = click.option(
    "--kernel", "names", multiple=True, help=f"{', '.join(KERNELS)}, or SUITE:PACKAGE; repeatable."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
def cli() -> None:
    """Stock Debian kernels in QEMU; docs/vm.md tells all about it."""


@cli.command()
@kernel_option
@click.option("--rebuild", is_flag=True, help="Build the image anew.")
def build(names: tuple[str, ...], rebuild: bool) -> None:
    """Build images that are not there."""
    require_root()
    for kernel in [kernel_named(name) for name in names or (DEFAULT,)]:
        image = ensure_image(kernel, cache_folder(), rebuild)
        click.echo(f"{kernel.name}: Linux {image.release} in {image.disk.parent}")


@cli.command()
@kernel_option
@click.argument("words", nargs=-1, required=True, metavar="COMMAND...")
@machine_options(TEST_S)
def run(settings: Settings, names: tuple[str, ...], words: tuple[str, ...]) -> None:
    """Run a shell command in a guest."""
    _each(names, " ".join(words), "run", settings)


@cli.command()
@kernel_option
@machine_options(SMOKE_S)
def smoke(settings: Settings, names: tuple[str, ...]) -> None:
    """One function, attached natively to virtio-net."""
    _each(names, SMOKE, "smoke", settings)


@cli.command()
@kernel_option
@click.option("--select", default="", help="An expression for pytest's -k.")
@machine_options(TEST_S)
def test(settings: Settings, names: tuple[str, ...], select: str) -> None:
    """Run the whole suite, tests/vm."""
    chosen = f" -k '{select}'" if select else ""
    _each(names, PYTEST + chosen, "test", settings)


@cli.command()
@kernel_option
@machine_options(MATRIX_S)
def matrix(settings: Settings, names: tuple[str, ...]) -> None:
    """Print which kernel has which feature, as markdown."""
    columns, code = [], 0
    for kernel in [kernel_named(name) for name in names or KERNELS]:
        try:
            outcome = boot(kernel, features.COMMAND, "matrix", settings)
            code = code or outcome.exit_code
            columns.append(features.read_column(kernel.name, outcome.results))
        except IridescentError as error:  # the other kernels still have something to say
            code = code or tell(error, kernel.name)
    if columns:
        click.echo(features.markdown(columns))
    sys.exit(code)


def _each(names: tuple[str, ...], command: str, what: str, settings: Settings) -> None:
    """One guest after the other; ends with the first exit code that is not 0."""
    codes = []
    for kernel in [kernel_named(name) for name in names or (DEFAULT,)]:
        outcome = boot(kernel, command, what, settings)
        if what != "run":
            click.echo(f"Linux {kernel.name}: {tally(outcome.results)}")
        codes.append(outcome.exit_code)
    sys.exit(next((code for code in codes if code), 0))


def _terminate(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


def main() -> None:
    """Run a command; every error that a user can meet ends here, as one line."""
    signal.signal(signal.SIGTERM, _terminate)
    signal.signal(signal.SIGHUP, _terminate)
    try:
        cli(prog_name="python -m vagrant.vm", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted; nothing is left running", err=True)
        sys.exit(INTERRUPTED)
    except (IridescentError, OSError) as error:
        if os.environ.get("IRIDESCENT_DEBUG") == "1":
            traceback.print_exc()
        sys.exit(tell(error))


if __name__ == "__main__":
    main()
