"""A server on the loopback address that misbehaves as it is told."""

import contextlib
import http.server
import re
import threading


class Server:
    """Serves `files` (path -> bytes); each request takes the next of `plan` (see `Handler`), or is served well.

    Attributes:
        asked: (path, Range header) of every request.
    """

    def __init__(self, url, files):
        self.url, self.files, self.plan, self.asked = url, files, [], []


@contextlib.contextmanager
def serving(files):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        listener.daemon_threads = True
        listener.state = Server(f"http://127.0.0.1:{listener.server_port}", files)
        thread = threading.Thread(target=listener.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield listener.state
        finally:
            listener.shutdown()
            thread.join()


class Handler(http.server.BaseHTTPRequestHandler):
    """What a plan may say: ("cut", bytes) · ("status", code) · ("no range",) · ("other range",) · ("chunked", extra) ·
    ("redirect", path) · ("length", text)."""

    def do_GET(self):
        state = self.server.state
        state.asked.append((self.path, self.headers.get("Range")))
        what, *more = state.plan.pop(0) if state.plan else ("serve",)
        data = state.files.get(self.path)
        if what == "status":
            return self.answer(more[0])
        if what == "redirect":
            return self.answer(302, Location=state.url + more[0])
        if data is None:
            return self.answer(404)
        first = int(re.fullmatch(r"bytes=(\d+)-", self.headers["Range"])[1]) if "Range" in self.headers else 0
        if what == "no range" or not first:
            return self.send(200, data, what, *more)
        if first >= len(data):
            return self.answer(416)
        shown = first + 1 if what == "other range" else first
        return self.send(206, data[first:], what, *more, Content_Range=f"bytes {shown}-{len(data) - 1}/{len(data)}")

    def send(self, code, data, what, *more, **headers):
        if what == "chunked":
            self.answer(code, Transfer_Encoding="chunked", **headers)
            data += b"x" * more[0]
            self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data))
            return
        self.answer(code, Content_Length=more[0] if what == "length" else str(len(data)), **headers)
        self.wfile.write(data[:more[0]] if what == "cut" else data)

    def answer(self, code, **headers):
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def log_message(self, *args):
        pass
