"""Every file this package writes is written here, whole or not at all; and what it reads is opened here.

The commit protocol of `write_atomic` survives a kill, a power cut and a full disk at any point: the old file
stays what it was until the new one is complete, on the disk, and read back.
"""

import contextlib
import contextvars
import errno
import hashlib
import io
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

from tinygrad_gpt.errors import ResourceError, TinygradError, UsageError

__all__ = ["append_line", "digests_of", "only_reading", "open_regular", "part_of", "run_lock", "sha256_of",
           "write_atomic", "write_pieces", "writes"]


def open_regular(path: str | Path) -> io.BufferedReader:
    """Open a regular file for reading; what would never end, or wait for another program, is refused.

    Raises:
        OSError: "it is a named pipe, not a regular file", and whatever the system says.
    """
    _check_regular(os.stat(path).st_mode)
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    opened = os.fdopen(os.open(path, flags), "rb")
    try:
        _check_regular(os.fstat(opened.fileno()).st_mode)  # another file may have taken its name
    except OSError:
        opened.close()
        raise
    return opened


def _check_regular(mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        kind = "named pipe" if stat.S_ISFIFO(mode) else "socket" if stat.S_ISSOCK(mode) else "device"
        raise OSError(errno.EINVAL, f"it is a {kind}, not a regular file")


def sha256_of(path: str | Path) -> str:
    """The sha256 of a regular file, as `sha256sum` prints it."""
    with open_regular(path) as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def digests_of(files: Sequence[str | Path]) -> dict[str, str]:
    """The sha256 of regular files by their names, without folders; the second of a name is ``name 2``, and so on."""
    digests: dict[str, str] = {}
    names = [Path(file).name for file in files]
    for i, file in enumerate(files):
        same = names[:i].count(names[i])
        digests[f"{names[i]} {same + 1}" if same else names[i]] = sha256_of(file)
    return digests


def _lock(file: int) -> bool:
    """Lock an open file, unless somebody else has; the system unlocks it when its holder closes it or dies."""
    try:
        if os.name == "nt":
            import msvcrt

            os.lseek(file, 1 << 30, os.SEEK_SET)  # behind the text: a locked byte cannot be read there
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]
            os.lseek(file, 0, os.SEEK_SET)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


# The operating system as this module sees it. A test replaces one function to fail or to kill at the k-th call.
system = SimpleNamespace(
    close=os.close, fsync=os.fsync, ftruncate=os.ftruncate, listdir=os.listdir, lock=_lock, open=os.open,
    replace=os.replace, unlink=os.unlink, write=os.write,
)

NO_LINK = getattr(os, "O_NOFOLLOW", 0)  # what is cut to a length is a file of this package, not where a link leads

writes: contextvars.ContextVar[bool] = contextvars.ContextVar("writes", default=True)
"""Whether files are written in this thread; of several processes that compute one result, one writes it."""

_in_flight: set[Path] = set()  # temporaries this process is writing now, on any thread


@contextlib.contextmanager
def only_reading() -> Iterator[None]:
    """In this block nothing is written: `write_atomic`, `append_line` and `run_lock` do nothing."""
    token = writes.set(False)
    try:
        yield
    finally:
        writes.reset(token)


def write_atomic(path: str | Path, data: bytes | memoryview, *, verify: Callable[[Path], None] | None = None) -> None:
    """Write `data` to `path` so that the file is at every moment either the old one or the new one, whole.

    The order: a temporary file created exclusively in the same folder, a plain write loop, fsync, `verify`,
    rename over the target, fsync of the folder. A link is followed; the mode follows the umask.

    Args:
        path: the target; its folder must exist.
        data: all bytes of the file.
        verify: called with the path of the temporary file, which it re-opens and checks; it refuses by raising.

    Raises:
        ResourceError: `cannot write (run/model.h5): no space left on device; free some space …`
        TinygradError: `cannot write (run/model.h5): permission denied; …`, and whatever `verify` raises.
            After any error the temporary file is gone and the target is as it was. One exception: when only
            the last fsync of the folder fails, the new file is in place, but may not survive a power cut.

    Source: Pillai et al. 2014, "All File Systems Are Not Created Equal", OSDI.
    """
    if not writes.get():
        return
    with _explained(path):
        target = Path(os.path.realpath(path))
        if target.exists() and not stat.S_ISREG(target.stat().st_mode):
            raise OSError(errno.EINVAL, "it is a folder or a device, not a regular file")
        _remove_stale(target)
        temporary = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
        _in_flight.add(temporary)
        try:
            _write_and_sync(temporary, data)
            if verify is not None:
                verify(temporary)
            system.replace(temporary, target)
        except BaseException:  # a Ctrl-C leaves no temporary file either
            with contextlib.suppress(OSError):
                system.unlink(temporary)
            raise
        finally:
            _in_flight.discard(temporary)
        _sync_folder(target.parent)


def part_of(path: str | Path) -> Path:
    """Where `write_pieces` collects a file before it is whole."""
    return Path(f"{path}.part")


def write_pieces(path: str | Path, pieces: Iterable[bytes], *, start: int = 0,
                 verify: Callable[[Path], None] | None = None) -> None:
    """Write a file too large for `write_atomic` piece by piece; the name appears when the file is whole.

    The order is that of `write_atomic`, but what has been written stays, as `part_of(path)`, when `pieces` or the
    disk fails or the process is killed: call again with `start` and the pieces from there. One process at a time.

    Args:
        path: the target; its folder must exist.
        pieces: the bytes of the file from `start` on. What their iterator raises passes unchanged, except OSError.
        start: how many bytes of `part_of(path)` to keep, at most its size.
        verify: as in `write_atomic`; a part that it refuses is removed.

    Raises:
        ResourceError, TinygradError: as in `write_atomic`, and whatever `pieces` and `verify` raise.
    """
    part = part_of(path)
    with _explained(path):
        with _opened(part, os.O_WRONLY | os.O_CREAT | os.O_APPEND | NO_LINK) as file:
            system.ftruncate(file, start)
            for piece in pieces:
                _write_all(file, piece)
            system.fsync(file)
        if verify is not None:
            try:
                verify(part)
            except TinygradError:  # not a Ctrl-C: the part may be good
                system.unlink(part)
                raise
        system.replace(part, path)
        _sync_folder(part.parent)


def append_line(path: str | Path, text: str) -> None:
    """Append one line to a log with a single write; a line that does not fit on the disk leaves no fragment.

    Args:
        path: the log; created when absent.
        text: the line, without its line end.

    Raises:
        ResourceError, TinygradError: as in `write_atomic`.
    """
    if not writes.get():
        return
    line = text.encode() + b"\n"
    with _explained(path), _opened(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT) as file:
        before = os.fstat(file).st_size
        try:
            if system.write(file, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            with contextlib.suppress(OSError):
                system.ftruncate(file, before)
            raise


@contextlib.contextmanager
def run_lock(folder: str | Path) -> Iterator[None]:
    """Be the only one that writes into the folder of a run or of a download, while the block lasts.

    The file ``.lock`` in it names the process. What counts is the system's lock on that file, which ends with
    the process, however that ends: what a killed run leaves behind keeps nobody out, and a process id that was
    given out a second time is not mistaken for the first.

    Args:
        folder: of the run; it must exist.

    Raises:
        UsageError: "cannot write (runs/x): process 123 is writing there; wait for it, or choose another folder".
        ResourceError, TinygradError: as in `write_atomic`.
    """
    if not writes.get():
        yield
        return
    path = Path(folder) / ".lock"
    with contextlib.ExitStack() as stack:
        with _explained(path):
            while True:
                file = stack.enter_context(_opened(path, os.O_RDWR | os.O_CREAT | NO_LINK))
                if not system.lock(file):
                    process = os.read(file, 20).decode() or "another"
                    raise UsageError(f"cannot write ({folder}): process {process} is writing there; "
                                     "wait for it, or choose another folder")
                if path.exists() and os.path.samestat(os.fstat(file), path.stat()):
                    break
                stack.close()  # its last holder removed it after it was opened here: another may hold a new one
            system.ftruncate(file, 0)
            system.write(file, str(os.getpid()).encode())
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                system.unlink(path)
            with contextlib.suppress(OSError):  # the file is gone, and what is open ends with the process
                stack.close()


@contextlib.contextmanager
def _opened(path: str | Path, flags: int) -> Iterator[int]:
    """A file descriptor that is closed on every way out; mode 0666 leaves the permissions to the umask."""
    file = system.open(path, flags | getattr(os, "O_BINARY", 0), 0o666)
    try:
        yield file
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one to report
            system.close(file)
        raise
    system.close(file)


def _write_and_sync(path: Path, data: bytes | memoryview) -> None:
    with _opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as file:
        _write_all(file, data)
        system.fsync(file)


def _write_all(file: int, data: bytes | memoryview) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[system.write(file, rest):]


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable; Windows has no such call and needs none."""
    if os.name != "nt":
        with _opened(folder, os.O_RDONLY | os.O_DIRECTORY) as file:
            system.fsync(file)


def _remove_stale(target: Path) -> None:
    """Remove temporaries of `target` that a killed process left behind; what cannot be removed does no harm."""
    pattern = re.compile(re.escape(f".{target.name}.") + r"(\d+)-[0-9a-f]{8}\.tmp")
    with contextlib.suppress(OSError):
        for name in system.listdir(target.parent):
            if (match := pattern.fullmatch(name)) and not _in_use(target.with_name(name), int(match[1])):
                system.unlink(target.with_name(name))


def _in_use(temporary: Path, process: int) -> bool:
    """Whether the process that wrote `temporary` may still be at it."""
    if process == os.getpid():  # in containers the number of a dead process is soon our own
        return temporary in _in_flight
    if os.name == "nt":  # os.kill would end the process there
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


@contextlib.contextmanager
def _explained(path: str | Path) -> Iterator[None]:
    """Turn the operating system's errors into one line that says which file, why, and what to do."""
    try:
        yield
    except TinygradError:
        raise
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResourceError(f"cannot write ({path}): {reason}; free some space or use another disk") from error
        raise TinygradError(f"cannot write ({path}): {reason}; use a path in a folder you can write to") from error
