"""`sockrec verify` as a user meets it."""

from __future__ import annotations

from pathlib import Path

from tests.catalog.captures import Part
from tests.support import command


def _capture(root: Path) -> Path:
    for number in range(2):
        part = Part(root, 10 * number, 10 * number + 9, part=number)
        part.socket(1, 10 * number, 10 * number + 9, "carried" if number else "found", "carried")
        part.write()
    return part.path("samples")


def _harm(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[100] ^= 0xFF
    path.write_bytes(content)


def test_a_whole_capture_is_a_line(tmp_path: Path) -> None:
    _capture(tmp_path)
    done = command.sockrec("verify", "-C", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = done.stdout.splitlines()
    assert line.endswith(": whole")


def test_damage_is_a_line_each_and_status_3(tmp_path: Path) -> None:
    path = _capture(tmp_path)
    _harm(path)
    done = command.sockrec("verify", "-C", tmp_path)
    assert (done.returncode, done.stderr) == (3, "")
    first, last = done.stdout.splitlines()
    assert first.startswith(
        f"{path.relative_to(tmp_path)} at byte 0: fails its checksum; lost: all 10 rows of samples"
    )
    assert last.endswith(": 1 damage; --repair keeps what can be read")
    done = command.sockrec("verify", "-C", tmp_path, "--repair")
    assert (done.returncode, done.stderr) == (0, "")
    assert "repaired: samples/" in done.stdout
    assert done.stdout.splitlines()[-1].endswith(": whole, after 1 damage repaired")
    assert command.sockrec("verify", "-C", tmp_path).returncode == 0


def test_as_json(tmp_path: Path) -> None:
    path = _capture(tmp_path)
    _harm(path)
    done = command.sockrec("verify", "-C", tmp_path, "--format", "json")
    assert done.returncode == 3
    assert command.sockrec("verify", "-C", tmp_path, "--repair").returncode == 0
    told = command.answer("verify", "-C", tmp_path)
    assert (told["whole"], told["damages"], told["repaired"]) == (True, [], [])
    assert [one["file"] for one in told["known_losses"]] == [str(path.relative_to(tmp_path))]
    assert [one["file"] for one in told["remarks"]] == [
        str(path.relative_to(tmp_path).with_suffix(".damaged"))
    ]


def test_what_cannot_be_verified(tmp_path: Path) -> None:
    _capture(tmp_path / "capture")
    for words, status in (
        (("-C", tmp_path / "none"), 3),
        (("-C", tmp_path), 3),
        (("-C", tmp_path / "capture", "--format", "csv"), 2),
        (("-C", tmp_path / "capture", "extra"), 2),
    ):
        done = command.sockrec("verify", *words)
        assert done.returncode == status, words
        assert done.stdout == ""
        assert len(done.stderr.splitlines()) == 1


def test_hostile_names_do_not_reach_the_terminal(tmp_path: Path) -> None:
    path = _capture(tmp_path)
    path.with_name("\x1b[2J.parquet").write_bytes(b"garbage")
    done = command.sockrec("verify", "-C", tmp_path)
    assert done.returncode == 3
    assert "\x1b" not in done.stdout
