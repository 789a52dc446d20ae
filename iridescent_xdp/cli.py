# SPDX-License-Identifier: GPL-2.0-only
"""The command line: one group, one file per command, one place where errors become exit codes."""

from __future__ import annotations

import os
import traceback
from importlib import import_module

import click

from iridescent_xdp.commands.output import tell
from iridescent_xdp.errors import IridescentError

# each is the module iridescent_xdp.commands.NAME with a click command called `command`
COMMANDS = (
    *("run", "status", "detach", "inspect", "explain", "report"),
    *("demo", "bench", "doctor", "traffic", "scenario"),
)
INTERRUPTED = 130
EXIT_CODES = """\b
Exit codes:
  0  done
  1  something that is not told apart below
  2  the operator file or the command line is wrong
  3  a template does not compile, or the verifier refuses it
  4  a variant behaves differently from the generic one
  5  a privilege, package or kernel feature is missing
  6  the interface cannot be taken, or somebody else changed it
  7  a packet source cannot be read or sent
  8  a measurement failed
130  interrupted before there was anything to leave

IRIDESCENT_DEBUG=1 shows where an error comes from."""


class Commands(click.Group):
    """Loads a command's module when it is used, and turns errors into lines and exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """In the order in which they are used, not by the alphabet."""
        return list(COMMANDS)

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002
        cmd_name: str,
    ) -> click.Command | None:
        """Import the command's module."""
        if cmd_name not in COMMANDS:
            return None
        command = import_module(f"iridescent_xdp.commands.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> object:
        """Run a command; every error that a user can meet ends here."""
        try:
            return super().invoke(ctx)
        except (IridescentError, OSError) as error:
            if isinstance(error, BrokenPipeError):
                raise
            _debug()
            ctx.exit(tell(error))
        except KeyboardInterrupt:
            _debug()
            click.echo("interrupted", err=True)
            ctx.exit(INTERRUPTED)


def _debug() -> None:
    if os.environ.get("IRIDESCENT_DEBUG") == "1":
        traceback.print_exc()


@click.group(
    cls=Commands,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="iridescent-xdp", prog_name="iridescent")
def cli() -> None:
    """Specializes XDP fast paths while they run, and keeps what measures best."""


def main() -> None:
    """The `iridescent` command."""
    cli(prog_name="iridescent")


if __name__ == "__main__":
    main()
