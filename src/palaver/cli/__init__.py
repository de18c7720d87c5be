"""The command line: ``palaver serve | call | talk | inspect | doctor | asp``.

Exit codes: 0 done · 1 the task failed, was rejected or canceled, a call was not answered, or a
check failed · 2 wrong usage or configuration, such as an agent that cannot be loaded or a store
that cannot be opened · 3 nobody can be reached · 4 the peer refused, or did not answer as its
protocol says · 5 the task waits for input · 130 interrupted.
"""

from __future__ import annotations

import sys

from palaver.cli.exits import Exit

try:
    import typer

    from palaver.cli import asp, call, doctor, inspect, serve, talk
    from palaver.cli.printable import printable
    from palaver.errors import (
        AgentError,
        ConfigError,
        PalaverError,
        PeerError,
        PeerUnreachable,
        StorageError,
    )
except KeyboardInterrupt:  # a second in which somebody may think better of it: no traceback
    raise SystemExit(Exit.INTERRUPTED) from None

__all__ = ["app", "main"]

app = typer.Typer(
    name="palaver",
    help="Serve one agent over several wires, and talk to agents.",
    epilog=(
        "Exit codes: 0 done; 1 the task failed, was rejected or canceled, a call was not answered, "
        "or a check failed; "
        "2 wrong usage or configuration, such as an agent that cannot be loaded or a store that "
        "cannot be opened; 3 nobody can be reached; 4 the peer refused, or did not answer as its "
        "protocol says; 5 the task waits for input; 130 interrupted."
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("serve")(serve.serve)
app.command("call")(call.call)
app.command("talk")(talk.talk)
app.command("inspect")(inspect.inspect)
app.command("doctor")(doctor.doctor)
app.add_typer(asp.app, name="asp")


def main() -> None:
    """Run the command line; an error is one line that says what to do."""
    try:
        app()
    except PalaverError as error:
        sys.stdout.flush()
        sys.stderr.write(f"palaver: {printable(' '.join(str(error).split()))}\n")
        raise SystemExit(_exit_of(error)) from None


def _exit_of(error: PalaverError) -> Exit:
    if isinstance(error, PeerUnreachable):
        return Exit.UNREACHABLE
    if isinstance(error, PeerError):
        return Exit.REFUSED
    if isinstance(error, ConfigError | AgentError | StorageError):
        return Exit.USAGE
    return Exit.FAILED
