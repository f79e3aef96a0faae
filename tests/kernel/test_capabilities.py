"""Capabilities are given up for good, by the calling thread and all that it starts from then on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

# The sets of the calling thread before it gives up any and after, of a thread made before that, of one made
# after it, and of a child; and what the call said.
SCRIPT = """
import json, os, subprocess, sys, threading
from concurrent.futures import ThreadPoolExecutor
from sockrec.kernel import capabilities

def sets(path="/proc/thread-self/status"):
    lines = dict(line.split(":", 1) for line in open(path))
    found = {key: int(lines[key], 16) for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
    return found | {"NoNewPrivs": int(lines["NoNewPrivs"])}

older, told = ThreadPoolExecutor(1), {}
told["before"] = older.submit(sets).result()
told["said"] = capabilities.keep_only(json.loads(sys.argv[1]))
told["after"] = sets()
told["names"] = capabilities.capabilities()
told["older"] = older.submit(sets).result()
told["newer"] = ThreadPoolExecutor(1).submit(sets).result()
status = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True, check=True).stdout
lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
told["child"] = {key: int(lines[key], 16) for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
print(json.dumps(told))
"""
PTRACE, READ_SEARCH, CHECKPOINT = 1 << 19, 1 << 2, 1 << 40


def told(kept: list[str], *under: str) -> dict[str, Any]:
    """Return what the script says, run under a command that gives it fewer rights."""
    done = subprocess.run(
        [*under, sys.executable, "-c", SCRIPT, json.dumps(kept)],
        env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_all_but_some_are_given_up_in_every_set() -> None:
    kept = PTRACE | READ_SEARCH | CHECKPOINT
    found = told(["cap_sys_ptrace", "cap_dac_read_search", "cap_checkpoint_restore"])
    assert found["before"]["CapEff"] & kept == kept != found["before"]["CapEff"]
    assert found["said"] == []
    expected = {"CapInh": 0, "CapPrm": kept, "CapEff": kept, "CapBnd": kept, "CapAmb": 0}
    assert found["after"] == expected | {"NoNewPrivs": 1}
    assert found["newer"] == found["after"]
    assert found["names"] == ["cap_dac_read_search", "cap_sys_ptrace", "cap_checkpoint_restore"]
    assert found["child"] == expected, "root gains nothing by running a program"
    assert found["older"] == found["before"], "a thread gives up its own only"


def test_none_is_gained() -> None:
    found = told(["cap_sys_ptrace", "cap_net_admin"], "setpriv", "--bounding-set=-all,+sys_ptrace,+chown")
    assert found["said"] == []
    # Without CAP_SETPCAP the bounding set stays, and nothing can be got from it.
    bounding = PTRACE | 1
    expected = {"CapInh": 0, "CapPrm": PTRACE, "CapEff": PTRACE, "CapBnd": bounding, "CapAmb": 0}
    assert found["after"] == expected | {"NoNewPrivs": 1}
    assert found["child"] == expected


@pytest.mark.parametrize("kept", [[], ["cap_sys_ptrace"]])
def test_a_user_with_ambient_ones_hands_none_on(kept: list[str]) -> None:
    given = "--inh-caps=+sys_ptrace,+chown", "--ambient-caps=+sys_ptrace,+chown"
    found = told(kept, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *given)
    assert found["before"]["CapAmb"] == PTRACE | 1
    assert found["said"] == []
    left = PTRACE if kept else 0
    after = {key: found["after"][key] for key in ("CapInh", "CapPrm", "CapEff", "CapAmb")}
    assert after == {"CapInh": 0, "CapPrm": left, "CapEff": left, "CapAmb": 0}
    assert found["child"]["CapPrm"] == 0


def test_who_has_none_gives_none_up() -> None:
    user = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all")
    found = told(["cap_sys_ptrace"], *user)
    assert (found["said"], found["after"]["CapPrm"], found["names"]) == ([], 0, [])


def test_a_name_that_the_kernel_does_not_have_is_a_mistake() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        told(["cap_everything"])
