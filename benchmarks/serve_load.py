"""How many requests `serve` answers in a second, how long they take, whether one is lost, and whether memory grows.

    python benchmarks/serve_load.py [--requests 10000] [--write]

The server is a process of its own; the clients are threads of this one, each with a connection that it keeps. Every
client sends one text a request to /api/classify, and the answer must be the label that `classify` gives. --write puts
the table into docs/serve.md.
"""

import argparse
import http.client
import json
import os
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psutil
from common import REPOSITORY, environment, machine, table, write_section

PAGE = REPOSITORY / "docs" / "serve.md"
CLIENTS = (1, 8, 64)
PARTS = ("WINNER!! Claim your free prize now", "See you at lunch", "Call 09061701461 from a land line to claim £500",
         "Sorry, I'll call later", "Your parcel is held, pay the fee at http://parcel.example/pay", "ok then, at eight",
         "URGENT! Your mobile was awarded a bonus caller prize", "love you mum, home on sunday with the boys")
TEXTS = [" ".join(PARTS[(i // 8**part) % 8] for part in range(1 + i % 3)) + f" {i}" for i in range(512)]


@dataclass(frozen=True)
class Figures:
    """What a number of clients met."""

    clients: int
    requests: int
    seconds: float
    waits: Sequence[float]
    lost: int
    mib: float
    cpu: float

    def cells(self) -> list[str]:
        """As a row of the table."""
        waits = sorted(self.waits) or [0.0]
        return [f"{self.clients}", f"{self.requests:,}", f"{self.requests / self.seconds:,.0f}",
                *(f"{1000 * waits[min(int(share * len(waits)), len(waits) - 1)]:.1f}" for share in (0.5, 0.99)),
                f"{1000 * waits[-1]:.0f}", f"{1000 * self.cpu / self.requests:.1f}", f"{self.lost}", f"{self.mib:.1f}"]


@contextmanager
def server(threads: int) -> Iterator[tuple[str, int, psutil.Process]]:
    """A server of the shipped classifier: host, port and process."""
    process = subprocess.Popen([sys.executable, "cli.py", "serve", "--model", "sms-spam", "--port", "0"],
                               cwd=REPOSITORY, env=environment(threads) | {"PYTHONUNBUFFERED": "1"}, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    try:
        found = re.search(r"http://([\d.]+):(\d+)/", process.stdout.readline())
        if not found:
            raise SystemExit("the server did not start; try `python cli.py serve`")
        yield found[1], int(found[2]), psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


def load(address: tuple[str, int], process: psutil.Process, clients: int, requests: int,
         expected: dict[str, str]) -> Figures:
    """Let clients send requests, each its next one as soon as it has its answer."""
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    for i in range(requests):
        waiting.put(TEXTS[i % len(TEXTS)])
    waits: list[float] = []
    lost: list[str] = []

    def client() -> None:
        connection = http.client.HTTPConnection(*address, timeout=60)
        while True:
            try:
                text = waiting.get_nowait()
            except queue.Empty:
                break
            began = time.perf_counter()
            try:
                connection.request("POST", "/api/classify", json.dumps({"texts": [text]}),
                                   {"content-type": "application/json"})
                answer = connection.getresponse()
                told = json.loads(answer.read())
                good = answer.status == 200 and told["answers"][0]["label"] == expected[text]
            except (OSError, http.client.HTTPException, ValueError, KeyError):
                connection.close()
                good = False
            waits.append(time.perf_counter() - began)
            if not good:
                lost.append(text)
        connection.close()

    threads = [threading.Thread(target=client) for _ in range(clients)]
    before, began = sum(process.cpu_times()[:2]), time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    return Figures(clients, requests, seconds, waits, len(lost), process.memory_info().rss / 2**20,
                   sum(process.cpu_times()[:2]) - before)


def measure(requests: int, threads: int) -> list[Figures]:
    """Figures of a warm-up by the most clients, of few clients, each with a tenth of the requests, and of the most."""
    from tinygrad_gpt.recipes.classification.classify import classify
    from tinygrad_gpt.runs.saved_model import load_model

    few = max(requests // 10, 64)
    expected = {answer.text: answer.label for answer in classify(load_model("sms-spam"), TEXTS)}
    with server(threads) as (host, port, process):
        return [load((host, port), process, clients, count, expected) for clients, count in
                [(CLIENTS[-1], few), *((clients, few) for clients in CLIENTS[:-1]), (CLIENTS[-1], requests)]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=10_000,
                        help="of the most clients; fewer send a tenth (default: 10,000)")
    parser.add_argument("--threads", type=int, default=1, help="of the server's matrix products (default: 1)")
    parser.add_argument("--write", action="store_true", help="put the table into docs/serve.md")
    arguments = parser.parse_args()
    warm, *figures = measure(arguments.requests, arguments.threads)
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0
    text = "\n\n".join([
        f"`benchmarks/serve_load.py --requests {arguments.requests}`, {machine()}",
        table(("clients", "requests", "requests/s", "median, ms", "99th percentile, ms", "longest, ms",
               "server's CPU, ms a request", "lost", "memory behind them, MiB"), (each.cells() for each in figures)),
        f"The shipped spam filter, one text a request, {arguments.threads} thread of matrix products; server and "
        f"clients share the machine, whose load was {busy:.1f} at the end. Lost is every answer that is not the label "
        f"which `classify` gives. Behind a warm-up of {warm.requests:,} requests the server held {warm.mib:.1f} MiB."])
    print(text)
    if arguments.write:
        write_section("Under load", text, PAGE)


if __name__ == "__main__":
    main()
