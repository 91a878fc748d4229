"""Headless Chromium over the W3C WebDriver protocol, which needs nothing but its driver."""

import base64
import json
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""The protocol's name of an element's number."""

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
MISSING = (
    "chromium and chromedriver are not installed (Debian: apt-get install chromium chromium-driver)"
)


class Browser:
    """One tab."""

    def __init__(self, session: str) -> None:
        self._session = session

    def open(self, page: Path) -> None:
        """Load a page from disk and wait until it says that it is ready."""
        self._post("url", {"url": page.resolve().as_uri()})
        self.wait("return document.documentElement.dataset.ready === 'true'")

    def run(self, script: str, *arguments: Any) -> Any:
        """The value of a JavaScript function's body."""
        return self._post("execute/sync", {"script": script, "args": list(arguments)})

    def wait(self, condition: str, *arguments: Any) -> Any:
        """The first true value of a function's body; an AssertionError after ten seconds."""
        script = """
            const [body, given, done] = arguments;
            const condition = new Function(body);
            const end = performance.now() + 10000;
            (function look() {
              const value = condition.apply(null, given);
              if (value || performance.now() > end) done(value);
              else setTimeout(look, 20);
            })();
        """
        value = self._post(
            "execute/async", {"script": script, "args": [condition, list(arguments)]}
        )
        assert value, f"never true: {condition}"
        return value

    def text(self, selector: str) -> str:
        return self.run("return document.querySelector(arguments[0]).textContent", selector)

    def count(self, selector: str) -> int:
        return self.run("return document.querySelectorAll(arguments[0]).length", selector)

    def click(self, selector: str) -> None:
        self._post(f"element/{self._find(selector)}/click", {})

    def type(self, selector: str, text: str) -> None:
        """Replace what a field holds."""
        element = self._find(selector)
        self._post(f"element/{element}/clear", {})
        self._post(f"element/{element}/value", {"text": text})

    def choose(self, selector: str, value: str) -> None:
        """Choose an option of a select element, as far as the page can tell."""
        script = """
            const select = document.querySelector(arguments[0]);
            select.value = arguments[1];
            select.dispatchEvent(new Event("change"));
        """
        self.run(script, selector, value)

    def keys(self, *names: str) -> None:
        """Press and release keys at whatever has the focus; names as in ``KEYS``, or characters."""
        pressed = [KEYS.get(name, name) for name in names]
        actions = [{"type": kind, "value": key} for key in pressed for kind in ("keyDown", "keyUp")]
        self._post("actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def hover(self, selector: str) -> None:
        origin = {ELEMENT: self._find(selector)}
        move = {"type": "pointerMove", "duration": 0, "x": 0, "y": 0, "origin": origin}
        self._post("actions", {"actions": [{"type": "pointer", "id": "mouse", "actions": [move]}]})

    def resize(self, width: int, height: int) -> None:
        """The page's own size; smaller than a window can be made."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._devtools("Emulation.setDeviceMetricsOverride", size)

    def prefer(self, scheme: str) -> None:
        """``light`` or ``dark``; without motion, so that nothing moves between a look and a click."""
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        self._devtools("Emulation.setEmulatedMedia", {"features": features})

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._get("screenshot")))

    def console(self) -> list[str]:
        """Warnings and errors since the last call, without those of the browser about itself."""
        entries = self._post("se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] in ("WARNING", "SEVERE")]

    def _find(self, selector: str) -> str:
        found = self._post("element", {"using": "css selector", "value": selector})
        return found[ELEMENT]

    def _devtools(self, command: str, parameters: dict[str, Any]) -> Any:
        return self._post("goog/cdp/execute", {"cmd": command, "params": parameters})

    def _get(self, path: str) -> Any:
        return _call(f"{self._session}/{path}", None)

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        return _call(f"{self._session}/{path}", body)


KEYS = {
    "Tab": "\ue004",
    "Enter": "\ue007",
    "PageDown": "\ue00f",
    "End": "\ue010",
    "Home": "\ue011",
    "ArrowLeft": "\ue012",
    "ArrowUp": "\ue013",
    "ArrowRight": "\ue014",
    "ArrowDown": "\ue015",
}


@contextmanager
def open_browser(profile: Path) -> Iterator[Browser]:
    """A browser that ends with the block.

    Args:
        profile: an empty folder for what the browser keeps.
    """
    assert DRIVER is not None
    command = [DRIVER, "--port=0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as driver:
        try:
            assert driver.stdout is not None
            port = next(
                match[1]
                for line in driver.stdout
                if (match := re.search(r"successfully on port (\d+)", line))
            )
            server = f"http://127.0.0.1:{port}/session"
            session = f"{server}/{_call(server, _capabilities(profile))['sessionId']}"
            try:
                yield Browser(session)
            finally:
                _call(session, None, "DELETE")
        finally:
            driver.terminate()


def _capabilities(profile: Path) -> dict[str, Any]:
    arguments = [
        "--headless=new",
        "--no-sandbox",  # a container's root may not make one
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        f"--user-data-dir={profile}",
        "--window-size=1280,900",
    ]
    return {
        "capabilities": {
            "alwaysMatch": {
                "goog:chromeOptions": {"binary": CHROMIUM, "args": arguments},
                "goog:loggingPrefs": {"browser": "ALL"},
                "timeouts": {"script": 30_000},
            }
        }
    }


def _call(url: str, body: dict[str, Any] | None, method: str | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=60) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        with error:
            raise AssertionError(json.load(error)["value"]["message"]) from None
