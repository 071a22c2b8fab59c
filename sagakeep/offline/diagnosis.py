"""Diagnoses: where a journal is damaged, whose records stand there, and what to run next."""

from __future__ import annotations

import shlex
from typing import NamedTuple

from sagakeep.codec import glance
from sagakeep.errors import JournalCorrupt, JournalError
from sagakeep.offline.salvage import Gap, cluttered_end, plain_name, read_beyond, read_chain
from sagakeep.offline.wrong_bit import find_wrong_bit
from sagakeep.runtime import frame, segment
from sagakeep.runtime.disk import Disk
from sagakeep.runtime.journal_directory import Paths
from sagakeep.runtime.segment_source import read_segment_file


class Diagnosis(NamedTuple):
    """The first damage. From `position` to `end` the journal cannot be used; -1 when that is not where it is."""

    file: str
    offset: int
    reason: str
    position: int
    end: int
    sagas: tuple[str, ...]
    remedy: str  # how it is mended without any loss, "" when it is not
    command: str  # what repairs it, without --yes; "" when only a copy helps

    @property
    def lines(self) -> list[str]:
        """Say it to a person."""
        lines = [f"{self.file}: offset {self.offset}: {self.reason}"]
        if self.position >= 0:
            lines.append(f"positions {self.position} to {self.end} of the journal cannot be used")
        if self.remedy:
            lines.append(f"{self.remedy}, and nothing is lost")
        if self.sagas:
            lines.append(f"sagas that are named there: {', '.join(self.sagas)}")
        return lines


def diagnose(disk: Disk, paths: Paths, error: JournalCorrupt) -> Diagnosis:
    """Look at the place of an error, without changing anything."""
    file, offset, reason = error.file, error.offset, error.reason
    found = Diagnosis(file, offset, reason, -1, -1, (), "", "")
    directory = shlex.quote(paths.root)
    if file.endswith(".snap"):
        return found._replace(command=f"sagakeep repair {directory}")
    if error.record is not None:
        return _of_record(disk, found, directory, error.record)
    try:
        chain = read_chain(disk, paths)
    except JournalError:
        return found
    command = f"sagakeep repair {directory} --truncate-after {chain.end}"
    for gap in read_beyond(disk, paths, chain, chain.end):
        if isinstance(gap, Gap) and gap.path == file:
            first = _base(file) + gap.offset
            found = found._replace(position=first, end=first + gap.length, sagas=gap.sagas)
            break
    if find_wrong_bit(disk, paths, error) is not None:
        remedy = "a single bit is wrong there: it can be put back"
        return found._replace(remedy=remedy, command=f"sagakeep repair {directory}")
    if cluttered_end(disk, chain, file) == offset:
        remedy = "what stands there is of no frame: it can be cleared"
        return found._replace(remedy=remedy, command=f"sagakeep repair {directory}")
    return found._replace(command=command)


def _of_record(disk: Disk, found: Diagnosis, directory: str, record: int) -> Diagnosis:
    """A good frame has a record that cannot be: take its saga out, or end the journal before it."""
    _, data, amended = read_segment_file(disk, found.file)
    place = segment.decode(data, plain_name(found.file)).place
    header = frame.decode_header(data, found.offset, place.seed)
    header = header and frame.amend(header, amended.get(found.offset))
    body = frame.decode_body(data, found.offset, header) if header else None
    assert header is not None, "the check has read this frame"
    assert body is not None, "and its records"
    first = _base(found.file) + found.offset
    ids = [one.saga_id for one in glance(body) if one.offset == record and one.saga_id]
    option = f"--quarantine-saga {shlex.quote(ids[0])}" if ids else f"--truncate-after {first}"
    return found._replace(
        position=first,
        end=first + header.frame_bytes,
        sagas=tuple(ids),
        command=f"sagakeep repair {directory} {option}",
    )


def _base(path: str) -> int:
    parsed = segment.parse_name(plain_name(path).rpartition("/")[2])
    return parsed[1] if parsed else 0
