"""The page as a file: whole, self-contained, and harmless whatever the run has written."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import pytest

from rlent.report.page import write_page
from rlent.report.page.document import SCRIPTS
from tests.report.runs import completion, files_of, write_run

STATIC = Path(str(files("rlent.report.page") / "static"))
HOSTILE = (
    '</script><script>window.harmed = true</script><img src=x onerror="window.harmed=true"><!--'
)


class Elements(HTMLParser):
    """Tags, and the text of scripts and styles, as a browser would see them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._inside: str | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.texts.setdefault(tag, []).append("")
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = None

    def handle_data(self, data: str) -> None:
        if self._inside is not None:
            self.texts[self._inside][-1] += data

    def scripts(self) -> list[tuple[dict[str, str | None], str]]:
        """Attributes and text of every script element."""
        attributes = [attributes for tag, attributes in self.tags if tag == "script"]
        return list(zip(attributes, self.texts["script"], strict=True))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a run whose name, tokens, prompts, rewards and recipe all try to leave their place."""
    folder = tmp_path_factory.mktemp("hostile")
    rows = [
        completion(
            [HOSTILE, "\u2028", "\ud800".encode("utf-8", "replace").decode()],
            [1.0, 0.5, 0.1],
            prompt=HOSTILE,
        )
    ]
    rows[0][f"reward/{HOSTILE.replace('/', '')}"] = 1.0
    run = write_run(
        folder / "<b>&", rows, [{"step": 1, HOSTILE: 1.0}], recipe=f"name: '{HOSTILE}'\n"
    )
    write_page([files_of(run)], folder / "page.html")
    return (folder / "page.html").read_text(encoding="utf-8")


def test_no_text_of_the_run_becomes_markup(page: str) -> None:
    elements = Elements(page)
    assert "window.harmed" not in page
    names = [tag for tag, _ in elements.tags]
    assert "img" not in names
    assert "b" not in names
    assert elements.texts["h1"][0].strip() == "<b>&"
    kinds = [attributes["type"] for attributes, _ in elements.scripts()]
    assert kinds.count("module") == 1
    assert set(kinds) == {"module", "application/octet-stream"}
    for attributes, text in elements.scripts():
        if attributes["type"] != "module":
            assert re.fullmatch(r"[A-Za-z0-9+/=]+", text), attributes["id"]


def test_the_policy_allows_this_script_and_style_and_nothing_else(page: str) -> None:
    elements = Elements(page)
    policy = next(a["content"] for tag, a in elements.tags if tag == "meta" and "http-equiv" in a)
    assert policy is not None
    script = next(text for attributes, text in elements.scripts() if attributes["type"] == "module")
    for directive, text in (("script-src", script), ("style-src", elements.texts["style"][0])):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


def test_nothing_is_loaded_from_anywhere(page: str) -> None:
    assert set(re.findall(r"https?://[^\s\"'`]*", page)) == {"http://www.w3.org/2000/svg"}
    for tag, attributes in Elements(page).tags:
        assert "src" not in attributes, tag
        assert (attributes.get("href") or "#").startswith("#"), tag


def test_text_enters_the_page_as_text() -> None:
    for script in STATIC.glob("*.js"):
        source = script.read_text(encoding="utf-8")
        for way in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "fetch(",
        ):
            assert way not in source, (script.name, way)
        assert "</script" not in source
        assert "<!--" not in source


def test_every_script_is_in_the_page() -> None:
    assert sorted(SCRIPTS) == sorted(path.name for path in STATIC.glob("*.js"))


def test_a_page_appears_when_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = files_of(write_run(tmp_path / "run", [completion(["a"], [0.0])]))
    write_page([run], tmp_path / "page.html")
    before = (tmp_path / "page.html").read_bytes()

    def fails(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("rlent.report.page.document.completion_blocks", fails)
    with pytest.raises(OSError, match="disk full"):
        write_page([run], tmp_path / "page.html")
    assert (tmp_path / "page.html").read_bytes() == before


def colours(scheme: str) -> dict[str, str]:
    style = (STATIC / "style.css").read_text(encoding="utf-8")
    light, _, dark = style.partition("@media (prefers-color-scheme: dark)")
    block = light if scheme == "light" else dark[: dark.index("\n}\n")]
    return dict(re.findall(r"--([\w-]+): (#\w{6});", block))


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_have_the_contrast_of_wcag_aa(scheme: str) -> None:
    shades = colours(scheme)
    assert set(colours("light")) == set(colours("dark"))
    for ink in ("ink", "quiet", "link"):
        for ground in ("page", "raised"):
            assert contrast(shades[ink], shades[ground]) >= 4.5, (ink, ground)
    for k in range(10):
        assert contrast(shades["heat-ink"], shades[f"heat-{k}"]) >= 4.5, k
    for part in ("focus", "control", "mark", *(f"tone-{k}" for k in range(6))):
        assert contrast(shades[part], shades["page"]) >= 3, part


@pytest.mark.parametrize(("scheme", "sign"), [("light", -1), ("dark", 1)])
def test_the_scale_of_entropy_goes_one_way(scheme: str, sign: int) -> None:
    shades = colours(scheme)
    steps = [sign * luminance(shades[f"heat-{k}"]) for k in range(10)]
    assert steps == sorted(steps)
    assert len(set(steps)) == 10
