"""`sockrec service`: a unit that systemd takes without a word, with little power, installed without harm."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sockrec.render.unit import exec_start, unit
from tests.support.command import CLEAN, SOCKREC, sockrec

# systemd-analyze security, of 10: what is left is what recording takes (root, ptrace, the host's network).
EXPOSURE = 2.4


def printed(*words: str) -> str:
    done = sockrec("service", *words)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def settings(text: str) -> dict[str, list[str]]:
    """Return what a unit sets, by name."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line and line[0] not in "#[":
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def verified(folder: Path, text: str) -> str:
    """Return what systemd has to say of a unit."""
    path = folder / "sockrec.service"
    path.write_text(text)
    done = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True, timeout=60)
    return f"{done.stdout}{done.stderr}{done.returncode or ''}"


def test_systemd_has_nothing_to_say_of_it(tmp_path: Path) -> None:
    text = printed()
    assert verified(tmp_path, text) == ""
    assert verified(tmp_path, text.replace("StateDirectory=", "StateDirectry=")), "it would say so"
    security = ("systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE * 10:.0f}")
    done = subprocess.run(
        [*security, tmp_path / "sockrec.service"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout
    found = settings(text)
    capabilities = "CAP_DAC_READ_SEARCH CAP_NET_ADMIN CAP_SYS_PTRACE"
    assert found["CapabilityBoundingSet"] == [capabilities]
    assert (found["Type"], found["NotifyAccess"]) == (["notify"], ["main"])
    assert (found["StateDirectory"], found["StateDirectoryMode"]) == (["sockrec"], ["0700"])


def test_it_starts_this_recorder_within_bounds() -> None:
    (command,) = settings(printed())["ExecStart"]
    bounds = "--max-size 2GiB --max-age 7d --thin-after 24h"
    where = "--capture /var/lib/sockrec/service"
    assert command == f":{SOCKREC} record {where} --interval 1s {bounds}"
    (command,) = settings(
        printed("--interval", "5s", "--max-size", "off", "--max-age", "30d", "--thin-after", "off")
    )["ExecStart"]
    assert command == f":{SOCKREC} record {where} --interval 5s --max-age 30d"


def test_further_options_are_record_s_own() -> None:
    found = settings(printed("--interval", "2s", "--", "--no-events", "--max-memory", "2GiB"))
    assert found["ExecStart"][0].endswith(" --no-events --max-memory 2GiB")
    assert found["MemoryMax"] == ["2560M"], "room beside what it keeps to by itself"
    assert "MemoryMax" not in settings(printed("--", "--max-memory", "off"))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--interval", "10ms"), "10 ms is too short"),
        (("--max-size", "plenty"), "plenty"),
        (("--max-age", "soon"), "soon"),
        (("--thin-after", "never"), "never"),
        (("--", "--max-cpu", "lots"), "lots"),
        (("--", "--no-such-option"), "--no-such-option"),
        (("--", "nginx", "-g"), "COMMAND"),
        (("--", "--for", "10m"), "--for"),
        (("--", "-C", "/data"), "/var/lib/sockrec"),
        (("--root", "/"), "--install"),
        (("--force",), "--install"),
    ],
)
def test_what_record_would_refuse_is_refused(words: tuple[str, ...], says: str) -> None:
    done = sockrec("service", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"sockrec: [^\n]+\n", done.stderr)
    assert says in done.stderr


NAMES = ("plain", "two words", "100% sure %h", "$HOME ${PATH} $$", "grüße", "a;b", "-x")
# systemd takes these for no program, however they are written.
UNFIT = ('a "quoted" one', "it's", "back\\slash", "tab\there")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Give a folder that a service would see, unlike those below /tmp."""
    with tempfile.TemporaryDirectory(dir="/opt") as name:
        yield Path(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_path_of_any_kind_is_quoted_as_systemd_reads_it(folder: Path, tmp_path: Path, name: str) -> None:
    """systemd-analyze complains of a program that is not there."""
    program = folder / name / "sockrec"
    program.parent.mkdir()
    program.symlink_to(SOCKREC)
    done = subprocess.run([program, "service"], capture_output=True, text=True, env=CLEAN, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert verified(tmp_path, done.stdout) == ""
    program.unlink()
    assert "not executable" in verified(tmp_path, done.stdout)


@pytest.mark.parametrize("name", UNFIT)
def test_a_path_that_systemd_does_not_take_is_refused(folder: Path, name: str) -> None:
    program = folder / name / "sockrec"
    program.parent.mkdir()
    program.symlink_to(SOCKREC)
    done = subprocess.run([program, "service"], capture_output=True, text=True, env=CLEAN, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"sockrec: [^\n]*link[^\n]*\n", done.stderr)


def test_words_reach_the_program_as_they_were() -> None:
    """Read back as systemd.syntax(7) has it: quotes as in C, and `%%` for `%`."""
    words = ["/bin/x", *NAMES, *UNFIT, "", "\n", "\x1b[31m", "a\udcffb", ";"]
    line = exec_start(words)
    assert "\n" not in line
    assert line.startswith(":/bin/x ")
    found = shlex.split(line[1:].replace("\\x", "\\\\x").replace("%%", "%"), posix=True)
    read = [
        re.sub(r"((?:\\x..)+)", lambda m: os.fsdecode(bytes.fromhex(m[1].replace("\\x", ""))), w)
        for w in found
    ]
    assert read == words


def test_a_program_in_a_home_folder_can_be_read_there() -> None:
    homes = {"command": ["/usr/bin/sockrec"], "capabilities": ["cap_kill"], "memory_bytes": None}
    assert settings(unit(**homes))["ProtectHome"] == ["yes"]  # type: ignore[arg-type]
    assert settings(unit(**homes, reads_home=True))["ProtectHome"] == ["read-only"]  # type: ignore[arg-type]


def test_it_is_installed_whole_and_replaces_nothing_unasked(tmp_path: Path) -> None:
    path = tmp_path / "etc/systemd/system/sockrec.service"
    install = ("service", "--install", "--root", str(tmp_path))
    done = sockrec(*install)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"sockrec: {path} is written; next: systemctl --root={tmp_path} enable sockrec\n"
    assert path.read_text() == printed()
    assert path.stat().st_mode & 0o777 == 0o644
    assert [entry.name for entry in path.parent.iterdir()] == ["sockrec.service"]
    inode = path.stat().st_ino
    again = sockrec(*install)
    assert (again.returncode, path.stat().st_ino) == (0, inode)
    assert "as it was" in again.stderr
    path.write_text("# mine\n")
    refused = sockrec(*install)
    assert (refused.returncode, path.read_text()) == (2, "# mine\n")
    assert re.fullmatch(r"sockrec: [^\n]*--force\n", refused.stderr)
    assert sockrec(*install, "--force").returncode == 0
    assert path.read_text() == printed()
    path.unlink()
    path.symlink_to("/dev/null")  # as `systemctl mask` does
    assert sockrec(*install).returncode == 2
    assert path.is_symlink()
    assert sockrec(*install, "--force").returncode == 0
    assert (path.is_symlink(), path.read_text()) == (False, printed())
    enabled = subprocess.run(
        ["systemctl", f"--root={tmp_path}", "enable", "sockrec"], capture_output=True, text=True, timeout=60
    )
    assert enabled.returncode == 0, enabled.stderr
    assert (tmp_path / "etc/systemd/system/multi-user.target.wants/sockrec.service").is_symlink()


SYSTEMCTL = """#!/bin/sh
echo "$*" >> {said}
exit {status}
"""


@pytest.mark.parametrize(("booted", "status"), [(True, 0), (True, 1), (False, 0)])
def test_a_running_systemd_reads_it_at_once(tmp_path: Path, booted: bool, status: int) -> None:
    """In a mount namespace with a /run of its own, and a systemctl that writes down what it is told."""
    said = tmp_path / "said"
    (tmp_path / "systemctl").write_text(SYSTEMCTL.format(said=said, status=status))
    (tmp_path / "systemctl").chmod(0o755)
    script = "mount -t tmpfs none /etc/systemd/system; mount -t tmpfs none /run; "
    script += f'{"mkdir -p /run/systemd/system; " if booted else ""}"$0" service --install && '
    script += "test -s /etc/systemd/system/sockrec.service"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, SOCKREC],
        env=CLEAN | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (4 if status else 0, "")
    assert (said.read_text() if said.exists() else "") == ("daemon-reload\n" if booted else "")
    expected = "daemon-reload failed" if status else "next: systemctl enable --now sockrec\n"
    assert expected in done.stderr
    assert done.stderr.count("\n") == 1


def test_only_root_installs_it(tmp_path: Path) -> None:
    user = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all")
    for words in ((), ("--root", str(tmp_path))):
        command = [*user, SOCKREC, "service", "--install", *words]
        done = subprocess.run(command, capture_output=True, text=True, env=CLEAN | {"HOME": "/"}, timeout=60)
        assert (done.returncode, done.stdout) == (4, ""), done
        assert re.fullmatch(r"sockrec: [^\n]+\n", done.stderr)
    assert "root" in done.stderr or "Permission denied" in done.stderr
    assert not list(tmp_path.iterdir())
