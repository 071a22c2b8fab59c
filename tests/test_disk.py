"""The real disk does what the port says; the disk in memory does the same."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from random import Random

import pytest
from journal_samples import bodies, open_sample

from sagakeep.errors import JournalLocked
from sagakeep.runtime.disk import DiskFile, LocalDisk
from sagakeep.simulation.disk import Inode, MemoryDisk


def test_a_write_is_read_back_and_is_short_only_at_the_end_of_the_file(tmp_path: Path) -> None:
    file = LocalDisk().open(f"{tmp_path}/x", create=True)
    file.pwrite(b"hello", 3)
    assert file.pread(100, 0) == b"\0\0\0hello"
    assert file.pread(2, 4) == b"el"
    file.truncate(4)
    file.fdatasync()
    file.fsync()
    assert file.size() == 4
    file.close()
    file.close()


def test_short_reads_and_writes_of_the_kernel_are_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pwrite, pread = os.pwrite, os.pread
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: pwrite(fd, data[:3], at))
    monkeypatch.setattr(os, "pread", lambda fd, size, at: pread(fd, min(size, 2), at))
    file = LocalDisk().open(f"{tmp_path}/x", create=True)
    file.pwrite(b"0123456789", 1)
    assert file.pread(20, 0) == b"\x000123456789"
    file.close()


def test_create_empties_a_file_and_open_does_not(tmp_path: Path) -> None:
    disk, path = LocalDisk(), f"{tmp_path}/x"
    file = disk.open(path, create=True)
    file.pwrite(b"old", 0)
    file.close()
    again = disk.open(path)
    assert again.pread(9, 0) == b"old"
    again.close()
    disk.open(path, create=True).close()
    assert os.path.getsize(path) == 0
    with pytest.raises(FileNotFoundError):
        disk.open(f"{tmp_path}/absent")


def test_a_file_on_a_read_only_disk_is_opened_to_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x").write_bytes(b"old")
    real = os.open

    def refuse_writers(path: str, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_RDWR:
            raise OSError(errno.EROFS, "read-only", path)
        return real(path, flags)

    monkeypatch.setattr(os, "open", refuse_writers)
    file = LocalDisk().open(f"{tmp_path}/x")
    assert file.pread(9, 0) == b"old"
    with pytest.raises(OSError):
        file.pwrite(b"new", 0)
    file.close()


def test_only_the_owner_may_read_and_children_inherit_nothing(tmp_path: Path) -> None:
    disk = LocalDisk()
    disk.make_directory(f"{tmp_path}/d")
    disk.make_directory(f"{tmp_path}/d")
    file = disk.open(f"{tmp_path}/d/x", create=True)
    assert os.stat(f"{tmp_path}/d").st_mode & 0o777 == 0o700
    assert os.stat(f"{tmp_path}/d/x").st_mode & 0o777 == 0o600
    assert fcntl.fcntl(file._fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    file.close()


def test_a_file_in_place_of_a_directory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "d").write_bytes(b"")
    with pytest.raises(FileExistsError):
        LocalDisk().make_directory(f"{tmp_path}/d")


def test_allocated_bytes_are_zeros(tmp_path: Path) -> None:
    file = LocalDisk().open(f"{tmp_path}/x", create=True)
    file.allocate(10_000)
    assert file.pread(20_000, 0) == bytes(10_000)
    file.close()


def test_zeros_are_written_where_the_file_system_cannot_allocate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(fd: int, offset: int, size: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "cannot")

    monkeypatch.setattr(os, "posix_fallocate", cannot)
    file = LocalDisk().open(f"{tmp_path}/x", create=True)
    file.allocate((1 << 20) + 5)
    assert file.size() == (1 << 20) + 5
    file.close()


def test_a_full_disk_is_told_by_allocate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, offset: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "posix_fallocate", full)
    file = LocalDisk().open(f"{tmp_path}/x", create=True)
    with pytest.raises(OSError, match="full"):
        file.allocate(10)
    file.close()


def test_names_are_listed_renamed_removed_and_synced(tmp_path: Path) -> None:
    disk = LocalDisk()
    for name in ("b", "a", "c"):
        disk.open(f"{tmp_path}/{name}", create=True).close()
    disk.rename(f"{tmp_path}/a", f"{tmp_path}/d")
    disk.unlink(f"{tmp_path}/c")
    disk.sync_directory(str(tmp_path))
    assert disk.list(str(tmp_path)) == ["b", "d"]
    assert disk.list(f"{tmp_path}/absent") == []
    assert disk.exists(f"{tmp_path}/d")
    assert not disk.exists(f"{tmp_path}/a")
    assert disk.free_bytes(str(tmp_path)) > 0


HOLD = """
import sys
from sagakeep.runtime.disk import LocalDisk
lock = LocalDisk().lock(sys.argv[1])
print("locked", flush=True)
sys.stdin.read()
"""


def test_a_second_process_is_refused_and_told_who_holds_the_lock(tmp_path: Path) -> None:
    path = f"{tmp_path}/LOCK"
    command = [sys.executable, "-c", HOLD, path]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parent.parent
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(JournalLocked, match=f"locked by process {holder.pid}: stop"):
            LocalDisk().lock(path)
        holder.kill()
    LocalDisk().lock(path).release()


def test_a_lock_names_its_process_and_may_be_released_twice(tmp_path: Path) -> None:
    path = f"{tmp_path}/LOCK"
    lock = LocalDisk(pid=lambda: 4711).lock(path)
    with pytest.raises(JournalLocked, match="4711"):
        LocalDisk().lock(path)
    lock.release()
    lock.release()


def test_a_lock_that_cannot_be_written_is_not_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, data: bytes, offset: int) -> int:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(OSError, match="full"):
            LocalDisk().lock(f"{tmp_path}/LOCK")
    LocalDisk().lock(f"{tmp_path}/LOCK").release()


def test_the_disk_in_memory_ends_with_the_same_files_as_the_real_one(tmp_path: Path) -> None:
    memory, local = MemoryDisk(), LocalDisk()
    root = f"{tmp_path}/data"
    for disk in (memory, local):
        for clean in (True, False, True):
            files = open_sample(disk, root).files
            for size in (10, 300, 700, 2000):
                files.append([b"r" * size])
            files.close(clean)
            assert len(bodies(files.scan())) % 4 == 0
    found = {str(path): path.read_bytes() for path in Path(root).rglob("*") if path.is_file()}
    del found[f"{root}/LOCK"]
    assert {path: memory.get(path) for path in memory.paths()} == found


def test_the_disk_in_memory_forgets_what_was_not_synced() -> None:
    disk = MemoryDisk()
    file = disk.open("d/x", create=True)
    file.pwrite(b"a", 0)
    file.fsync()
    assert disk.cut_power().paths() == []
    disk.sync_directory("d")
    file.pwrite(b"b", 0)
    disk.rename("d/x", "d/y")
    assert disk.cut_power().get("d/x") == b"a"
    with pytest.raises(FileNotFoundError):
        disk.open("d/x")
    held = disk.lock("d/LOCK")
    with pytest.raises(JournalLocked):
        disk.lock("d/LOCK")
    held.release()


def test_the_disk_in_memory_does_what_the_real_one_does(tmp_path: Path) -> None:
    """Any operations, in any order: the same bytes, names, sizes and errors."""
    random = Random(7)
    for index in range(30):
        root = f"{tmp_path}/{index}"
        memory, local = MemoryDisk(), LocalDisk()
        for disk in (memory, local):
            disk.make_directory(root)
        for _ in range(40):
            do = partial(a_step, random.getrandbits(32), root)
            assert do(memory) == do(local)


def a_step(seed: int, root: str, disk: MemoryDisk | LocalDisk) -> object:
    """One operation on one of three names, and what can be seen after it."""
    random = Random(seed)
    path, other = (f"{root}/{name}" for name in random.sample("abc", 2))
    size, offset = random.randrange(1500), random.randrange(1500)
    try:
        match random.choice(
            ("create", "write", "truncate", "allocate", "sync", "rename", "unlink")
        ):
            case "create":
                disk.open(path, create=True).close()
            case "rename":
                disk.rename(path, other)
            case "unlink":
                disk.unlink(path)
            case other_operation:
                change(disk.open(path), other_operation, size, offset, random)
    except FileNotFoundError:
        return "not there"
    found = {}
    for name in disk.list(root):
        file = disk.open(f"{root}/{name}")
        found[name] = (file.size(), file.pread(4000, 0), file.pread(10, offset))
        file.close()
    return found, disk.exists(path)


def change(file: DiskFile, operation: str, size: int, offset: int, random: Random) -> None:
    match operation:
        case "write":
            file.pwrite(random.randbytes(size), offset)
        case "truncate":
            file.truncate(min(size, file.size()))
        case "allocate":
            file.allocate(size)
        case _:
            file.fdatasync()
            file.fsync()
    file.close()


def written(random: Random) -> tuple[MemoryDisk, Inode]:
    """A file of four sectors, durable, of which three were written anew since."""
    disk = MemoryDisk()
    disk.put("d/x", b"o" * 2048)
    disk.open("d/x").pwrite(b"n" * 1536, 512)
    return disk, disk.names["d/x"]


def test_a_power_cut_leaves_any_of_the_sectors_that_were_not_synced_or_a_torn_one() -> None:
    found = set()
    for seed in range(300):
        disk, _ = written(Random(seed))
        found.add(disk.cut_power(Random(seed)).get("d/x"))
    assert all(data[:512] == b"o" * 512 for data in found), "what was not written stays"
    assert {b"o" * 2048, b"o" * 512 + b"n" * 1536} <= found
    assert any(data[512:1024] == b"o" * 512 and data[1024:1536] == b"n" * 512 for data in found)
    assert any(data.count(b"n") % 512 > 0 for data in found), "torn within a sector"


def test_a_kill_leaves_all_that_was_written_and_a_cut_after_it_may_still_take_it() -> None:
    disk, _ = written(Random(0))
    disk.lock("d/LOCK")
    disk.kill()
    disk.lock("d/LOCK").release()
    assert disk.get("d/x") == b"o" * 512 + b"n" * 1536
    assert disk.cut_power().get("d/x") == b"o" * 2048


def test_after_a_failed_sync_what_is_read_is_never_written() -> None:
    disk, inode = written(Random(0))
    inode.fail_sync(Random(1))
    file = disk.open("d/x")
    file.fsync()
    assert file.pread(2048, 0) == b"o" * 512 + b"n" * 1536
    lost = disk.cut_power().get("d/x")
    assert lost != disk.get("d/x")
    assert disk.cut_power(Random(3)).get("d/x") == lost
    file.pwrite(b"m" * 2048, 0)
    file.fsync()
    assert disk.cut_power().get("d/x") == b"m" * 2048


@pytest.mark.parametrize("anew", [False, True], ids=["in place", "cut to nothing first"])
def test_after_a_failed_sync_the_same_bytes_are_written_when_they_come_again(anew: bool) -> None:
    disk, inode = written(Random(0))
    inode.fail_sync(Random(1))
    wanted = disk.get("d/x")
    file = disk.open("d/x", create=anew)
    file.pwrite(wanted, 0)
    file.fsync()
    assert disk.cut_power().get("d/x") == wanted


def test_a_sync_in_part_leaves_the_rest_to_the_next_one() -> None:
    disk, inode = written(Random(0))
    inode.sync_in_part(Random(1))
    assert disk.cut_power().get("d/x") != disk.get("d/x")
    disk.open("d/x").fsync()
    assert disk.cut_power().get("d/x") == disk.get("d/x")


@pytest.mark.parametrize("seed", range(50))
def test_no_sector_is_torn_where_later_ones_may_be_written_already(seed: int) -> None:
    disk, inode = written(Random(seed))
    old, new = bytes(inode.synced), disk.get("d/x")
    inode.sync_in_part(Random(seed))
    left = disk.cut_power(Random(seed)).get("d/x")
    for at in range(0, len(left), 512):
        sector = slice(at, at + 512)
        assert left[sector] in (new[sector], old.ljust(len(new), b"\0")[sector])
