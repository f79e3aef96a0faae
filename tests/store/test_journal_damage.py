"""Journals cut, flipped, zeroed and forged: whole frames come back, nothing is invented, all is told."""

from __future__ import annotations

import os
import random
import zlib
from pathlib import Path
from typing import Any

import pytest

from sockrec.store import framing
from sockrec.store.journal import Journal, read_journal
from sockrec.store.spans import assemble
from tests.faults.scale import cases
from tests.store.rows import HOST, SECOND, START, batch, end, open_journal, sample, small_part, socket

SAMPLES = 4


def frames_of(path: Path) -> list[tuple[int, int, int]]:
    """Return (begin, end, kind) of every frame of an undamaged journal."""
    size = path.stat().st_size
    with path.open("rb") as file:
        found = [f for f in framing.scan(file, size) if isinstance(f, framing.Frame)]
    offsets = [frame.offset for frame in found] + [size]
    return [(offsets[i], offsets[i + 1], frame.kind) for i, frame in enumerate(found)]


def offsets(path: Path, frames: list[tuple[int, int, int]]) -> list[int]:
    """Return where to damage a journal: next to each frame's edge and header, and at every seventh byte.

    In the long form at every byte.
    """
    size = path.stat().st_size
    edges = {begin + step for begin, _, _ in frames for step in range(-3, 40)}
    return [at for at in range(size) if at % cases(13, 1) == 0 or at in edges]


def sockets(journal: Journal) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = journal.tables["sockets.begun"].to_pylist()
    return rows


def numbers(journal: Journal) -> list[int]:
    values: list[int] = journal.tables["samples"]["number"].to_pylist()
    return values


def test_cut_anywhere(tmp_path: Path) -> None:
    """A journal cut anywhere gives exactly the samples whole before the cut, and no damage."""
    path = small_part(tmp_path, SAMPLES, ended_as="stopped")
    frames = frames_of(path)
    whole = sockets(read_journal(path))
    assert [kind for _, _, kind in frames] == [1, 1] + [2] * SAMPLES + [3]
    for size in reversed(offsets(path, frames)):
        os.truncate(path, size)
        journal = read_journal(path)
        left = sum(1 for _, stop, kind in frames if kind == framing.SAMPLE_KIND and stop <= size)
        assert numbers(journal) == list(range(left)), size
        assert sockets(journal) == whole[:left], size
        assert journal.tables["sockets.ended"]["row"].to_pylist() == list(range(left - 1)), size
        assert journal.ended_as is None
        assert journal.damages == (), size
        assert journal.torn == (size not in {begin for begin, _, _ in frames} or size == 0), size


def test_flip_anywhere(tmp_path: Path) -> None:
    """A flipped bit costs the frame it is in, and no other; it is told; no row differs from the original."""
    path = small_part(tmp_path, SAMPLES, ended_as="stopped")
    frames = frames_of(path)
    whole = {row["socket_id"]: row for row in sockets(read_journal(path))}
    content = path.read_bytes()
    for offset in offsets(path, frames):
        with path.open("r+b") as file:
            file.seek(offset)
            file.write(bytes([content[offset] ^ 1 << offset % 8]))
            file.flush()
            hit = next(i for i, (begin, stop, _) in enumerate(frames) if begin <= offset < stop)
            journal = read_journal(path)
            file.seek(offset)
            file.write(content[offset : offset + 1])
        kind = frames[hit][2]
        lost = {hit - 2} if kind == framing.SAMPLE_KIND else set()
        assert set(numbers(journal)) == set(range(SAMPLES)) - lost, offset
        assert [row["socket_id"] for row in sockets(journal)] == [n for n in range(SAMPLES) if n not in lost]
        assert all(row == whole[row["socket_id"]] for row in sockets(journal)), offset
        assert journal.damages or journal.torn, offset
        assert journal.damages or hit == len(frames) - 1, offset
        assert journal.ended_as == (None if kind == framing.END_KIND else "stopped"), offset
        assert not journal.damages or journal.damages[0].offset == frames[hit][0], offset


def test_row_numbers_hold_after_a_lost_frame(tmp_path: Path) -> None:
    """Ends that come after a damaged frame still end the right rows."""
    path = small_part(tmp_path, SAMPLES)
    begin, _, _ = frames_of(path)[3]
    with path.open("r+b") as file:
        file.seek(begin + 40)
        file.write(b"\xff" * 8)
    journal = read_journal(path)
    assert journal.rows["sockets"].tolist() == [0, 2, 3]
    # The lost frame held row 1 and the end of row 0; row 1's own end names nothing now.
    assert journal.tables["sockets.ended"]["row"].to_pylist() == [2]
    assert len(journal.losses) == 1
    loss = journal.losses[0]
    assert (loss.read["sockets.begun"], loss.lost["sockets.begun"], loss.lost["sockets.ended"]) == (1, 1, 1)
    assert loss.last_sample == START
    rows = {row["socket_id"]: row for row in assemble(journal, None)["sockets"].to_pylist()}
    assert {key: row["ended_as"] for key, row in rows.items()} == {0: "gap", 2: "closed", 3: "stopped"}
    # Row 0 may have ended in the lost frame: it is vouched for only up to the sample before.
    assert rows[0]["last_seen"].timestamp() * SECOND == START + 2000
    assert (rows[0]["ended_by"], rows[0]["ended_evidence"]) == (None, "inferred")


def test_a_loss_without_ends_leaves_open_rows_alone(tmp_path: Path) -> None:
    """Where the counts prove that no end was lost, rows open across the damage stay open."""
    with open_journal(tmp_path) as journal:
        journal.append({"sockets.begun": batch("sockets.begun", [socket(1)])})
        at = journal.size
        journal.append({"samples": batch("samples", [sample(0)])})
        journal.append({"samples": batch("samples", [sample(1)])})
    with journal.path.open("r+b") as file:
        file.seek(at)
        file.write(b"\0" * 64)
    got = read_journal(journal.path)
    assert got.damage is not None
    row = assemble(got, None)["sockets"].to_pylist()[0]
    assert row["ended_as"] is None
    assert row["last_seen"].timestamp() * SECOND == START + SECOND


def test_damage_with_nothing_behind_it_says_nothing_of_open_rows(tmp_path: Path) -> None:
    """After the last whole frame, rows are as open as in any journal that goes on."""
    path = small_part(tmp_path, SAMPLES, ended_as=None)
    with path.open("r+b") as file:
        file.seek(-10, os.SEEK_END)
        file.write(b"\xff" * 5)
    journal = read_journal(path)
    assert (len(journal.damages), journal.losses[0].lost["sockets.ended"]) == (1, -1)
    row = assemble(journal, None)["sockets"].to_pylist()[-1]
    assert (row["socket_id"], row["ended_as"], row["ended_evidence"]) == (2, None, None)
    assert assemble(journal, "gap")["sockets"]["ended_as"].to_pylist() == ["closed", "closed", "gap"]


def test_a_missing_stretch_is_noticed(tmp_path: Path) -> None:
    """Frames cut out cleanly leave a hole in the sequence, which is damage."""
    path = small_part(tmp_path, SAMPLES)
    begin, stop, _ = frames_of(path)[3]
    content = path.read_bytes()
    path.write_bytes(content[:begin] + content[stop:])
    journal = read_journal(path)
    assert numbers(journal) == [0, 2, 3]
    assert "missing" in journal.damages[0].what


def test_repeated_frames_count_once(tmp_path: Path) -> None:
    """A stretch that comes twice is damage, and adds no rows."""
    path = small_part(tmp_path, SAMPLES, ended_as=None)
    begin, stop, _ = frames_of(path)[-1]
    path.write_bytes(path.read_bytes() + path.read_bytes()[begin:stop])
    journal = read_journal(path)
    assert numbers(journal) == [0, 1, 2, 3]
    assert "twice" in journal.damages[0].what


def test_frames_of_another_journal_are_not_taken(tmp_path: Path) -> None:
    """Stale blocks of an older journal after the tail, as a power cut leaves them, are no samples."""
    path = small_part(tmp_path, 2, ended_as=None)
    other = small_part(tmp_path, 6, part=1, ended_as=None)
    path.write_bytes(path.read_bytes() + other.read_bytes()[frames_of(other)[4][0] :])
    journal = read_journal(path)
    assert numbers(journal) == [0, 1]
    assert journal.damages


def test_both_headers_gone(tmp_path: Path) -> None:
    """Without a header nothing can be read, which is said once, not once a frame."""
    path = small_part(tmp_path, SAMPLES)
    with path.open("r+b") as file:
        for begin, _, _ in frames_of(path)[:2]:
            file.seek(begin + 50)
            file.write(b"????????")
    journal = read_journal(path)
    assert sockets(journal) == []
    assert len(journal.damages) == 2
    assert "header" in journal.damages[1].what


@pytest.mark.parametrize("ends", [[0, 0], [5], [-1], [0, 5, -7, 0]])
def test_impossible_ends_are_left_out_and_told(tmp_path: Path, ends: list[int]) -> None:
    """An end of no row, or a second end, is damage; the first end of a real row counts."""
    with open_journal(tmp_path) as journal:
        journal.append({"sockets.begun": batch("sockets.begun", [socket(1)])})
        closing = [end(row, START + SECOND * (k + 1)) for k, row in enumerate(ends)]
        journal.append({"sockets.ended": batch("sockets.ended", closing)})
    got = read_journal(journal.path)
    assert got.tables["sockets.ended"]["row"].to_pylist() == [0] * (0 in ends)
    wrong = len(ends) - (0 in ends)
    assert got.damages[0].what.startswith(f"{wrong} ends of sockets")
    row = assemble(got, "gap")["sockets"].to_pylist()[0]
    assert row["ended_as"] == ("closed" if 0 in ends else "gap")
    if 0 in ends:
        assert row["last_seen"].timestamp() * SECOND == START + SECOND


def test_zeros_at_the_end_are_a_torn_tail(tmp_path: Path) -> None:
    """A file made longer by a power cut that kept no data reads as torn, not as damaged."""
    path = small_part(tmp_path, 2, ended_as=None)
    path.write_bytes(path.read_bytes() + bytes(5000))
    journal = read_journal(path)
    assert (numbers(journal), journal.torn, journal.damages) == ([0, 1], True, ())


def forged(
    kind: int, raw: int, body: bytes, codec: int = 1, sequence: int = 9, file_id: bytes = b"I" * 8
) -> bytes:
    """Return a frame with a right checksum that says what it likes."""
    head = framing.MAGIC + file_id + sequence.to_bytes(4, "little") + bytes([kind, codec, 0, 0])
    head += len(body).to_bytes(4, "little") + raw.to_bytes(4, "little")
    return head + zlib.crc32(body, zlib.crc32(head)).to_bytes(4, "little") + body


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x89SRJ",
        b"hello, I am no journal\n" * 100,
        forged(1, framing.LARGEST, b"not zstd"),
        forged(1, 2**32 - 1, b""),
        forged(1, 8, b"\xff" * 8, codec=0),
        forged(1, 16, b"\x08" + bytes(7) + b'{"a": 1}', codec=0),
        forged(1, 0, b"", codec=0),
        forged(2, 0, b"", codec=0),
        forged(3, 4, b"null", codec=0),
        forged(7, 4, b"null", codec=0),
        forged(1, 8 + 100_000, (100_000).to_bytes(8, "little") + b"[" * 100_000, codec=0),
        (framing.MAGIC + b"I" * 8) * 20_000,
        framing.MAGIC * 50_000,
    ],
)
def test_hostile_files_read_as_nothing(tmp_path: Path, content: bytes) -> None:
    """Anything at all can be read; it gives no rows, and says why unless it is only torn."""
    path = tmp_path / "x.journal"
    path.write_bytes(content)
    journal = read_journal(path)
    assert all(table.num_rows == 0 for table in journal.tables.values())
    assert journal.damages or journal.torn
    assert all(tables.num_rows == 0 for tables in assemble(journal, "gap").values())


def test_forged_frames_in_a_real_journal(tmp_path: Path) -> None:
    """Frames with the file's own id and right checksums but impossible payloads add nothing."""
    path = small_part(tmp_path, 2, ended_as=None)
    content = path.read_bytes()
    file_id = content[4:12]
    counts = (2, 1, 0, 0, 2, 0, 0, 2)
    right = b"".join(count.to_bytes(8, "little") for count in counts)
    payloads = [
        b"",
        right,
        right + (9).to_bytes(8, "little"),
        right + (2**63).to_bytes(8, "little"),
        right
        + (1).to_bytes(8, "little")
        + bytes([0, 0, 0, 0, 255, 255, 255, 255])
        + (8).to_bytes(8, "little")
        + b"\xff" * 8,
        right + (1).to_bytes(8, "little") + bytes([99, 0, 0, 0, 1, 0, 0, 0]) + bytes(8),
        b"\xff" * 64 + bytes(8),
        bytes(64) + bytes(8),
    ]
    dice = random.Random(3)
    payloads += [dice.randbytes(dice.randrange(200)) for _ in range(200)]
    for payload in payloads:
        for kind in (1, 2, 3):
            frame = forged(kind, len(payload), payload, 0, 4, file_id)
            path.write_bytes(content + frame)
            journal = read_journal(path)
            assert len(numbers(journal)) in (0, 2)
            assert journal.damages or (kind == 1)
            assert {row["socket_id"] for row in assemble(journal, "gap")["sockets"].to_pylist()} <= {0, 1}


def test_altered_arrow_messages_never_crash(tmp_path: Path) -> None:
    """Payloads altered under a right checksum, as only malice does, give rows or damage and nothing else."""
    path = small_part(tmp_path, SAMPLES)
    with path.open("rb") as file:
        frames = [f for f in framing.scan(file, path.stat().st_size) if isinstance(f, framing.Frame)]
    dice = random.Random(5)
    damaged = 0
    for _ in range(400):
        victim = dice.randrange(len(frames))
        content = b""
        for place, frame in enumerate(frames):
            payload = bytearray(frame.payload)
            if place == victim or (place < 2 and victim < 2):
                for _ in range(dice.choice((1, 2, 8))):
                    payload[dice.randrange(len(payload))] = dice.choice((0, 1, 127, 255))
            content += forged(frame.kind, len(payload), bytes(payload), 0, frame.sequence)
        path.write_bytes(content)
        journal = read_journal(path)
        damaged += bool(journal.damages)
        assert all(table.num_rows <= SAMPLES for table in assemble(journal, "gap").values())
    assert damaged > 100


def test_a_whole_file_of_noise_around_a_frame(tmp_path: Path) -> None:
    """A frame is found again behind more noise than one search step, its boundary included."""
    path = small_part(tmp_path, SAMPLES, ended_as=None)
    content = path.read_bytes()
    cut = frames_of(path)[4][0]
    for noise in ((1 << 20) - 6, (1 << 20) + 1, 3 << 20):
        path.write_bytes(content[:cut] + b"\x89" * noise + content[cut:])
        journal = read_journal(path)
        assert numbers(journal) == [0, 1, 2, 3]
        assert len(journal.damages) == 1
        assert str(journal.damages[0]).startswith(f"{path} at byte {cut}: ")
        assert HOST in str(journal.damages[0])
