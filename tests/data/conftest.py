"""What the data tests share: small files, a hub that is down, and one that answers."""

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import datasets
import huggingface_hub
import pytest

Rows = list[dict[str, Any]]


@pytest.fixture(autouse=True)
def _private_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read from or written to the caches of the machine, and no network is used."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / ".datasets")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / ".hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def write_jsonl(tmp_path: Path) -> Callable[[str, Rows], str]:
    def write(name: str, rows: Rows) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)

    return write


class _Hub(BaseHTTPRequestHandler):
    """Answers as the hub does: known repositories with a record, unknown ones with a 401."""

    def do_GET(self) -> None:
        _, _, kind, *name = self.path.split("?")[0].split("/")
        if "/".join(name).startswith("org/known/revision/none"):
            self._answer(404, {}, "RevisionNotFound")
        elif "/".join(name).startswith("org/known"):
            self._answer(200, {"id": "org/known", "_id": "1", "private": False}, None)
        elif "/".join(name).startswith("org/broken"):
            self._answer(500, {}, None)
        else:
            self._answer(401, {}, "RepoNotFound")

    def _answer(self, status: int, body: dict[str, Any], error: str | None) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Type", "application/json")
        if error:
            self.send_header("X-Error-Code", error)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test output clean."""


@pytest.fixture
def answering_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", endpoint)
    yield endpoint
    huggingface_hub.close_session()
    server.shutdown()
    server.server_close()
    thread.join()
