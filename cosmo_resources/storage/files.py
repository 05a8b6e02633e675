"""Writing files so that a reader sees all of a file or none of it.

Belongs here: atomic writes, fsync, linking, advisory locks. Does not belong here: what the files mean.
"""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cosmo_resources.errors import CosmoError

COMPRESSION = "zstd"
GROUP_BYTES = 1 << 21
"""Bytes of a row group, about: a reader of one row reads no more."""

GROUP_ROWS = 1 << 20
"""Rows of a row group at most."""


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically and durably: temporary name, fsync, rename."""
    with _replacing(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def replace_text(path: Path, text: str) -> None:
    """Write a text file atomically, for readers of this moment: a crash of the machine may lose it."""
    with disk_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write a parquet file atomically and durably: temporary name, fsync, rename."""
    with _replacing(path) as temporary:
        rows = min(GROUP_ROWS, table.num_rows * GROUP_BYTES // max(table.nbytes, 1) + 1)
        pq.write_table(table, temporary, compression=COMPRESSION, row_group_size=rows)
        sync(temporary)


def sync(path: Path) -> None:
    """Make a file or folder durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def link_or_copy(source: Path, target: Path) -> None:
    """Give a finished file a second name without copying its bytes, or copy it where the file system cannot link."""
    try:
        os.link(source, target)
    except FileExistsError:
        return
    except OSError:
        temporary = target.with_name(f".{target.name}.tmp")
        shutil.copyfile(source, temporary)
        sync(temporary)
        temporary.replace(target)


@contextmanager
def exclusive(path: Path, *, wait: bool = True, create: bool = True) -> Iterator[bool]:
    """Hold the lock file at `path`; the kernel releases it when the process ends, however it ends.

    Yields whether the lock was got; it can be False only with `wait=False`.

    Raises:
        FileNotFoundError: there is no such file, and it is not to be created.
    """
    if create:
        path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | (os.O_CREAT if create else 0), 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


@contextmanager
def disk_errors(place: Path) -> Iterator[None]:
    """Turn the operating system's word for a full or unwritable disk into one that says where and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise CosmoError(
                f"{place}: no space left to write ({error.strerror}); nothing was published, finished work is kept",
                remedy="free space there, or point COSMO_DATA at a larger disk, and run the same command again",
            ) from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise CosmoError(
                f"{place}: not writable ({error.strerror})",
                remedy="give this user write permission there, or point COSMO_DATA somewhere else",
            ) from error
        raise


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with disk_errors(path.parent):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            temporary.replace(path)
            sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)
