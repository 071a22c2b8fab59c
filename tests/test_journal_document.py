"""The reader below was written from docs/journal.md alone: if it fails, the page is wrong or the code is."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from zlib import crc32

from backports import zstd
from journal_samples import open_sample

from sagakeep.runtime import archive, frame
from sagakeep.runtime.archiving import write_archive
from sagakeep.runtime.disk import LocalDisk
from sagakeep.runtime.journal_tail import TABLE
from sagakeep.runtime.segment_source import read_segment_file
from sagakeep.runtime.snapshot_file import write_snapshot


def note(path: Path) -> dict[str, str]:
    """Return the lines of FORMAT or HEAD."""
    data = path.read_bytes()
    lines = data.decode("ascii").splitlines()
    last = data.rindex(b"crc32 ")
    assert lines[-1] == f"crc32 {crc32(data[:last]):08x}"
    return dict(line.split(" ") for line in lines)


def body_of(stored: bytes, flags: int) -> bytes:
    if flags & 1:
        return bytes(byte for index, byte in enumerate(stored, start=1) if index % 129)
    return stored


def read_archive(path: Path) -> tuple[bytes, dict[int, tuple[int, int]]]:
    """Return a segment up to its last frame, and number of records and body crc of amended frames."""
    data = path.read_bytes()
    count, zero, magic = struct.unpack("<IB4s", data[-9:])
    table = data[-(17 + 8 * count) :]
    assert (zero, magic, table[:4]) == (0, b"\xb1\xea\x92\x8f", b"\x5e\x2a\x4d\x18")
    assert int.from_bytes(table[4:8], "little") == len(table) - 8
    plain, at = b"", 0
    for size, inner in struct.iter_unpack("<II", table[8:-9]):
        plain += zstd.decompress(data[at : at + size])
        at += size
        assert len(plain) == (len(plain) - 1) // 131072 * 131072 + inner
    index = data[at : -len(table)]
    assert (index[:4], len(index)) == (
        b"\x50\x2a\x4d\x18",
        int.from_bytes(index[4:8], "little") + 8,
    )
    assert crc32(table, crc32(index[:-4])) == int.from_bytes(index[-4:], "little")
    magic, version, length, algorithm, size, _, _, amended, crc = struct.unpack_from(
        "<8sHHIQIIII", index, 8
    )
    assert (magic, version, length, algorithm) == (b"SAGAARC\0", 1, 40, 1)
    assert (size, crc, index[48:176]) == (len(plain), crc32(data[:at]), plain[:128])
    assert len(index) == 176 + 16 * amended + 4
    entries = struct.iter_unpack("<QII", index[176:-4])
    return plain, {offset: (records, body_crc) for offset, records, body_crc in entries}


def read_segment(path: Path) -> tuple[bytes, dict[int, tuple[int, int]]]:
    return read_archive(path) if path.suffix == ".zst" else (path.read_bytes(), {})


def read_journal(directory: Path) -> list[tuple[int, bytes, int]]:
    """Return position, body and number of records of each frame of a journal that is whole."""
    form, head = note(directory / "FORMAT"), note(directory / "HEAD")
    assert form["sagakeep-journal"] == "1"
    assert form["uuid"] == head["uuid"]
    frames: list[tuple[int, bytes, int]] = []
    chain = end = 0
    archived = {path.name[:-4]: path for path in directory.glob("archive/*.seg.zst")}
    there = archived | {path.name: path for path in directory.glob("wal/*.seg")}
    paths = [there[name] for name in sorted(there)]
    assert len(paths) == int(head["segment"])
    for number, path in enumerate(paths, start=1):
        data, amended = read_segment(path)
        fields = struct.unpack_from("<8sHHI16sQQIIQ16s44sI", data)
        magic, version, length, algorithm, uuid, stored_number, base, epoch, previous = fields[:9]
        _, salt, zeros, crc = fields[9:]
        assert (magic, version, length, algorithm) == (b"SAGAWAL\0", 1, 128, 1)
        assert (uuid.hex(), stored_number, base) == (form["uuid"], number, end)
        assert (previous, zeros, crc) == (chain, bytes(44), crc32(data[:124]))
        assert path.name.removesuffix(".zst") == f"{number:016x}-{base:016x}.seg"
        at = 128
        while any(data[at:]):
            header = struct.unpack_from("<4sIQIIIIII", data, at)
            magic, size, position, its_epoch, records, flags, previous, body_crc, chain_next = (
                header
            )
            assert chain_next == crc32(data[at : at + 36], crc32(salt))
            assert (magic, position, its_epoch, previous) == (b"\xf5SGF", base + at, epoch, chain)
            stop = at + (size + 44 + 7) // 8 * 8
            records, body_crc = amended.get(at, (records, body_crc))
            assert body_crc == crc32(data[at + 40 : stop])
            assert data[stop - 4 : stop] == b"END\xa5"
            if not flags & 2:
                stored = data[at + 40 : at + 40 + size]
                frames.append((position, body_of(stored, flags), records))
            at, chain = stop, chain_next
        end = base + at
    assert base == int(head["base"])
    return frames


def read_snapshot(path: Path, uuid: str) -> tuple[int, list[bytes]]:
    """Return the position and the chunks of a snapshot that is whole."""
    data = path.read_bytes()
    magic, version, length, algorithm, its_uuid, position, crc = struct.unpack_from(
        "<8sHHI16sQI", data
    )
    assert (magic, version, length, algorithm) == (b"SAGASNP\0", 1, 44, 1)
    assert (its_uuid.hex(), crc) == (uuid, crc32(data[:40]))
    at = 44
    chunks: list[bytes] = []
    while data[at : at + 4] == b"\xf5SCK":
        index, size, its_crc = struct.unpack_from("<III", data, at + 4)
        chunk = data[at + 16 : at + 16 + size]
        crc = crc32(chunk, crc32(data[at : at + 12], crc))
        assert (index, its_crc) == (len(chunks), crc)
        chunks.append(chunk)
        at += 16 + size
    footer = struct.unpack("<4sIQI", data[at:])
    assert footer == (b"END\xa5", len(chunks), position, crc32(data[at : at + 16], crc))
    return position, chunks


def test_a_reader_written_from_the_document_reads_what_the_code_wrote(tmp_path: Path) -> None:
    root = tmp_path / "data"
    written = []
    for clean in (True, False, True):
        files = open_sample(LocalDisk(), str(root)).files
        for records in ([b"one", b"two"], [bytes(700)], [b"\xf5SGF" * 90] * 2, [b"x" * 3000]):
            written.append((files.append(records), b"".join(records), len(records)))
        files.close(clean=clean)
    assert read_journal(root) == written
    assert len(list(root.glob("wal/*.seg"))) > 6
    files = open_sample(LocalDisk(), str(root)).files
    while files.archive_next(written[-3][0]):
        pass
    files.close()
    assert read_journal(root) == written
    assert len(list(root.glob("archive/*.seg.zst"))) > 4
    assert len(list(root.glob("wal/*.seg"))) > 1


def test_a_reader_written_from_the_document_reads_what_was_amended(tmp_path: Path) -> None:
    root = tmp_path / "data"
    files = open_sample(LocalDisk(), str(root)).files
    written = [(files.append([b"x" * 700, b"y"]), b"x" * 700 + b"y", 2) for _ in range(3)]
    while files.archive_next(written[-1][0]):
        pass
    files.close()
    path = min(root.glob("archive/*.zst"))
    _, data, _ = read_segment_file(LocalDisk(), str(path))
    index = archive.read_archive(LocalDisk(), str(path))
    changed = bytearray(data)
    found = next(frame.walk(data, 128, index.segment.place))
    body = b"z" * len(found.body)
    crc = frame.put_body(changed, found.offset, found.header, body)
    amended = {found.offset: frame.Amended(1, crc)}
    write_archive(LocalDisk(), str(path), bytes(changed), index.last_crc, index.frames, amended)
    assert read_journal(root) == [(written[0][0], body, 1), *written[1:]]


def test_a_snapshot_is_read_by_the_document_too(tmp_path: Path) -> None:
    root = tmp_path / "data"
    open_sample(LocalDisk(), str(root)).files.close()
    write_snapshot(LocalDisk(), str(root), 4711, [b"one", b"", bytes(99)])
    (path,) = root.glob("snap/*.snap")
    assert path.name == f"{4711:016x}.snap"
    assert read_snapshot(path, note(root / "FORMAT")["uuid"]) == (4711, [b"one", b"", bytes(99)])


def test_the_document_and_the_decision_table_have_the_same_rows() -> None:
    text = (Path(__file__).parent.parent / "docs/journal.md").read_text()
    rows = re.findall(r"^\| \d \| .* \| (\w+) \| (\w+) \|$", text, re.MULTILINE)
    words = {"end": "end", "torn": "torn", "corrupt": "damaged"}
    assert rows == [(words[row.last.value], words[row.earlier.value]) for row in TABLE]
