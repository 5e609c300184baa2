"""One large file from a server or a folder: continued after a cut, and checked before its name appears."""

import contextlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from tinygrad_gpt.errors import CheckpointError, DataError, ResourceError, TinygradError
from tinygrad_gpt.files import part_of, sha256_of, write_pieces

if TYPE_CHECKING:
    from requests import Response

__all__ = ["Report", "check_source", "fetch", "is_url", "shown_address"]

Report = Callable[[int, int], None]
"""Called with the bytes that are there and the bytes of the whole file, after every piece."""

TIMEOUT = 10.0, 30.0  # seconds: to connect, and without a byte
WAITS = 0.3, 1.0, 5.0, 15.0, 30.0  # seconds before each further try
PIECE = 2**18  # bytes; what has arrived of a piece is lost in a cut


class _Cut(Exception):
    """What another try may cure: no connection, a lost one, a server that is busy."""


def check_source(source: str) -> None:
    """Refuse what cannot be fetched, before anything is made for it.

    Args:
        source: as in `fetch`.

    Raises:
        TinygradError: `cannot download (ftp://…): the address does not begin with http:// or https://; …`.
        DataError: `cannot read (…): no such file; check --from`.
    """
    if is_url(source):
        if not source.lower().startswith(("http://", "https://")):
            raise TinygradError(f"cannot download ({shown_address(source)}): the address does not begin with "
                                "http:// or https://; use another --from")
    elif not os.path.isfile(source):
        raise DataError(f"cannot read ({source}): no such file; check --from")


def fetch(source: str, path: Path, sha256: str, *, size: int | None = None, report: Report) -> None:
    """Bring one file here; what an earlier call left in `path`.part is used.

    Args:
        source: an `http://` or `https://` address, or a path. Redirects are followed, but not from https to http; a
            server that sends nothing for 30 seconds counts as a lost connection.
        path: the target; its folder must exist.
        sha256: the digest, hexadecimal.
        size: bytes of the file, where it is known: a file of another length is refused at once.
        report: told how far it is.

    Raises:
        CheckpointError: `wrong file (https://…): its sha256 is …, expected …; …`. The file was removed.
        ResourceError: `no room (…): …` before the start, or the disk is full later.
        TinygradError: `cannot download (https://…): connection refused; …`. What has arrived is kept.
    """
    def verify(part: Path) -> None:
        if (found := sha256_of(part)) != sha256:
            raise CheckpointError(f"wrong file ({shown_address(source)}): its sha256 is {found:.16}…, expected "
                                  f"{sha256:.16}…; it was removed, try again or another --from")

    check_source(source)
    if is_url(source):
        _download(source, path, size, verify, report)
    else:
        _copy(source, path, size, verify, report)


def is_url(place: str) -> bool:
    """Whether it names a server; everything else is a path."""
    return "://" in place


def shown_address(url: str) -> str:
    """An address for a message: without user, password and query, which may be secrets.

    Example:
        >>> shown_address("https://me:secret@host/gpt2?token=1")
        'https://…@host/gpt2?…'
    """
    return re.sub(r"\?.*", "?…", re.sub(r"(?<=//)[^/?#]*@", "…@", url), flags=re.DOTALL)


def _copy(source: str, path: Path, size: int | None, verify: Callable[[Path], None], report: Report) -> None:
    total = os.path.getsize(source)
    _check(source, path, total, size, total)
    write_pieces(path, _pieces_of_file(source, total, report), verify=verify)


def _pieces_of_file(source: str, total: int, report: Report) -> Iterator[bytes]:
    try:
        with open(source, "rb") as file:
            while piece := file.read(PIECE):
                yield piece
                report(file.tell(), total)
    except OSError as error:
        raise DataError(f"cannot read ({source}): {(error.strerror or str(error)).lower()}; check --from") from error


def _download(url: str, path: Path, size: int | None, verify: Callable[[Path], None], report: Report) -> None:
    """Try until the file is whole; patience grows with what has arrived, so that being offline is said at once."""
    waits = iter(WAITS[:2])
    while True:
        before = _size_of_part(path)
        try:
            return _try(url, path, before, size, verify, report)
        except CheckpointError:
            if not before or _size_of_part(path):
                raise
            # what was there belonged to another file, and is gone: from the start
        except _Cut as cut:
            if _size_of_part(path) > before:
                waits = iter(WAITS)
            if (wait := next(waits, None)) is None:
                raise TinygradError(f"cannot download ({shown_address(url)}): {cut}; run the command again, it goes on "
                                    "where it stopped, or use another --from") from cut
            time.sleep(wait)


def _size_of_part(path: Path) -> int:
    part = part_of(path)
    return part.stat().st_size if part.exists() else 0


def _try(url: str, path: Path, start: int, size: int | None, verify: Callable[[Path], None], report: Report) -> None:
    """One request for the bytes from `start` on."""
    import requests

    headers = {"Accept-Encoding": "identity"}  # the bytes of the file, not compressed ones
    if start:
        headers["Range"] = f"bytes={start}-"
    with _cuts(url):
        response = requests.get(url, headers=headers, stream=True, timeout=TIMEOUT, hooks={"response": _stay_encrypted})
    with response:
        if response.status_code == requests.codes.range_not_satisfiable:  # the part is whole, as the digest will tell
            write_pieces(path, (), start=start, verify=verify)
            return
        start, total = _extent(response, url, start, size)
        _check(url, path, total, size, total - start)
        write_pieces(path, _pieces_of_response(response, url, start, total, report), start=start, verify=verify)


def _stay_encrypted(response: "Response", **settings: Any) -> None:
    """Refuse a redirect from https:// to http://, before it is followed."""
    target = urljoin(response.url, response.headers.get("Location", ""))
    if response.is_redirect and response.url.lower().startswith("https:") and target.lower().startswith("http:"):
        raise TinygradError(f"cannot download ({shown_address(response.url)}): the server redirects to an address "
                            "without encryption; use another --from")


def _extent(response: "Response", url: str, start: int, size: int | None) -> tuple[int, int]:
    """Where the answer's bytes belong, and the length of the whole file."""
    code, refusal = response.status_code, f"cannot download ({shown_address(url)})"
    if code >= 500 or code in (408, 429):
        raise _Cut(f"the server answers {code} {response.reason}")
    if code not in (200, 206):
        raise TinygradError(f"{refusal}: the server answers {code} {response.reason}; check the address")
    if code == 200:  # all of it: the server knows nothing of ranges
        start = 0
    elif not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
        raise TinygradError(f"{refusal}: the server sends other bytes than it was asked for; use another --from")
    length = response.headers.get("Content-Length", "")
    if length.isascii() and length.isdigit():
        return start, start + int(length)
    if size is None:
        raise TinygradError(f"{refusal}: the server does not say how long the file is; use another --from")
    return start, size


def _check(source: str, path: Path, total: int, size: int | None, missing: int) -> None:
    """Refuse a file of the wrong length, and one for which the disk has no room."""
    if size is not None and total != size:
        raise CheckpointError(f"wrong file ({shown_address(source)}): it has {total:,} bytes, expected {size:,}; "
                              "use another --from")
    free = shutil.disk_usage(path.parent).free
    if missing > free:
        raise ResourceError(f"no room ({path}): it takes {missing:,} bytes more and {free:,} are free; "
                            "free some space, or set TINYGRAD_GPT_CACHE to a folder on another disk")


def _pieces_of_response(response: "Response", url: str, done: int, total: int, report: Report) -> Iterator[bytes]:
    with _cuts(url):
        for piece in response.iter_content(PIECE):
            yield piece
            done += len(piece)
            report(done, total)
            if done > total:  # no server's error may fill the disk; the digest will not fit
                return


@contextlib.contextmanager
def _cuts(url: str) -> Iterator[None]:
    """Tell failures of the network that may pass from those that will not."""
    from requests.exceptions import ChunkedEncodingError, ConnectionError, RequestException, SSLError, Timeout
    from urllib3.exceptions import HTTPError

    try:
        yield
    except SSLError as error:
        raise TinygradError(f"cannot download ({shown_address(url)}): {_reason(error)}; use another --from") from error
    except (ConnectionError, Timeout, ChunkedEncodingError) as error:
        raise _Cut(_reason(error)) from error
    except (RequestException, HTTPError) as error:
        raise TinygradError(f"cannot download ({shown_address(url)}): {_reason(error)}; check the address") from error


def _reason(error: BaseException) -> str:
    """The words of the innermost cause, which are the clearest: connection refused."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()
