"""The process that runs a student's file: it computes what it is asked for, and judges nothing.

It is started as a script, ``python child.py PACKAGE FOLDER FILE NAME``, for a function of Tensors with the names of
the ops that it does not get behind it. It reads requests from stdin and writes replies to
stdout, each a line of JSON and the bytes of arrays. What the student's code may not do ends it with one line. This
keeps mistakes from doing harm, and a copied gradient from counting; it is no wall against an attacker who knows Python.
"""

import io
import json
import os
import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np

MEMORY = 1 << 30  # bytes of addresses that the student's code may take on top of the libraries
SECONDS = 5  # of processor time
FILES = 1 << 20  # bytes of a file that it writes
PRINTED = 1 << 16  # characters that it prints
LARGEST = 1 << 20  # bytes of an array that it returns
KEPT = 64  # forward passes whose pullbacks can be called
NO_PAIR = "returns no pair: end with `return y, (grad_x, …)`, one pullback for each argument"
NO_COMMA = ("one function in place of the pullbacks returns all gradients; for a single one write a comma behind it: "
            "`(grad_x,)`")
DIFFERENTIATORS = ("autograd", "jax", "mxnet", "tensorflow", "torch")
PROGRAMS = ("os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system", "pty.spawn",
            "subprocess.Popen")
FILE_EVENTS = ("os.chmod", "os.chown", "os.link", "os.mkdir", "os.mkfifo", "os.remove", "os.rename", "os.rmdir",
               "os.symlink", "os.truncate", "os.utime", "shutil.", "sqlite3.", "tempfile.")
PROCESS_EVENTS = ("ctypes.", "os.kill", "os.killpg", "resource.", "signal.")


class Refused(BaseException):
    """The student's code did what it may not do; no `except Exception` of it catches this."""


class Guard:
    """The audit hook: what the student's code may not do, from `start` on. The first reason stays."""

    def __init__(self, package: Path, folder: Path):
        self.package, self.folder = str(package) + os.sep, str(folder) + os.sep
        self.reason = ""

    def start(self) -> None:
        """Watch from now on; it cannot be undone."""
        sys.addaudithook(self._watch)

    def refuse(self, reason: str) -> None:
        """Note the reason and stop.

        Raises:
            Refused: always.
        """
        self.reason = self.reason or reason
        raise Refused(reason)

    def _watch(self, event: str, args: tuple) -> None:
        if event == "open":
            self._opened(*args)
        elif event == "import":
            self._imported(args[0])
        elif event.startswith(PROGRAMS):
            self.refuse("starts another program")
        elif event.startswith("socket."):
            self.refuse("uses the network")
        elif event.startswith(FILE_EVENTS):
            self.refuse(f"changes files ({event})")
        elif event.startswith(PROCESS_EVENTS):
            self.refuse(f"changes the process that grades it ({event})")

    def _imported(self, name: str) -> None:
        top = name.split(".")[0]
        if top == "tinygrad_gpt":
            self.refuse(f"imports {name}: the gradients are there already; write them with xp and math")
        if top in DIFFERENTIATORS:
            self.refuse(f"imports {top}, which differentiates by itself")

    def _opened(self, path, mode, flags) -> None:
        if isinstance(path, int):
            return
        real = os.path.realpath(os.fsdecode(path))
        writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
        if writes and (not real.startswith(self.folder) or real.endswith((".py", ".json"))):
            self.refuse(f"writes a file outside its folder, or one of the course ({os.fsdecode(path)})")
        if not writes and real.startswith(self.package):
            self.refuse(f"reads the package, which holds the gradients ({os.path.basename(real)})")


class Printed(io.TextIOBase):
    """Takes what the student's code prints, up to a limit."""

    def __init__(self, refuse: Callable[[str], None]):
        self.refuse, self.text, self.count = refuse, "", 0

    def write(self, text: str) -> int:
        self.count += len(text)
        self.text = (self.text + text)[:2000]
        if self.count > PRINTED:
            self.refuse(f"prints more than {PRINTED:,} characters")
        return len(text)

    def writable(self) -> bool:
        return True

    def taken(self) -> str:
        """The text since the last call."""
        text, self.text = self.text, ""
        return text


def send(stream, header: dict, arrays=()) -> None:
    """Write one message: a line of JSON and the bytes of the arrays."""
    parts = [np.asarray(a) for a in arrays]
    about = [{"dtype": a.dtype.str, "shape": a.shape, "layout": _layout(a)} for a in parts]
    stream.write(json.dumps({**header, "arrays": about}).encode() + b"\n")
    for a in parts:
        stream.write(np.ascontiguousarray(a).tobytes())
    stream.flush()


def receive(stream) -> tuple[dict, list[np.ndarray]]:
    """Read one message.

    Raises:
        EOFError: the other side ended.
        ValueError: it is no message, or an array is too large or not one of numbers.
    """
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    header = json.loads(line)
    arrays = []
    for about in header["arrays"]:
        dtype = np.dtype(about["dtype"])
        size = int(np.prod(about["shape"], dtype=object)) * dtype.itemsize
        if dtype.kind not in "biufc" or size > LARGEST:
            raise ValueError(f"an array of {about['shape']} {dtype}")
        data = stream.read(size)
        if len(data) < size:
            raise EOFError
        arrays.append(_laid_out(np.frombuffer(data, dtype).reshape(about["shape"]), about["layout"]))
    return header, arrays


def _layout(a: np.ndarray) -> str:
    """How an array lies in memory: "C", "F", "reversed" or "strided"."""
    if a.flags.c_contiguous:
        return "C"
    if a.flags.f_contiguous:
        return "F"
    return "reversed" if a.strides[0] < 0 else "strided"


def _laid_out(x: np.ndarray, layout: str) -> np.ndarray:
    if layout == "F":
        x = np.asfortranarray(x)
    elif layout == "reversed":
        x = np.ascontiguousarray(x[::-1])[::-1]
    elif layout == "strided":
        x = np.repeat(x, 2, axis=-1)[..., ::2]
    x.flags.writeable = False
    return x


class Child:
    """Answers requests: `forward` calls the student's function, `pull` one of the pullbacks that it returned."""

    def __init__(self, xp, call: Callable, guard: Guard, printed: Printed):
        self.xp, self.call, self.guard, self.printed = xp, call, guard, printed
        self.calls: dict = {}
        self.function: Callable | None = None

    def load(self, path: Path, name: str) -> tuple[dict, list]:
        """Run the student's file and take the function of this name."""
        namespace: dict = {"__name__": path.stem, "__file__": str(path)}
        exec(compile(path.read_bytes(), str(path), "exec"), namespace)
        self.function = namespace.get(name)
        if not callable(self.function):
            raise LookupError(f"the file has no function {name}: leave its name as it was")
        return {}, []

    def answer(self, header: dict, arrays: list) -> tuple[dict, list]:
        """The reply to a request."""
        given = [None if i is None else arrays[i] for i in header["given"]]
        if header["do"] == "forward":
            settings = {key: tuple(v) if isinstance(v, list) else v for key, v in header["settings"].items()}
            returned = self.call(self.function, self.xp, given, settings)
            if not (isinstance(returned, tuple) and len(returned) == 2):
                return {"error": NO_PAIR}, []
            y, pullbacks = returned
            self.calls[header["call"]] = pullbacks
            self.calls.pop(header["call"] - KEPT, None)
            there = None if callable(pullbacks) else [pullback is not None for pullback in pullbacks]
            return {"pullbacks": there}, [_array(y, "the result")]
        return self._pulled(self.calls[header["call"]], header["index"], given[0])

    def _pulled(self, pullbacks, index: int | None, g) -> tuple[dict, list]:
        """The gradient of one argument, or all of a joint function."""
        parts = (_of(pullbacks[index], g),) if index is not None else pullbacks(g)
        if not isinstance(parts, (tuple, list)):
            return {"error": NO_COMMA}, []
        there = [None if part is None else _array(part, "a gradient") for part in parts]
        return {"parts": [part is not None for part in there]}, [part for part in there if part is not None]


def _of(pullback, g):
    part = pullback(g)
    if part is None:
        raise TypeError(f"returns nothing: the `return` of {getattr(pullback, '__name__', 'a pullback')} is missing")
    return part


def _array(value, what: str) -> np.ndarray:
    if not isinstance(value, (np.ndarray, np.generic, int, float)):
        raise TypeError(f"{what} is {type(value).__name__}, not an array")
    array = np.asarray(value)
    if array.nbytes > LARGEST:
        raise ValueError(f"{what} has the shape {array.shape}")
    return array


def _namespace(hidden: list[str]):
    """What a student's function is given first, and how it is called: arrays with ``xp``, or Tensors with ``ops``."""
    if not hidden:
        from tinygrad_gpt.backend import get_backend

        return get_backend("numpy").namespace, lambda function, xp, arrays, settings: function(xp, *arrays, **settings)
    from tinygrad_gpt import ops
    from tinygrad_gpt.course.tensors import on_tensors

    for name in [name for name in sys.modules if name.startswith("tinygrad_gpt.ops")]:
        del sys.modules[name]  # so that an import of it is noticed
    given = {name: getattr(ops, name) for name in ops.__all__ if name not in hidden[0].split(",")}
    return types.SimpleNamespace(**given), lambda function, ops, arrays, _: on_tensors(function, ops, arrays)


def _limit() -> None:
    """Limits of the system on this process, where it has them."""
    try:
        import resource
    except ImportError:  # Windows: the parent's clock is left
        return
    pages = Path("/proc/self/statm")
    taken = int(pages.read_text().split()[0]) * resource.getpagesize() if pages.exists() else 1 << 30
    for kind, most in ((resource.RLIMIT_CPU, SECONDS), (resource.RLIMIT_FSIZE, FILES),
                       (resource.RLIMIT_AS, taken + MEMORY), (resource.RLIMIT_CORE, 0)):
        _, hard = resource.getrlimit(kind)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, hard))


def main() -> None:
    """Serve requests until stdin ends."""
    package, folder, path = (Path(text).resolve() for text in sys.argv[1:4])
    sys.path.insert(0, str(package.parent))
    xp, call = _namespace(sys.argv[5:])
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    for stream, mode in ((0, os.O_RDONLY), (1, os.O_WRONLY)):  # the student's code has neither
        os.dup2(os.open(os.devnull, mode), stream)
    sys.stdin = None  # type: ignore[assignment]
    guard = Guard(package, folder)
    printed = sys.stdout = sys.stderr = Printed(guard.refuse)
    np.seterr(all="ignore")
    child = Child(xp, call, guard, printed)
    _limit()
    sys.modules["__main__"] = types.ModuleType("__main__")  # not this one, whose functions could be replaced
    guard.start()
    reply = _guarded(child, lambda: child.load(path, sys.argv[4]))
    send(replies, *reply)
    while True:
        try:
            request = receive(requests)
        except EOFError:
            return
        send(replies, *_guarded(child, lambda request=request: child.answer(*request)))


def _guarded(child: Child, compute) -> tuple[dict, list]:
    """The reply of a computation, or its error as one."""
    header: dict = {}
    arrays: list = []
    try:
        header, arrays = compute()
    except NotImplementedError:
        header = {"error": "not written yet"}
    except MemoryError:
        header = {"stopped": f"takes more than {MEMORY >> 30} GiB of memory"}
    except (SystemExit, KeyboardInterrupt) as error:
        header = {"stopped": f"ends the program ({type(error).__name__})"}
    except BaseException as error:
        header = {"error": _one_line(error)}
    if child.guard.reason:
        header, arrays = {"stopped": child.guard.reason}, []
    return {**header, "printed": child.printed.taken()}, arrays


def _one_line(error: BaseException) -> str:
    if "read-only" in str(error):
        return "writes in place into an array that it was given: compute a new one"
    text = " ".join(str(error).split())[:150]
    if isinstance(error, (LookupError, TypeError)) and text.startswith(("the file has", "returns nothing", "a gradient",
                                                                       "the result")):
        return text
    return f"raises {type(error).__name__}{': ' if text else ''}{text}{_line(error)}"


def _line(error: BaseException) -> str:
    """The line of the student's file where an error was raised."""
    at, frame = "", error.__traceback__
    while frame:
        if frame.tb_frame.f_code.co_filename == str(Path(sys.argv[3]).resolve()):
            at = f" (line {frame.tb_lineno})"
        frame = frame.tb_next
    return at


if __name__ == "__main__":
    main()
