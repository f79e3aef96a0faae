"""What was at a moment, on captures made by hand after the rules of the four time bounds."""

from __future__ import annotations

import pytest

from sockrec.errors import NothingMatchedError, UsageError
from sockrec.replay.moment import Moments, Sample
from tests.replay.captures import SECOND, T0, HandMade


def ports(capture: HandMade, moment: int) -> list[int]:
    moments = Moments(capture)
    return [row.local_port for row in moments.rows(moments.at(moment))]


def test_a_row_holds_in_the_samples_that_its_evidence_touches() -> None:
    capture = HandMade()
    samples = [capture.sample(number) for number in range(4)]
    # Found in sample 1, last seen in sample 2: first_seen is an end, last_seen a beginning of one.
    capture.socket(1, samples[1][1], samples[2][0])
    # Seen in sample 1 alone: last_seen is then its first_seen.
    capture.socket(2, samples[1][1], samples[1][1], local_port=7072)
    # Still open.
    capture.socket(3, samples[0][1], samples[3][0], local_port=7073)
    assert [ports(capture, began) for began, _ in samples] == [
        [7073],
        [7071, 7072, 7073],
        [7071, 7073],
        [7073],
    ]


def test_a_moment_shows_the_latest_sample_that_had_begun() -> None:
    capture = HandMade()
    for number in range(3):
        capture.sample(number)
    moments = Moments(capture)
    for moment, number in (
        (T0, 0),
        (T0 + 1, 0),
        (T0 + SECOND - 1, 0),
        (T0 + SECOND, 1),
        (T0 + 99 * SECOND, 2),
    ):
        assert moments.at(moment).number == number
    with pytest.raises(NothingMatchedError):
        moments.at(T0 - 1)


def test_a_row_cut_by_a_segments_edge_is_shown_once() -> None:
    capture = HandMade()
    samples = [capture.sample(number) for number in range(3)]
    # The cut is made at sample 1's beginning: old.last_seen = new.first_seen.
    capture.socket(1, samples[0][1], samples[1][0], ended_as="carried", pid=100)
    capture.socket(1, samples[1][0], samples[2][0], begun_as="carried", rank=5.0)
    # One that was opened in sample 1 itself and carried at once: the cut is its first_seen.
    capture.socket(2, samples[1][1], samples[1][1], local_port=7072, ended_as="carried")
    capture.socket(2, samples[1][1], samples[2][0], local_port=7072, begun_as="carried")
    assert [ports(capture, began) for began, _ in samples] == [[7071], [7071, 7072], [7072, 7071]]


def test_rows_keep_the_kernels_order() -> None:
    capture = HandMade()
    began, ended = capture.sample(0)
    for socket_id, rank in ((1, 3.0), (2, 0.5), (3, 0.25), (4, 2.0)):
        capture.socket(socket_id, ended, ended, rank=rank, local_port=socket_id)
    assert ports(capture, began) == [3, 2, 4, 1]


def test_queues_and_timers_are_as_last_read_by_that_sample() -> None:
    capture = HandMade()
    samples = [capture.sample(number) for number in range(4)]
    capture.socket(1, samples[0][1], samples[3][0])
    read = {"socket_id": 1, "probes": 3}
    capture.add(
        "activity",
        read_at=samples[1][1],
        recv_q=5,
        send_q=6,
        timer="keepalive",
        timer_deadline=T0 + 3 * SECOND,
        **read,
    )
    capture.add("activity", read_at=samples[3][1], recv_q=7, timer="off", retransmits=2, **read)
    # Another socket's, and another recording's socket with the same id.
    capture.add("activity", socket_id=2, read_at=samples[0][1], recv_q=99)
    capture.add("activity", recording="r0", socket_id=1, read_at=samples[0][1], recv_q=98)
    moments = Moments(capture)
    shown = []
    for began, _ in samples:
        (row,) = moments.rows(moments.at(began), began)
        shown.append((row.recv_q, row.send_q, row.timer, row.timer_seconds, row.retransmits, row.probes))
    assert shown == [
        (0, 0, "off", 0.0, 0, 0),
        (5, 6, "keepalive", 2.0, 0, 3),
        (5, 6, "keepalive", 1.0, 0, 3),
        (7, 0, "off", 0.0, 2, 3),
    ]


def test_two_rows_of_one_moment_are_one_socket() -> None:
    capture = HandMade()
    began, ended = capture.sample(0)
    capture.socket(1, ended, ended)
    capture.add("activity", socket_id=1, read_at=ended, recv_q=5)
    capture.add("activity", socket_id=1, read_at=ended, recv_q=5, rcvbuf=131_072)
    moments = Moments(capture)
    assert [row.recv_q for row in moments.rows(moments.at(began))] == [5]


def test_what_is_left_of_a_timer_is_cut_to_ticks_and_never_below_nothing() -> None:
    capture = HandMade()
    began, ended = capture.sample(0)
    capture.socket(1, ended, ended)
    capture.add("activity", socket_id=1, read_at=ended, timer="on", timer_deadline=ended + 1_239_999)
    moments = Moments(capture)
    sample = moments.at(began)
    assert moments.rows(sample)[0].timer_seconds == 1.23
    assert moments.rows(sample, ended + 1_239_999)[0].timer_seconds == 0
    assert moments.rows(sample, ended + 60 * SECOND)[0].timer_seconds == 0


def test_argv0_is_of_the_process_that_had_the_pid_then() -> None:
    capture = HandMade()
    samples = [capture.sample(number) for number in range(3)]
    capture.socket(1, samples[0][1], samples[2][0])
    capture.socket(2, samples[0][1], samples[2][0], pid=200, program="kept")
    capture.socket(3, samples[0][1], samples[2][0], pid=300, program="comm")
    process = {"begun_as": "opened", "pid": 100}
    capture.add(
        "processes", argv=["/old/one", "-x"], first_seen=samples[0][1], last_seen=samples[0][1], **process
    )
    capture.add("processes", argv=["/new/one"], first_seen=samples[1][1], last_seen=samples[2][0], **process)
    # It cleared its command line: netstat prints the pid and nothing.
    capture.add(
        "processes", argv=[], pid=300, begun_as="found", first_seen=samples[0][1], last_seen=samples[2][0]
    )
    moments = Moments(capture)
    names = [[row.argv0 for row in moments.rows(moments.at(began))] for began, _ in samples]
    assert names == [["/old/one", "kept", ""], ["/new/one", "kept", ""], ["/new/one", "kept", ""]]


def test_bytes_of_argv0_that_are_no_text_come_back_as_bytes() -> None:
    capture = HandMade()
    began, ended = capture.sample(0)
    capture.socket(1, ended, ended)
    capture.add("processes", argv=[r"caf\xe9 \x41 \xE9"], pid=100, first_seen=ended, last_seen=ended)
    moments = Moments(capture)
    assert moments.rows(moments.at(began))[0].argv0 == "caf\udce9 \\x41 \\xE9"


def test_the_host_must_be_named_if_there_are_several() -> None:
    capture = HandMade()
    with pytest.raises(NothingMatchedError, match="no sample"):
        Moments(capture)
    began, ended = capture.sample(0)
    assert Moments(capture).host == "web-1"
    capture.add(
        "samples", host="db-1", recording="r2", number=0, began_at=began, ended_at=ended, complete=True
    )
    capture.socket(1, ended, ended)
    capture.socket(1, ended, ended, host="db-1", recording="r2", local_port=5432)
    for host in (None, "web-2"):
        with pytest.raises(UsageError, match="name one with --host: db-1, web-1"):
            Moments(capture, host)
    moments = Moments(capture, "db-1")
    assert [row.local_port for row in moments.rows(moments.at(began))] == [5432]


def test_samples_between_begin_with_the_one_in_force() -> None:
    capture = HandMade()
    for number in range(5):
        capture.sample(number)
    moments = Moments(capture)

    def numbers(first: int, last: int) -> list[int]:
        return [sample.number for sample in moments.between(first, last)]

    assert numbers(T0 + SECOND + 1, T0 + 3 * SECOND) == [1, 2, 3]
    assert numbers(T0 + SECOND, T0 + 3 * SECOND - 1) == [1, 2]
    assert numbers(T0 + 9 * SECOND, T0 + 9 * SECOND) == [4]


def test_spans_are_of_each_recording_in_order_of_time() -> None:
    capture = HandMade()
    capture.sample(0, T0 + 100 * SECOND, recording="r0")
    capture.sample(0)
    capture.sample(1)
    assert Moments(capture).spans() == (
        (T0, T0 + SECOND + 10_000),
        (T0 + 100 * SECOND, T0 + 100 * SECOND + 10_000),
    )


def test_silence_is_time_in_which_samples_were_due() -> None:
    capture = HandMade()
    capture.sample(0)
    capture.sample(1, T0 + 60 * SECOND)
    moments = Moments(capture)
    ended = T0 + 10_000
    assert moments.silence(moments.at(T0), T0 + SECOND) is None
    assert moments.silence(moments.at(T0), T0 + 30 * SECOND) == (ended, T0 + 60 * SECOND)
    last = moments.at(T0 + 60 * SECOND)
    assert moments.silence(last, T0 + 90 * SECOND) == (ended + 60 * SECOND, None)


def test_an_incomplete_sample_says_why() -> None:
    capture = HandMade()
    capture.sample(0)
    capture.sample(1, complete=False, incomplete_why="udp6: interrupted")
    moments = Moments(capture)
    assert moments.at(T0) == Sample("web-1", "r1", 0, T0, T0 + 10_000, SECOND, None)
    assert moments.at(T0 + SECOND).incomplete_why == "udp6: interrupted"
