"""The keys, as the viewer tells them."""

from __future__ import annotations

from typing import Final

KEYS: Final = (
    ("left", "step(-1)"),
    ("right", "step(1)"),
    ("pageup", "minute(-1)"),
    ("pagedown", "minute(1)"),
    ("home", "edge(0)"),
    ("end", "edge(-1)"),
    ("n", "change(1)"),
    ("p", "change(-1)"),
    ("up", "row(-1)"),
    ("down", "row(1)"),
    ("g", "row(-1000000000)"),
    ("G", "row(1000000000)"),
    ("space", "rows(1)"),
    ("b", "rows(-1)"),
    ("slash", "filter"),
    ("j", "jump"),
    ("enter", "life"),
    ("m", "mark"),
    ("d", "diff"),
    ("f", "findings"),
    ("e", "events"),
    ("F", "follow"),
    ("plus,equals_sign", "zoom(1)"),
    ("minus", "zoom(-1)"),
    ("question_mark", "help"),
    ("escape", "unfilter"),
    ("q", "leave"),
    ("ctrl+c", "quit"),
)
"""Keys by Textual's names, and the actions of the viewer that they are for."""

HINTS: Final = (
    "←→ step",
    "n/p change",
    "/ filter",
    "f findings",
    "? help",
    "q quit",
    "j jump",
    "Enter life",
    "d diff",
    "PgUp/PgDn minute",
    "m mark",
    "e events",
    "F follow",
)
"""The most needed first: how many there is room for depends on the terminal."""

HELP: Final = """\
Time
  Left Right   the sample before, the next one; a time without samples is
               a step too
  PgUp PgDn    a minute back, a minute on
  Home End     the first sample, the last one
  n p          the next change of what is selected, the one before: opened,
               another state or owner, closed; of a listener also the next
               one on its address and port
  j            jump to a time: 10:32, 10:32:05.250, '5m ago', start+30s
  m            mark this moment: d compares with it
  F            follow: stay at the newest sample while one is recording
  + -          show less of the time in the bar, or more

Sockets
  Up Down      select; Space and b by screens, g and G first and last line
  /            filter; all words must fit, none shows all again:
                 port=7071  program=nginx  peer=10.0.0.0/24  state=LISTEN
                 pid=4121  proto=udp6
               a number alone is a port or a pid; a word stands in a
               program, an address or a state; !state=TIME_WAIT: all others
  Enter        the whole life of the selected socket; of a listener, the
               story of its port
  Esc          no filter

What happened
  e            all that happened since the sample before
  d            what opened, closed, moved or changed between the mark (or
               the first sample) and here
  f            findings, the most telling first; Enter goes to one's moment
               and selects what it is about: n and p then go on from there

The table is what `netstat -anp` would have printed at that sample.
Addresses are cut where there is no room; under the table the selected
socket stands whole. + before a line is a socket that the sample before had
not, ~ one that is in another state since. What opened and closed between
two samples is in no table: it is told at the bottom.

The height of the time bar is how much changed, on a logarithmic scale;
░ is a time of which nothing, or not all, is known. Under it stand ! a
critical finding, * a warning, + a notice, M the mark, ^ the cursor.
"""
