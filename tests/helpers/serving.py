"""The server of `serve` on a free port, in a thread of the test."""

import contextlib
import threading


@contextlib.contextmanager
def answering(models, **limits):
    """A server on a free port, in a thread of its own."""
    from tinygrad_gpt.serve.app import Limits
    from tinygrad_gpt.serve.server import Server, listening

    ready = threading.Event()
    with listening("127.0.0.1", 0) as listener:
        server = Server(listener, models, Limits(**limits), ready.set)
        thread = threading.Thread(target=server.answer)
        thread.start()
        assert ready.wait(20)
        try:
            yield listener.url, server
        finally:
            server.should_exit = True
            thread.join(20)
