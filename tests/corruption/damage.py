"""Every kind of damage, as damaged copies of a good directory, each with what may become of it.

`Damage.may` names the verdicts that are allowed; a refusal must name `file` (unless it is ""), and an offset not
after `at`. A cut must leave exactly `frames` frames. What nobody can tell who has only this directory is in
`docs/journal.md`: the loss of the end of the last segment, or of whole sectors of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from random import Random
from typing import NamedTuple

from sagakeep.runtime import frame, segment
from sagakeep.runtime.journal_directory import Head
from sagakeep.simulation.disk import MemoryDisk

from .sample import DATA, Sample, make_sample

SECTOR = 512
REFUSED = frozenset({"refused"})
HARMLESS = frozenset({"same"})
PASSED_OVER = frozenset({"same", "passed over"})


Make = Callable[[], MemoryDisk]


class Damage(NamedTuple):
    """One damaged directory, made when it is wanted, and what may become of it."""

    what: str
    make: Make
    may: frozenset[str]
    file: str = ""
    at: int = 1 << 62
    frames: int = -1


class Piece(NamedTuple):
    """A frame in its file; `frames` counts the ones with records up to and with it, in the whole journal."""

    first: int
    end: int
    frames: int


class Anatomy:
    """A good directory taken apart."""

    def __init__(self, sample: Sample) -> None:
        self.disk = sample.disk
        self.older = sample.older
        self.segments = [path for path in self.disk.paths() if path.endswith(".seg")]
        self.snapshots = [path for path in self.disk.paths() if path.endswith(".snap")]
        self.notes = [f"{DATA}/FORMAT", f"{DATA}/HEAD"]
        self.last = self.segments[-1]
        self.pieces: dict[str, list[Piece]] = {}
        count = 0
        for path in self.segments:
            data = self.disk.get(path)
            place = segment.decode(data, path).place
            self.pieces[path] = []
            for found in frame.walk(data, segment.HEADER_BYTES, place):
                count += found.header.records > 0
                self.pieces[path].append(Piece(found.offset, found.end, count))
        self.frames = count

    def end(self, path: str) -> int:
        """Where the last frame of a segment ends."""
        return self.pieces[path][-1].end

    def whole_before(self, path: str, offset: int) -> int:
        """How many frames of the journal end at or before an offset of a segment."""
        first = self.segments.index(path)
        earlier = sum(len(self.pieces[one]) for one in self.segments[:first])
        flat = [piece for one in self.segments for piece in self.pieces[one]]
        here = sum(piece.end <= offset for piece in self.pieces[path])
        return flat[earlier + here - 1].frames if earlier + here else 0

    def cut(self, path: str, offset: int, what: str, disk: Make, may: frozenset[str]) -> Damage:
        """The last segment ends before `offset`: allowed, unless the newest snapshot knows of more."""
        ends = [piece.end for piece in self.pieces[path] if piece.end <= offset]
        end = int(path[-20:-4], 16) + max(ends, default=segment.HEADER_BYTES)
        if end < int(self.snapshots[-1][-21:-5], 16):
            return Damage(what, disk, REFUSED)
        return Damage(what, disk, may | {"cut"}, frames=self.whole_before(path, offset))

    def with_files(self, files: dict[str, bytes], without: Sequence[str] = ()) -> Make:
        """Copies in which files have another content or are gone; the others are shared, not copied."""

        def make() -> MemoryDisk:
            twin = MemoryDisk()
            names = self.disk.names.items()
            twin.names = {name: inode for name, inode in names if name not in without}
            twin.synced_names = dict(twin.names)
            for path, data in files.items():
                twin.put(path, data)
            return twin

        return make

    def with_file(self, path: str, data: bytes) -> Make:
        return self.with_files({path: data})

    def without(self, *paths: str) -> Make:
        return self.with_files({}, paths)


Kind = Callable[[Anatomy], Iterator[Damage]]


def flipped_bits(anatomy: Anatomy) -> Iterator[Damage]:
    """Every bit of every file."""
    for path in (*anatomy.notes, *anatomy.segments, *anatomy.snapshots):
        data = anatomy.disk.get(path)
        for bit in range(len(data) * 8):
            what = f"bit {bit % 8} of byte {bit // 8} of {path}"
            yield _changed(anatomy, path, _flip(anatomy, path, data, bit), bit // 8, what)


def _flip(anatomy: Anatomy, path: str, data: bytes, bit: int) -> Make:
    def make() -> MemoryDisk:
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        return anatomy.with_file(path, bytes(changed))()

    return make


def overwritten_bytes(anatomy: Anatomy) -> Iterator[Damage]:
    """Bursts of up to 64 wrong bytes anywhere, also over the edges of frames."""
    random = Random(7)
    for index in range(20_000):
        path = random.choice((*anatomy.notes, *anatomy.segments, *anatomy.snapshots))
        data = bytearray(anatomy.disk.get(path))
        at = random.randrange(len(data))
        for offset in range(at, min(len(data), at + random.randrange(1, 65))):
            data[offset] = _other_byte(random, data[offset])
        disk = anatomy.with_file(path, bytes(data))
        yield _changed(anatomy, path, disk, at, f"burst {index} at byte {at} of {path}")


def _other_byte(random: Random, byte: int) -> int:
    """A wrong byte that is not zero: zeros look like what never arrived."""
    wrong = byte
    while wrong in (0, byte):
        wrong = random.randrange(256)
    return wrong


def _changed(anatomy: Anatomy, path: str, disk: Make, at: int, what: str) -> Damage:
    """A file with wrong bytes from `at` on: refused at its frame, but for snapshots and unused room."""
    if path in anatomy.snapshots:
        return Damage(what, disk, PASSED_OVER)
    if path == anatomy.last and at >= anatomy.end(path):
        return Damage(what, disk, REFUSED | HARMLESS, path, anatomy.end(path))
    return Damage(what, disk, REFUSED, path, at)


def cut_files(anatomy: Anatomy) -> Iterator[Damage]:
    """Every file, cut to every length."""
    for path in (*anatomy.notes, *anatomy.segments, *anatomy.snapshots):
        data = anatomy.disk.get(path)
        for length in range(len(data)):
            disk, what = anatomy.with_file(path, data[:length]), f"{path} cut to {length}"
            if path in anatomy.snapshots:
                yield Damage(what, disk, PASSED_OVER)
            elif path in anatomy.notes:
                yield Damage(what, disk, REFUSED, path)
            else:
                yield _cut(anatomy, path, length, disk, what)


def torn_writes(anatomy: Anatomy) -> Iterator[Damage]:
    """Every segment with zeros from every byte on: in the last one, what an interrupted write leaves."""
    for path in anatomy.segments:
        data = anatomy.disk.get(path)
        for length in range(len(data)):
            if data[length]:  # else it is the same as from a later byte on
                disk = anatomy.with_file(path, data[:length] + bytes(len(data) - length))
                yield _cut(anatomy, path, length, disk, f"{path} zero from {length} on")


def _cut(anatomy: Anatomy, path: str, length: int, disk: Make, what: str) -> Damage:
    """A segment that ends early: the last one is cut to its whole frames, any other is refused."""
    if length >= anatomy.end(path):
        return Damage(what, disk, HARMLESS)
    if path != anatomy.last or length < segment.HEADER_BYTES:
        return Damage(what, disk, REFUSED, path, length)
    return anatomy.cut(path, length, what, disk, frozenset())


def zeroed_sectors(anatomy: Anatomy) -> Iterator[Damage]:
    """Every sector of every file all zeros, and every two that follow each other."""
    for path in (*anatomy.notes, *anatomy.segments, *anatomy.snapshots):
        data = anatomy.disk.get(path)
        for at in range(0, len(data), SECTOR):
            for count in (1, 2):
                end = min(at + count * SECTOR, len(data))
                changed = data[:at] + bytes(end - at) + data[end:]
                yield _zeroed(anatomy, path, changed, at, end)


def _zeroed(anatomy: Anatomy, path: str, changed: bytes, at: int, end: int) -> Damage:
    """A later frame that still stands proves that the damaged one was durable."""
    what = f"{path} zero from {at} to {end}"
    disk = anatomy.with_file(path, changed)
    if path in anatomy.snapshots:
        return Damage(what, disk, PASSED_OVER)
    if path in anatomy.segments and at >= anatomy.end(path):
        return Damage(what, disk, HARMLESS)
    is_proven = path in anatomy.pieces and any(one.first >= end for one in anatomy.pieces[path])
    if path == anatomy.last and at >= segment.HEADER_BYTES and not is_proven:
        return anatomy.cut(path, at, what, disk, REFUSED)
    return Damage(what, disk, REFUSED, path)


def longer_files(anatomy: Anatomy) -> Iterator[Damage]:
    """Every file with bytes behind its end."""
    for path in (*anatomy.notes, *anatomy.segments, *anatomy.snapshots):
        data = anatomy.disk.get(path)
        for tail in (b"\1", b"\n", b"x" * 8, b"\1" * 600, data):
            at = len(data)
            what = f"{path} with {len(tail)} bytes more"
            yield _changed(anatomy, path, anatomy.with_file(path, data + tail), at, what)


def moved_frames(anatomy: Anatomy) -> Iterator[Damage]:
    """Frames dropped, swapped, repeated, put in each other's place, in one segment and across two."""
    for path in anatomy.segments:
        data = anatomy.disk.get(path)
        pieces = [data[one.first : one.end] for one in anatomy.pieces[path]]
        for what, order in _orders(pieces):
            changed = (data[: segment.HEADER_BYTES] + b"".join(order)).ljust(len(data), b"\0")
            yield _reordered(anatomy, path, changed, f"{path}: {what}")
        for other in anatomy.segments:
            theirs = anatomy.disk.get(other)
            for index, one in enumerate(anatomy.pieces[other] if other != path else ()):
                order = [*pieces[:index], theirs[one.first : one.end], *pieces[index + 1 :]]
                changed = (data[: segment.HEADER_BYTES] + b"".join(order)).ljust(len(data), b"\0")
                what = f"{path}: frame {index} is that of {other}"
                yield Damage(what, anatomy.with_file(path, changed), REFUSED)


def _orders(pieces: list[bytes]) -> Iterator[tuple[str, list[bytes]]]:
    numbers = range(len(pieces))
    for one in numbers:
        yield f"frame {one} dropped", [*pieces[:one], *pieces[one + 1 :]]
        for other in range(len(pieces) + 1):
            yield (
                f"frame {one} repeated at {other}",
                [*pieces[:other], pieces[one], *pieces[other:]],
            )
        for other in numbers:
            if one != other:
                placed = list(pieces)
                placed[other] = pieces[one]
                yield f"frame {one} in place of {other}", placed
            if one < other:
                swapped = list(pieces)
                swapped[one], swapped[other] = pieces[other], pieces[one]
                yield f"frames {one} and {other} swapped", swapped


def _reordered(anatomy: Anatomy, path: str, changed: bytes, what: str) -> Damage:
    disk = anatomy.with_file(path, changed)
    if changed == anatomy.disk.get(path):
        return Damage(what, disk, HARMLESS)
    dropped_last = path == anatomy.last and anatomy.disk.get(path).startswith(changed.rstrip(b"\0"))
    if dropped_last:
        return Damage(what, disk, frozenset({"cut"}), frames=anatomy.frames - 1)
    return Damage(what, disk, REFUSED)


def moved_files(anatomy: Anatomy) -> Iterator[Damage]:
    """Files that are missing, swapped, repeated under another name, or of another directory."""
    other = make_sample(seed=2).disk
    for path in (*anatomy.segments, *anatomy.notes):
        yield Damage(f"{path} missing", anatomy.without(path), REFUSED)
    for path in anatomy.snapshots:
        yield Damage(f"{path} missing", anatomy.without(path), PASSED_OVER)
    yield Damage("no snapshot", anatomy.without(*anatomy.snapshots), PASSED_OVER)
    for group, may in ((anatomy.segments, REFUSED), (anatomy.snapshots, PASSED_OVER)):
        for one in group:
            for two in group:
                if one != two:
                    yield from _swaps(anatomy, one, two, may)
    for one, two in pairwise(anatomy.segments):
        name = one.replace(one.rpartition("/")[2][:16], two.rpartition("/")[2][:16])
        yield Damage(
            f"{one} also as {name}", anatomy.with_file(name, anatomy.disk.get(one)), REFUSED
        )
    for path, theirs in zip(anatomy.segments, _segments(other), strict=False):
        yield Damage(f"{path} of another", anatomy.with_file(path, other.get(theirs)), REFUSED)
    for path in anatomy.notes:
        yield Damage(f"{path} of another", anatomy.with_file(path, other.get(path)), REFUSED)
    for path in anatomy.snapshots:
        theirs = other.get(max(one for one in other.paths() if one.endswith(".snap")))
        yield Damage(f"{path} of another", anatomy.with_file(path, theirs), PASSED_OVER)


def _swaps(anatomy: Anatomy, one: str, two: str, may: frozenset[str]) -> Iterator[Damage]:
    first, second = anatomy.disk.get(one), anatomy.disk.get(two)
    yield Damage(f"{one} is {two}", anatomy.with_file(one, second), may)
    both = anatomy.with_files({one: second, two: first})
    yield Damage(f"{one} and {two} swapped", both, may)


def _segments(disk: MemoryDisk) -> list[str]:
    return [path for path in disk.paths() if path.endswith(".seg")]


def older_files(anatomy: Anatomy) -> Iterator[Damage]:
    """Single files put back as they were at an earlier time, and all segments with HEAD but not the snapshots."""
    for index, older in enumerate(anatomy.older):
        for path in older.paths():
            data = older.get(path)
            if anatomy.disk.exists(path) and data == anatomy.disk.get(path):
                continue
            what = f"{path} as it was at copy {index}"
            disk = anatomy.with_file(path, data)
            if path == anatomy.last:
                yield anatomy.cut(path, len(data.rstrip(b"\0")), what, disk, frozenset())
            elif path.endswith(".snap"):
                yield Damage(what, disk, PASSED_OVER)
            elif len(data.rstrip(b"\0")) == len(anatomy.disk.get(path).rstrip(b"\0")):
                yield Damage(what, disk, HARMLESS)  # room that was given back since
            else:
                yield Damage(what, disk, REFUSED)
        yield from _put_back(anatomy, older, index)
    for path in anatomy.segments[:-1]:
        then = segment.decode(anatomy.disk.get(path), path)
        head = {f"{DATA}/HEAD": Head(then.uuid, then.number, then.base).encode()}
        what = f"HEAD as it was when segment {then.number} was the newest"
        yield Damage(what, anatomy.with_files(head), REFUSED)
        without = anatomy.with_files(head, anatomy.snapshots)
        yield Damage(f"{what}, and no snapshot", without, REFUSED)


def _put_back(anatomy: Anatomy, older: MemoryDisk, index: int) -> Iterator[Damage]:
    """The journal of an earlier time beside the snapshots of now: they prove that frames are lost."""
    then = {path: older.get(path) for path in (*_segments(older), f"{DATA}/HEAD")}
    disk = anatomy.with_files(then, anatomy.segments)
    what = f"segments and HEAD as they were at copy {index}"
    last = _segments(older)[-1]
    yield anatomy.cut(last, len(older.get(last).rstrip(b"\0")), what, disk, frozenset())


KINDS: dict[str, Kind] = {
    "flipped bits": flipped_bits,
    "overwritten bytes": overwritten_bytes,
    "cut files": cut_files,
    "torn writes": torn_writes,
    "zeroed sectors": zeroed_sectors,
    "longer files": longer_files,
    "moved frames": moved_frames,
    "moved files": moved_files,
    "older files": older_files,
}
