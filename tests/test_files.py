"""A write is whole or did not happen, whatever fails or dies at whichever operation."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tinygrad_gpt import files
from tinygrad_gpt.errors import CheckpointError, ResourceError, TinygradError, UsageError
from tinygrad_gpt.files import append_line, digests_of, part_of, run_lock, sha256_of, write_atomic, write_pieces

OLD, NEW = b"old " * 1000, b"new " * 1500

PIECES = [NEW[:1000], NEW[1000:1001], b"", NEW[1001:]]

# A child process that writes NEW over the file given, and is killed at its k-th call, before or after it acts.
CHILD = """
import os, signal, sys
from tinygrad_gpt import files
path, k, when = sys.argv[1], int(sys.argv[2]), sys.argv[3]
count = 0
def wrapped(call):
    def counting(*args):
        global count
        count += 1
        if count == k and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = call(*args)
        if count == k:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return counting
for name, call in list(vars(files.system).items()):
    setattr(files.system, name, wrapped(call))
short = files.system.write
files.system.write = lambda file, data: short(file, data[:2000])
{write}
"""
WRITE_ATOMIC = 'files.write_atomic(path, b"new " * 1500)'
WRITE_PIECES = 'files.write_pieces(path, [b"new " * 250, b"new " * 1250])'


def everything_in(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def target(tmp_path):
    path = tmp_path / "model.h5"
    path.write_bytes(OLD)
    return path


@pytest.fixture
def fail_at(monkeypatch):
    """Let the k-th call of the operating system fail, or every call from the k-th on; returns the calls made."""

    def install(k, code, *, from_then_on=False):
        calls = []

        def failing(name, call):
            def wrapper(*args):
                calls.append(name)
                if len(calls) == k or (from_then_on and len(calls) > k):
                    raise OSError(code, os.strerror(code))
                return call(*args)

            return wrapper

        for name, call in vars(files.system).items():
            monkeypatch.setattr(files.system, name, failing(name, call))
        return calls

    return install


def test_files_of_one_name_have_digests_of_their_own(tmp_path):
    files = [tmp_path / folder / "run" / "model.h5" for folder in "ab"] + [tmp_path / "data.csv"]
    for i, file in enumerate(files):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bytes([i]))
    assert digests_of(files) == {"model.h5": sha256_of(files[0]), "model.h5 2": sha256_of(files[1]),
                                 "data.csv": sha256_of(files[2])}


def test_new_file_replaces_the_old_one(target):
    write_atomic(target, NEW)
    assert target.read_bytes() == NEW
    assert everything_in(target.parent) == ["model.h5"]


def test_the_order_of_the_protocol(target, fail_at):
    calls = fail_at(0, errno.EIO)
    write_atomic(target, NEW, verify=lambda path: calls.append("verify"))
    assert calls == ["listdir", "open", "write", "fsync", "close", "verify", "replace", "open", "fsync", "close"]


@pytest.mark.parametrize("from_then_on", [False, True])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("k", range(1, 10))
def test_failure_at_every_operation(target, fail_at, monkeypatch, k, code, from_then_on):
    calls = fail_at(k, code, from_then_on=from_then_on)
    reported = None
    try:
        write_atomic(target, NEW)
    except TinygradError as error:
        reported = error
    monkeypatch.undo()
    assert len(calls) >= k
    assert target.read_bytes() == (NEW if reported is None or k > 6 else OLD)
    assert (reported is None) == (k == 1 and not from_then_on)  # a folder that cannot be listed is not a failed write
    if reported is not None:
        assert isinstance(reported, ResourceError) == (code != errno.EIO)
        assert str(target) in str(reported)
        assert "\n" not in str(reported)
    stale = [name for name in everything_in(target.parent) if name != "model.h5"]
    assert len(stale) <= (1 if from_then_on else 0)
    write_atomic(target, NEW)
    assert everything_in(target.parent) == ["model.h5"]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("k", range(1, 12))
def test_killed_at_every_operation(target, k, when):
    child = subprocess.run(
        [sys.executable, "-c", CHILD.replace("{write}", WRITE_ATOMIC), str(target), str(k), when],
        cwd=Path(files.__file__).parents[1], check=False, capture_output=True, timeout=60,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr.decode()
    renamed = k > 8 or (k == 8 and when == "after")
    assert target.read_bytes() == (NEW if renamed else OLD)
    stale = [name for name in everything_in(target.parent) if name != "model.h5"]
    assert len(stale) == (0 if renamed or k == 1 or (k == 2 and when == "before") else 1)
    write_atomic(target, NEW)
    assert everything_in(target.parent) == ["model.h5"]
    assert target.read_bytes() == NEW


def test_short_writes_are_continued(target, monkeypatch):
    write = os.write
    monkeypatch.setattr(files.system, "write", lambda file, data: write(file, data[:7]))
    write_atomic(target, memoryview(NEW))
    assert target.read_bytes() == NEW


def test_verify_sees_the_complete_temporary_file_and_can_refuse_it(target):
    def refuse(path):
        assert path.read_bytes() == NEW
        assert path.parent == target.parent
        assert path.name.startswith(".model.h5.")
        raise CheckpointError("not what was saved")

    with pytest.raises(CheckpointError, match="not what was saved"):
        write_atomic(target, NEW, verify=refuse)
    assert target.read_bytes() == OLD
    assert everything_in(target.parent) == ["model.h5"]


def test_an_interrupt_leaves_nothing_behind(target):
    def interrupt(path):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomic(target, NEW, verify=interrupt)
    assert everything_in(target.parent) == ["model.h5"]


def test_temporaries_of_living_processes_other_targets_and_foreign_files_stay(target):
    no_process = f".model.h5.{2**40}-00000000.tmp"
    keep = [f".model.h5.{os.getppid()}-00000000.tmp", ".other.h5.1-00000000.tmp", ".model.h5.tmp", no_process]
    for name in keep:
        target.with_name(name).touch()
    target.with_name(f".model.h5.{os.getpid()}-00000000.tmp").touch()  # an earlier process had ours
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    target.with_name(f".model.h5.{child.pid}-00000000.tmp").touch()
    write_atomic(target, NEW)
    assert everything_in(target.parent) == sorted([*keep, "model.h5"])


def test_a_write_inside_a_write_does_not_remove_its_temporary(target):
    write_atomic(target, NEW, verify=lambda path: write_atomic(target, b"inner"))
    assert target.read_bytes() == NEW
    assert everything_in(target.parent) == ["model.h5"]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_mode_follows_the_umask(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write_atomic(tmp_path / "a", b"x")
        append_line(tmp_path / "b", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == mode
    assert (tmp_path / "b").stat().st_mode & 0o777 == mode


def test_a_link_is_followed(tmp_path, target):
    link = tmp_path / "latest"
    link.symlink_to("model.h5")
    write_atomic(link, NEW)
    assert link.is_symlink()
    assert target.read_bytes() == NEW


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("absent/x", "no such file or directory"), ("model.h5/x", "not a directory"),
        (".", "not a regular file"), ("/dev/null", "not a regular file"), ("x" * 300, "name too long"),
    ],
)
def test_impossible_targets_are_one_line(target, name, reason):
    path = target.parent / name
    with pytest.raises(TinygradError) as caught:
        write_atomic(path, b"")
    assert str(caught.value).startswith(f"cannot write ({path}): ")
    assert reason in str(caught.value)
    assert str(caught.value).endswith("; use a path in a folder you can write to")
    assert everything_in(target.parent) == ["model.h5"]


# -- write_pieces: nothing under the name before it is whole, and what was written is of use to the next call


@pytest.fixture
def absent(tmp_path):
    return tmp_path / "model.safetensors"


def continue_with_pieces(path):
    """What a caller does after a failure: keep the part, write the rest."""
    part = part_of(path)
    start = part.stat().st_size if part.exists() else 0
    assert start == 0 or part.read_bytes() == NEW[:start]
    write_pieces(path, [NEW[start:]], start=start)
    assert path.read_bytes() == NEW
    assert everything_in(path.parent) == [path.name]


def test_pieces_become_a_file_in_the_order_of_the_protocol(absent, fail_at):
    calls = fail_at(0, errno.EIO)
    write_pieces(absent, PIECES, verify=lambda path: calls.append("verify"))
    assert calls == ["open", "ftruncate", "write", "write", "write", "fsync", "close", "verify", "replace",
                     "open", "fsync", "close"]
    assert absent.read_bytes() == NEW
    assert everything_in(absent.parent) == ["model.safetensors"]


@pytest.mark.parametrize("from_then_on", [False, True])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("k", range(1, 12))
def test_pieces_fail_at_every_operation(absent, fail_at, monkeypatch, k, code, from_then_on):
    fail_at(k, code, from_then_on=from_then_on)
    with pytest.raises(TinygradError, match="cannot write") as caught:
        write_pieces(absent, PIECES)
    monkeypatch.undo()
    assert isinstance(caught.value, ResourceError) == (code == errno.ENOSPC)
    assert str(absent) in str(caught.value)
    assert absent.exists() == (k > 8)
    if absent.exists():
        assert absent.read_bytes() == NEW
    else:
        continue_with_pieces(absent)


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize("k", range(1, 13))
def test_pieces_killed_at_every_operation(absent, k):
    child = subprocess.run(
        [sys.executable, "-c", CHILD.replace("{write}", WRITE_PIECES), str(absent), str(k), "before"],
        cwd=Path(files.__file__).parents[1], check=False, capture_output=True, timeout=60,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr.decode()
    assert absent.exists() == (k > 9)
    if absent.exists():
        assert absent.read_bytes() == NEW
        assert everything_in(absent.parent) == [absent.name]
    else:
        continue_with_pieces(absent)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError("the line is cut")])
def test_pieces_that_stop_coming_leave_a_part(absent, error):
    def pieces():
        yield NEW[:1234]
        raise error

    with pytest.raises(error if isinstance(error, type) else type(error)):
        write_pieces(absent, pieces())
    assert everything_in(absent.parent) == ["model.safetensors.part"]
    assert part_of(absent).stat().st_size == 1234
    continue_with_pieces(absent)


def test_pieces_from_the_start_again(absent):
    part_of(absent).write_bytes(b"x" * 9999)
    write_pieces(absent, PIECES, start=0)
    assert absent.read_bytes() == NEW


@pytest.mark.skipif(os.name == "nt", reason="links")
def test_a_link_in_the_place_of_a_part_or_a_lock_is_not_followed(tmp_path):
    other = tmp_path / "other"
    other.write_text("precious")
    for name in ("new.part", ".lock"):
        (tmp_path / name).symlink_to(other)
    with pytest.raises(TinygradError, match="cannot write"):
        write_pieces(tmp_path / "new", [b"x"])
    with pytest.raises(TinygradError, match="cannot write"), run_lock(tmp_path):
        pytest.fail("the lock was taken")
    assert other.read_text() == "precious"


def test_a_part_that_is_refused_is_removed_but_not_after_an_interrupt(absent):
    def refuse(path):
        assert path.read_bytes() == NEW
        raise CheckpointError("not what was wanted")

    def interrupt(path):
        raise KeyboardInterrupt

    with pytest.raises(CheckpointError, match="not what was wanted"):
        write_pieces(absent, PIECES, verify=refuse)
    assert everything_in(absent.parent) == []
    with pytest.raises(KeyboardInterrupt):
        write_pieces(absent, PIECES, verify=interrupt)
    assert part_of(absent).read_bytes() == NEW
    continue_with_pieces(absent)


def test_append_line_keeps_what_was_there(tmp_path):
    log = tmp_path / "log.jsonl"
    append_line(log, '{"step": 1}')
    append_line(log, '{"text": "ü"}')
    assert log.read_text(encoding="utf-8") == '{"step": 1}\n{"text": "ü"}\n'


def test_append_line_that_does_not_fit_leaves_no_fragment(tmp_path, monkeypatch):
    log = tmp_path / "log.jsonl"
    append_line(log, "first")
    write = os.write
    monkeypatch.setattr(files.system, "write", lambda file, data: write(file, data[:3]))
    with pytest.raises(ResourceError, match=r"no space left.*free some space"):
        append_line(log, "second")
    assert log.read_text() == "first\n"


@pytest.mark.parametrize("k", [1, 2, 3])
def test_append_line_fails_in_one_line(tmp_path, fail_at, monkeypatch, k):
    log = tmp_path / "log.jsonl"
    append_line(log, "first")
    fail_at(k, errno.EIO)
    with pytest.raises(TinygradError, match="cannot write"):
        append_line(log, "second")
    monkeypatch.undo()
    assert log.read_text() in ("first\n", "first\nsecond\n")


# -- one process writes into the folder of a run

HOLDER = """
import sys
from tinygrad_gpt.files import run_lock
with run_lock(sys.argv[1]):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """A second process that holds the lock of the folder until its stdin is closed."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], cwd=Path(files.__file__).parents[1],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "locked\n"
        yield process
        process.kill()


def is_refused(folder, process):
    with pytest.raises(UsageError) as caught, run_lock(folder):
        pass
    return str(caught.value) == (f"cannot write ({folder}): process {process} is writing there; "
                                 "wait for it, or choose another folder")


def test_a_living_process_keeps_others_out_until_it_is_done(tmp_path, holder):
    assert is_refused(tmp_path, holder.pid)
    assert is_refused(tmp_path, holder.pid)  # the refusal took nothing away
    holder.communicate(timeout=60)
    assert everything_in(tmp_path) == []
    with run_lock(tmp_path):
        assert (tmp_path / ".lock").read_text() == str(os.getpid())
    assert everything_in(tmp_path) == []


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path, holder):
    holder.kill()
    holder.wait()
    assert (tmp_path / ".lock").read_text() == str(holder.pid)
    with run_lock(tmp_path):
        assert (tmp_path / ".lock").read_text() == str(os.getpid())
        assert is_refused(tmp_path, os.getpid())
    assert everything_in(tmp_path) == []


def test_the_process_that_has_the_number_of_a_dead_one_now_is_not_its_holder(tmp_path):
    (tmp_path / ".lock").write_text(str(os.getppid()))  # alive, and never held it
    with run_lock(tmp_path):
        assert (tmp_path / ".lock").read_text() == str(os.getpid())


def test_a_lock_file_removed_between_opening_and_locking_locks_nobody(tmp_path, monkeypatch):
    lock, calls = files.system.lock, []

    def removed_meanwhile(file):
        calls.append(file)
        if len(calls) == 1:
            (tmp_path / ".lock").unlink()
        return lock(file)

    monkeypatch.setattr(files.system, "lock", removed_meanwhile)
    with run_lock(tmp_path):
        assert len(calls) == 2
        assert is_refused(tmp_path, os.getpid())


def test_an_error_inside_frees_the_lock_and_passes(tmp_path):
    with pytest.raises(KeyError), run_lock(tmp_path):
        raise KeyError
    assert everything_in(tmp_path) == []
    with pytest.raises(OSError, match=r"^mine$"), run_lock(tmp_path):  # not explained as if the lock had failed
        raise OSError("mine")


@pytest.mark.parametrize("k", range(1, 5))
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_lock_that_cannot_be_made_is_one_line(tmp_path, fail_at, monkeypatch, k, code):
    fail_at(k, code)
    with pytest.raises(TinygradError, match=r"^cannot write \(.*\.lock\): ") as caught, run_lock(tmp_path):
        pass
    monkeypatch.undo()
    assert isinstance(caught.value, ResourceError) == (code == errno.ENOSPC)
    with run_lock(tmp_path):
        assert everything_in(tmp_path) == [".lock"]
    with pytest.raises(TinygradError, match="cannot write"), run_lock(tmp_path / "absent"):
        pass
