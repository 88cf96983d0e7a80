"""The `tlx` program: gathers the stages' commands, and ends each fault in one line and an exit code."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tlx.runtime.errors import TlxError

if TYPE_CHECKING:
    import typer

__all__ = ["build_app", "main"]

COMMANDS = "tlx.commands"
MOST_TOLD = 1000  # characters of an error
_came: list[int] = []
"""SIGTERM, where it came."""
ORDER = ("train", "export", "runtime")  # of the groups in --help; others follow by name


def main() -> None:
    """Runs the command line. Exit codes: 0 done, 1 the work failed, 2 wrong usage, 130 interrupted, 143 terminated."""
    warnings.formatwarning = _format_warning
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by who started this
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    with suppress(ValueError, OSError):
        signal.signal(signal.SIGTERM, _terminated)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a pipe on Windows, a C locale: answers hold every character
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # before anything was begun
        code = _stopped()
    sys.exit(code)


def _terminated(number: int, frame: Any) -> None:
    """SIGTERM came: what is half done is cleared away as after Ctrl-C."""
    _came.append(number)
    raise KeyboardInterrupt


def run(arguments: list[str]) -> int:
    """The exit code of `tlx` with these arguments; faults were told on stderr, in one line each."""
    import typer

    app, missing = build_app()
    command = typer.main.get_command(app)
    command_line_fault: Any = typer.BadParameter.__mro__[2]  # ClickException, of click or of typer's copy of it
    try:
        code = command.main(args=arguments or ["--help"], prog_name="tlx", standalone_mode=False)
        sys.stdout.flush()
    except TlxError as error:
        return _fail(str(error), error.exit_code)
    except command_line_fault as error:
        return _fail(_usage_message(error, missing), error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return _stopped()
    except (BrokenPipeError, SystemExit) as error:
        # The reader has enough (as in `tlx predict … | head`); typer makes a quiet SystemExit of it.
        if isinstance(error, SystemExit) and not isinstance(error.__context__, BrokenPipeError):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nothing more can be written, at exit either
        return 0
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "tlx":
            raise
        return _fail(f"this command needs {error.name}, which is not installed: pip install 'tlx[train,export,cpu]'", 1)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            where = f" ({error.filename})" if error.filename else ""
            return _fail(f"the disk is full{where}: free some space and run the command again", 1)
        if error.filename is None or error.strerror is None:
            raise
        return _fail(f"{error.filename} cannot be used: {error.strerror}; give another, or mend that", 1)
    if code == 130:  # typer's, for a KeyboardInterrupt
        return _stopped()
    return code if isinstance(code, int) else 0


def _stopped() -> int:
    """The exit code for the signal that came."""
    return _fail("terminated", 143) if _came else _fail("interrupted", 130)


def build_app() -> tuple[typer.Typer, list[str]]:
    """The app with each stage's commands, and why a stage has none: its import failed for want of a package."""
    from importlib.metadata import entry_points

    import typer

    app = typer.Typer(
        name="tlx",
        help="Labelled text in, a small, fast, verified ONNX model in your app out.",
        epilog="`tlx COMMAND --help` shows a command's options and an example.",
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )

    @app.callback()
    def _options(
        version: bool = typer.Option(False, "--version", help="Print the version.", callback=_version, is_eager=True),
    ) -> None:
        pass

    missing: list[str] = []
    found = {point.name: point for point in entry_points(group=COMMANDS)}
    for name in sorted(found, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name)):
        try:
            register: Callable[[typer.Typer], None] = found[name].load()
        except ImportError as error:
            missing.append(f"the commands of {name} ({error})")
            continue
        register(app)
    return app, missing


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        import typer

        typer.echo(f"tlx {version('tlx')}")
        raise typer.Exit


def _usage_message(error: Any, missing: list[str]) -> str:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "tlx"
    message = " ".join(error.format_message().split()).rstrip(".")
    if missing and "No such command" in message:
        message += f"; not loaded: {'; '.join(missing)}"
    return f"{message} (see `{path} --help`)"


def _format_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    return f"tlx: warning: {message}\n"


def _fail(message: str, code: int) -> int:
    if len(message) > MOST_TOLD:  # what was found may be a whole column
        message = f"{message[: MOST_TOLD // 2]} … {message[-MOST_TOLD // 2 :]}"
    print(f"tlx: error: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
