"""A checkpoint, a server on this machine that gives it, and a table that knows it."""

import hashlib
import io
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from weights import WEIGHTS, Source, Weight

HTML = b"\n<!DOCTYPE html><html><body>Quota exceeded</body></html>"


STATE = {"conv.weight": torch.arange(6.0).reshape(2, 3), "bn.num_batches_tracked": torch.tensor(7)}


def checkpoint_bytes(content=STATE, **how):
    buffer = io.BytesIO()
    torch.save(content, buffer, **how)
    return buffer.getvalue()


GOOD = checkpoint_bytes()
GOOD_HASH = hashlib.sha256(GOOD).hexdigest()


@pytest.fixture(autouse=True)
def nothing_of_this_machine(monkeypatch, tmp_path):
    """No real weights, hub folder or proxy takes part in a test."""
    monkeypatch.setenv("MSNET_WEIGHTS", str(tmp_path / "home"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))


@pytest.fixture
def home(tmp_path):
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def server():
    """Address of a server that answers /good, /html, /wrong, /cut (half of what it announces) and 404."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self):
            bodies = {"/good": GOOD, "/html": HTML, "/wrong": GOOD[::-1], "/cut": GOOD, "/half": GOOD[: len(GOOD) // 2]}
            body = bodies.get(self.path)
            if body is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if self.path == "/cut" else body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.fixture
def table_of(monkeypatch):
    """table_of(url, ..., sha256=) puts weights `small` in the table, with one source a url, all of one file."""

    def put(*urls, sha256=GOOD_HASH[:8], size=None):
        sources = tuple(Source("small.pth", url, sha256, size) for url in urls)
        monkeypatch.setitem(WEIGHTS, "small", Weight("small", sources, "MIT", "a test"))

    put("http://127.0.0.1:1/small.pth")
    return put


def names(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []
