"""The file of a baseline: exact, stable, edited by people, and wrong with the line of what is wrong."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockrec.errors import UsageError
from sockrec.model.baseline import ANY, MOST_NETWORKS, Baseline, Connects, Listens, folded, outside, together
from sockrec.model.baseline_text import parse
from sockrec.render import baseline_file, escape

_names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
_ports = st.one_of(st.none(), st.integers(0, 65_535))
_networks = st.frozensets(
    st.sampled_from(["10.0.0.0/24", "10.1.0.0/16", "127.0.0.0/8", "2001:db8::/64", "10.2.3.0/24"])
)
_addresses = st.frozensets(st.sampled_from(["0.0.0.0", "::", "127.0.0.1", "10.0.0.5"]))
_listens = st.builds(
    Listens,
    st.sampled_from(["tcp", "udp"]),
    _ports,
    st.one_of(st.none(), _names),
    st.frozensets(_names.filter(lambda name: name != ANY), max_size=3),
    _addresses,
    _networks,
)
_connects = st.builds(Connects, _names, st.sampled_from(["tcp", "udp"]), _ports, _networks)
_baselines = st.builds(
    lambda listens, connects: Baseline(together(listens), together(connects)),
    st.lists(_listens, max_size=4),
    st.lists(_connects, max_size=4),
)


@settings(deadline=None)
@given(_baselines)
def test_a_file_holds_it_exactly_and_steers_nothing(baseline: Baseline) -> None:
    text = baseline_file.text(baseline)
    assert parse(text, "f") == baseline
    assert text == baseline_file.text(parse(text, "f"))
    assert escape.terminal(text.replace("\n", "")) == text.replace("\n", "")


@settings(deadline=None)
@given(_baselines, _baselines)
def test_what_is_added_to_a_file_is_in_it_and_its_comments_stay(one: Baseline, other: Baseline) -> None:
    before = baseline_file.text(one)
    before = re.sub(r"^(\[\[.*)$", r"# about what follows\n\1 # here", before, flags=re.M)
    after = baseline_file.added(before, "f", other)
    assert parse(after, "f") == one.added(other)
    assert after.count("# about what follows\n[[") == before.count("# about what follows\n[[")
    assert baseline_file.added(after, "f", other) == after, "nothing is new: nothing changes"


EDITED = """\
# Ours.
schema = 1

# The door.
[[listens]]
protocol = "tcp"
port = 22
program = "sshd"  # only here
peers = [
    "10.0.0.0/24",  # the office
]

# Asked by everybody.
[[listens]]
protocol = "tcp"
port = 443
program = "nginx"
users = ["root"]
"""


def test_a_file_that_people_edited_keeps_what_they_wrote() -> None:
    learned = Baseline(
        (
            Listens("tcp", 22, "sshd", frozenset({"root"}), frozenset({"::"}), frozenset({"10.1.0.0/24"})),
            Listens("tcp", 80, "nginx", frozenset({"root"}), frozenset({"::"}), frozenset()),
            Listens("tcp", 443, "nginx", frozenset({"www"}), frozenset({"::"}), frozenset()),
        ),
    )
    assert (
        baseline_file.added(EDITED, "f", learned)
        == """\
# Ours.
schema = 1

# The door.
[[listens]]
protocol = "tcp"
port = 22
program = "sshd"  # only here
peers = [
    "10.0.0.0/24",  # the office
    "10.1.0.0/24",
]

[[listens]]
protocol = "tcp"
port = 80
program = "nginx"
users = ["root"]
addresses = ["::"]
peers = []

# Asked by everybody.
[[listens]]
protocol = "tcp"
port = 443
program = "nginx"
users = ["root", "www"]
"""
    )


def test_what_is_left_out_is_any() -> None:
    first, second = parse(EDITED, "f").listens
    assert {*first.users, *first.addresses, *second.peers} == {ANY}
    assert parse('schema = 1\n[[listens]]\nport = 1\nprotocol = "tcp"\n', "f").listens[0].program is None
    assert parse("schema = 1\n", "f") == Baseline()


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("", 1, "schema = 1"),
        ("[[listens]]\n", 1, "schema = 1"),
        ("# mine\nschema = 2\n", 2, "newer"),
        ("schema = 0\n", 1, "schema is 1"),
        ('schema = "1"\n', 1, "schema is 1"),
        ("schema = 1\nport\n", 2, "expected '='"),
        ('schema = 1\na = "\n', 2, "unterminated|illegal"),
        ("schema = 1\n\n[services]\n", 3, "'services' is not known"),
        ("schema = 1\nlistens = 3\n", 2, r"\[\[listens\]\]"),
        (EDITED + "colour = 3\n", 19, "'colour' is not known"),
        (EDITED.replace("port = 443", "port = 99999"), 16, "99999"),
        (EDITED.replace("port = 443", "port = true"), 16, "not True"),
        (EDITED.replace("port = 443\n", ""), 14, "port is missing"),
        (EDITED.replace('"tcp"', '"ftp"'), 6, "'ftp'"),
        (EDITED.replace('["root"]', '"root"'), 18, "list of texts"),
        (EDITED.replace("10.0.0.0/24", "10.0.0.1/24"), 9, "host bits"),
        (EDITED.replace('"sshd"', '""'), 8, "text in quotes"),
        (EDITED + '\n[[connects]]\nprotocol = "tcp"\nport = 1\n', 20, "program is missing"),
    ],
)
def test_a_wrong_file_is_one_line_with_the_place(text: str, line: int, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text, "web-1.toml")
    assert str(caught.value).startswith(f"web-1.toml, line {line}: ")
    assert re.search(says, str(caught.value)), caught.value
    assert "\n" not in str(caught.value)


@settings(deadline=None)
@given(st.lists(st.from_regex(r"10\.[0-3]\.[0-9]\.0/24", fullmatch=True), max_size=30))
def test_folded_networks_hold_all_of_them_and_are_few(networks: list[str]) -> None:
    few = folded(networks)
    assert len(few) <= MOST_NETWORKS
    assert outside(networks, few) == frozenset()
    assert folded(few) == few
