"""A disk that is full, without filling one.

`size_limit` makes this process' writes beyond some bytes of a file fail for real (RLIMIT_FSIZE, errno EFBIG).
`full_disk` makes the next atomic write of a file meet ENOSPC: its temporary name leads to /dev/full.
"""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def size_limit(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def full_disk(path: Path) -> None:
    path.with_name(f".{path.name}.{os.getpid()}.tmp").symlink_to("/dev/full")
