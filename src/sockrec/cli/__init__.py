"""The command line: one module a verb. The only place where reading and presenting meet."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Final

from sockrec.errors import SockrecError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import typer

INTERRUPTED: Final = 130
VERBS: Final = (
    "record",
    "keep",
    "diagnose",
    "when",
    "port",
    "lifecycle",
    "diff",
    "baseline",
    "events",
    "rates",
    "traffic",
    "top",
    "replay",
    "report",
    "view",
    "sql",
    "info",
    "verify",
    "demo",
    "service",
)
"""Each a module of its name beside this one, in the order of the help."""


def make_app(words: Sequence[str] = ()) -> typer.Typer:
    """Return the command with all its verbs, or the one that `words` begin with.

    To build all takes a fifth of a short command. A verb's module imports what it needs when it runs.
    """
    import typer

    from sockrec.version import __version__

    app = typer.Typer(
        name="sockrec",
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    def show_version(asked: bool) -> None:
        if asked:
            typer.echo(f"sockrec {__version__}")
            raise typer.Exit

    @app.callback()
    def sockrec(
        version: bool = typer.Option(
            False, "--version", callback=show_version, is_eager=True, help="Show the version and exit."
        ),
    ) -> None:
        """A flight recorder for sockets: what was open then, when did it change, who did it."""

    for verb in words[:1] if words and words[0] in VERBS else VERBS:
        importlib.import_module(f"sockrec.cli.{verb}").register(app)
    return app


def main() -> None:
    """Run the command line: print an error once, as one line, and end with its exit status."""
    try:
        words = sys.argv[1:] or ["--help"]
        status = make_app(words)(words, standalone_mode=False)
    except SockrecError as error:
        status = _complain(str(error), error.exit_status)
    except KeyboardInterrupt:
        status = INTERRUPTED
    except BrokenPipeError:
        # The reader had enough. Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except RuntimeError as error:
        # What DuckDB makes of Ctrl-C while a statement runs.
        if str(error) != "Query interrupted":
            raise
        status = INTERRUPTED
    except Exception as error:
        # Usage errors of Typer's own: they know their text and their exit status.
        text = getattr(error, "format_message", None)
        if text is None:
            raise
        status = _complain(text(), int(getattr(error, "exit_code", 2)))
    sys.exit(status if isinstance(status, int) else 0)


def _complain(message: str, status: int) -> int:
    from sockrec.render.escape import terminal

    print(f"sockrec: {terminal(' '.join(message.split()))}", file=sys.stderr)  # noqa: T201 - the one place
    return status
