"""A program's name is the same in Python and in SQL, and what people call it."""

from __future__ import annotations

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockrec.model.programs import known_as, known_as_sql


@pytest.mark.parametrize(
    ("program", "name"),
    [
        ("nginx: worker process", "nginx"),
        ("postgres: checkpointer ", "postgres"),
        ("/usr/sbin/sshd", "sshd"),
        ("sshd: root@pts/0", "sshd"),
        ("-bash", "bash"),
        ("(squid-1)", "squid-1"),
        ("redis-server *:6379", "redis-server"),
        ("python3", "python3"),
        ("", ""),
        (": ", ": "),
        ("/", "/"),
        (None, None),
    ],
)
def test_names(program: str | None, name: str | None) -> None:
    assert known_as(program) == name


@given(
    st.lists(st.text(alphabet=st.one_of(st.characters(), st.sampled_from("ab -:/()[]\n\t\\'"))), max_size=20)
)
def test_in_sql_it_is_the_same(programs: list[str]) -> None:
    programs = [one for one in programs if "\0" not in one and one.isprintable()] or ["x"]
    values = ", ".join("(?)" for _ in programs)
    found = duckdb.execute(
        f"SELECT p, {known_as_sql('p')} FROM (VALUES {values}) AS t(p)", programs
    ).fetchall()
    assert dict(found) == {one: known_as(one) for one in programs}
