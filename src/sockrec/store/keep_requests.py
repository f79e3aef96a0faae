"""Asking a recorder to keep what it has: one small file for each wish, its answer, and what is left to do.

`journal/host=H/keep/<id>.json` is written by who asks, taken up by the recorder, and removed when all is
done. So a wish outlives the recorder that took it up. The folder is the owner's, and only what the owner or
root put there counts.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import stat
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sockrec.errors import CaptureError, UsageError
from sockrec.store import files

if TYPE_CHECKING:
    from sockrec.store.layout import Layout

FOLDER: Final = "keep"
LONGEST_REASON: Final = 4096
GOING: Final = "going"
FAILED: Final = "failed"
_NAME: Final = re.compile(r"[0-9a-f]{16}\.json")
_LARGEST: Final = 64 << 10
_OPEN: Final = (
    os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
)


@dataclass(slots=True)
class Wish:
    """What is to be kept: all that is there, and what follows for `for_us` (None: as the recorder has it).

    `by` tells who asked: `pid`, `uid`, `program`, or `signal`. `state` is empty until the recorder has kept
    what was there; then `going`, with `until_us` (UTC) when it ends, or `failed`, with the `error`.
    """

    reason: str
    output: str
    asked_us: int
    for_us: int | None = None
    by: dict[str, Any] = field(default_factory=dict)
    state: str = ""
    error: str | None = None
    until_us: int | None = None


def ask(capture: Layout, host: str, wish: Wish) -> Path:
    """Put a wish where the recorder finds it, and return its file; raises `CaptureError`."""
    folder = capture.journals(host) / FOLDER
    files.make_folder(folder)
    path = folder / f"{secrets.token_hex(8)}.json"
    write(path, wish)
    for made in (folder, path):
        _give(made, capture.journals(host))
    return path


def write(path: Path, wish: Wish) -> None:
    """Write a wish as it stands now; raises `CaptureError`."""
    files.write_atomically(path, json.dumps(asdict(wish)).encode() + b"\n")


def read(path: Path) -> Wish:
    """Read a wish; raises `FileNotFoundError`, and `CaptureError` for what nobody may ask, or is none."""
    try:
        fd = os.open(path, _OPEN)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise CaptureError(f"cannot read {path}: {error.strerror}") from None
    try:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > _LARGEST:
            raise CaptureError(f"{path} is no wish of sockrec keep: remove it")
        if facts.st_uid not in (0, os.geteuid()) or facts.st_mode & 0o077:
            raise CaptureError(f"{path} is not the owner's alone: not done; remove it")
        content = os.read(fd, _LARGEST)
    except OSError as error:
        raise CaptureError(f"cannot read {path}: {error.strerror}") from None
    finally:
        os.close(fd)
    try:
        return _checked(Wish(**json.loads(content)))
    except (ValueError, TypeError, RecursionError):
        raise CaptureError(f"{path} is no wish of sockrec keep: remove it") from None


def _checked(wish: Wish) -> Wish:
    numbers = (wish.asked_us, wish.for_us or 0, wish.until_us or 0)
    texts = (wish.reason, wish.output, wish.state, wish.error or "")
    if not all(type(number) is int and 0 <= number < 1 << 62 for number in numbers):
        raise ValueError("a time that is none")
    if not all(isinstance(text, str) for text in texts) or not isinstance(wish.by, dict):
        raise ValueError("a text that is none")
    if not Path(wish.output).is_absolute() or "\0" in wish.output or len(wish.reason) > LONGEST_REASON:
        raise ValueError("no folder, or no reason")
    return wish


def waiting(capture: Layout, host: str) -> list[Path]:
    """Return the files of all wishes of a host, in no order; none if they can't be listed."""
    folder = capture.journals(host) / FOLDER
    try:
        names = os.listdir(folder)  # noqa: PTH208 - ten times a second, mostly of nothing
    except OSError:
        return []  # not there, mostly; a folder that nobody can read has no wishes of its owner's
    return [folder / name for name in sorted(names) if _NAME.fullmatch(name)]


def make_output(capture: Path, output: Path | None, now_us: int) -> Path:
    """Make the folder to keep something in: `output`, else one next to `capture`; return its absolute path.

    Raises `UsageError` if it holds something already, or lies in the capture, and `CaptureError` if it can't
    be made.
    """
    capture = Path(os.path.abspath(capture))  # noqa: PTH100 - as it was named, links and all
    if output is not None:
        output = Path(os.path.abspath(output))  # noqa: PTH100
        if output.resolve().is_relative_to(capture.resolve()):
            raise UsageError(f"{output} lies in the capture itself: give another folder with -o")
        files.make_folder(output)
        try:
            if any(output.iterdir()):
                raise UsageError(f"{output} holds something already: give another folder with -o")
        except OSError as error:
            raise files.unwritable(output, error) from None
        _give(output, capture)
        return output
    name = f"{capture.name}-kept-{datetime.fromtimestamp(now_us // 1_000_000, UTC):%Y%m%dT%H%M%SZ}"
    for number in range(1, 100):
        folder = capture.parent / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(files.FOLDER_MODE)
        except FileExistsError:
            continue
        except OSError as error:
            why = error.strerror or error
            raise CaptureError(f"cannot make {folder}: {why}; name another place with -o") from None
        folder.chmod(files.FOLDER_MODE)
        _give(folder, capture)
        return folder
    raise CaptureError(f"{capture.parent} has a hundred captures kept in this second: use -o")


def _give(made: Path, like: Path) -> None:
    """Let root's new file or folder be the owner's whose recorder shall use it; raises `CaptureError`."""
    try:
        owner = like.stat()
        if os.geteuid() == 0 and owner.st_uid != made.lstat().st_uid:
            os.chown(made, owner.st_uid, owner.st_gid, follow_symlinks=False)
    except OSError as error:
        raise files.unwritable(made, error) from None
