"""The page in a real browser: clicked, filtered, hovered over, and read without a mouse."""

import math
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from rlent.report.page import write_page
from tests.report.browser import CHROMIUM, DRIVER, MISSING, Browser, open_browser
from tests.report.runs import completion, files_of, write_large_run, write_run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason=MISSING),
]

HOSTILE = "</script><script>window.harmed = true</script><img src=x onerror='window.harmed=true'>"
BAND = "interventions:\n- entropy_band: {edges: fixed, low: 0.2, high: 1.0}\n"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with open_browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def fresh(browser: Browser) -> Iterator[Browser]:
    """The tab at the size of a desk, and nothing to complain about afterwards."""
    browser.resize(1280, 900)
    browser.prefer("light")
    browser.console()
    yield browser
    assert browser.console() == []
    assert browser.run("return performance.getEntriesByType('resource').length") == 0


def seed_rows(seed: int) -> list[dict[str, Any]]:
    """Six steps of eight completions; their reward is 1 where step + number is even."""
    rows = []
    for step in range(6):
        for number in range(8):
            row = completion(
                [
                    ("fork", "road")[seed - 1] if step < 3 else "late",
                    " is",
                    "\n",
                    str(number),
                    "<eos>",
                ]
                * 2,
                [1.2 - 0.1 * step, 0.3, 0.01, 0.1, 0.6] * 2,
                step=step,
                group=number // 4,
                reward=float((step + number) % 2 == 0),
                prompt=f"Prompt {step}.{number // 4} of seed {seed}",
                selected=[True, False, False, False, True] * 2,
                clipped=[True, False, False, False, True] * 2,
                preserved=[True, False, False, False, False] * 2,
                logp=[-math.log(4), -0.1, -0.2, -0.3, -0.4] * 2,
                advantage=[0.75] * 10,
                weight=[0.5] * 10,
            )
            rows.append(row)
    return rows


def metrics(seed: int) -> list[dict[str, Any]]:
    return [
        {
            "step": s,
            "reward": s / 10 + seed,
            "entropy": 1.0 - s / 10,
            "step_time": 2.0,
            "num_tokens": 100 * s,
        }
        for s in range(1, 7)
    ]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds that recorded everything."""
    folder = tmp_path_factory.mktemp("page")
    runs = [
        write_run(
            folder / f"seed{seed}",
            seed_rows(seed),
            metrics(seed),
            f"trainer: {{seed: {seed}}}\n{BAND}",
        )
        for seed in (1, 2)
    ]
    write_page([files_of(run) for run in runs], folder / "page.html")
    return folder / "page.html"


def first_token_of(text: str) -> str:
    return f".tokens .token[aria-label^='{text}:']"


def test_every_section_is_there_and_has_something_in_it(fresh: Browser, page: Path) -> None:
    fresh.open(page)
    titles = fresh.run("return [...document.querySelectorAll('main h2')].map((h) => h.textContent)")
    assert titles == [
        "Curves",
        "Warnings",
        "Entropy over training",
        "Completions",
        "Forking tokens",
        "Entropy by position",
        "Tokens that moved most",
        "Rewards by part",
        "Lengths",
        "Time and tokens",
        "Recipes",
    ]
    assert fresh.text("h1") == "seed1, seed2"
    assert fresh.text("#facts") == "2 runs · steps 0 to 5 · 96 completions · 960 tokens"
    assert fresh.count("#curves polyline.line") == 2
    assert fresh.count("#curves polygon.band") == 2
    assert fresh.count("#entropy rect.heat") > 50
    assert fresh.count("#forking tbody tr") == 5
    assert fresh.count("#moved tbody tr") == 3
    links = fresh.run(
        "return [...document.querySelectorAll('nav a')].every((a) => document.querySelector(a.hash))"
    )
    assert links


def test_the_legend_of_entropy_is_in_nats(fresh: Browser, page: Path) -> None:
    fresh.open(page)
    legend = fresh.text("#completions .scale")
    assert legend.startswith("Entropy (nats):below 0.05")
    assert "3 and more" in legend
    assert fresh.count("#completions .scale .swatch") == 10


def test_a_replayed_token_tells_what_it_does_to_the_entropy(fresh: Browser, tmp_path: Path) -> None:
    row = completion(["fork", "road"], [1.2, 0.1], entropy_effect=[-0.5, 0.0])
    write_page([files_of(write_run(tmp_path / "replay", [row]))], tmp_path / "page.html")
    fresh.open(tmp_path / "page.html")
    fresh.wait("return document.querySelectorAll('.tokens .token').length === 2")
    fresh.run("document.querySelector('.tokens [tabindex=\"0\"]').focus()")
    assert "change of entropy, first order" in fresh.text(".inspector")
    assert "-0.5 nats" in fresh.text(".inspector").replace("\u2212", "-")


@pytest.mark.parametrize("way", ["pointer", "keyboard"])
def test_a_token_tells_what_is_known_of_it(fresh: Browser, page: Path, way: str) -> None:
    fresh.open(page)
    fresh.wait("return document.querySelectorAll('.tokens .token').length === 10")
    if way == "pointer":
        fresh.hover(first_token_of("fork"))
    else:
        fresh.run("document.querySelector('.tokens [tabindex=\"0\"]').focus()")
    shown = fresh.text(".inspector")
    assert "tokenfork" in shown
    assert "entropy1.2 nats" in shown
    assert "probability0.25" in shown
    assert "advantage0.75" in shown
    assert "weight0.5" in shown
    assert "selected, clipped, gradient preserved, above the band" in shown
    if way == "keyboard":
        fresh.keys("ArrowRight", "ArrowRight")
        assert "token↵" in fresh.text(".inspector")
        assert "not selected" in fresh.text(".inspector")
        fresh.keys("End")
        assert "selected, clipped, inside the band" in fresh.text(".inspector")
        assert fresh.count(".tokens [tabindex='0']") == 1
    style = fresh.run(
        "return document.querySelector(arguments[0]).className", first_token_of("fork")
    )
    assert style.split() == ["token", "heat-6", "selected", "clipped", "preserved", "band-above"]


def count_shown(browser: Browser, expected: str) -> None:
    browser.wait("return document.querySelector('.count').textContent === arguments[0]", expected)


def heads(browser: Browser) -> list[str]:
    return browser.run(
        "return [...document.querySelectorAll('.row-head')].map((row) => row.textContent)"
    )


def test_filters_by_step_reward_prompt_and_run(fresh: Browser, page: Path) -> None:
    fresh.open(page)
    count_shown(fresh, "96 of 96 completions")
    fresh.type("[data-filter=step-least]", "2")
    count_shown(fresh, "64 of 96 completions")
    fresh.type("[data-filter=step-most]", "3")
    count_shown(fresh, "32 of 96 completions")
    fresh.type("[data-filter=reward-least]", "0.5")
    count_shown(fresh, "16 of 96 completions")
    assert all("reward 1 ·" in head for head in heads(fresh))
    fresh.type("[data-filter=prompt]", "PROMPT 3.1 OF")
    count_shown(fresh, "4 of 96 completions")
    assert all("step 3 ·" in head for head in heads(fresh))
    fresh.choose("[data-filter=run]", "1")
    count_shown(fresh, "2 of 96 completions")
    assert all(head.startswith("seed2 ·") for head in heads(fresh))
    fresh.type("[data-filter=reward-most]", "0.7")
    count_shown(fresh, "No completion matches these filters.")
    assert heads(fresh) == []
    assert fresh.count(".detail .token") == 0


def test_order_by_reward(fresh: Browser, page: Path) -> None:
    fresh.open(page)
    fresh.choose("[data-filter=order]", "poor")
    assert all("reward 0 ·" in head for head in heads(fresh))


def test_clicking_and_arrow_keys_choose_a_completion(fresh: Browser, page: Path) -> None:
    fresh.open(page)
    fresh.click("#row-2")
    fresh.wait(
        "return document.querySelector('.detail .prompt')?.textContent.startsWith('Prompt 0.0')"
    )
    assert fresh.run("return document.querySelector('#row-2').ariaSelected") == "true"
    fresh.run("document.querySelector('.list').focus()")
    fresh.keys("ArrowDown", "ArrowDown")
    chosen = "return document.querySelector('.list').getAttribute('aria-activedescendant')"
    assert fresh.run(chosen) == "row-4"
    fresh.keys("End")
    assert fresh.run(chosen) == "row-95"
    fresh.wait(
        "return document.querySelector('.detail .prompt').textContent === 'Prompt 5.1 of seed 2'"
    )
    last = "return document.querySelector('#row-95').getAttribute(arguments[0])"
    assert fresh.run(last, "aria-posinset") == fresh.run(last, "aria-setsize") == "96"
    fresh.keys("Home", "PageDown")
    assert fresh.run(chosen) == "row-5"


def test_a_chart_is_read_with_pointer_keys_and_table(fresh: Browser, page: Path) -> None:
    fresh.open(page)
    fresh.wait("return document.querySelector('#curves .plot svg')")
    fresh.run("document.querySelector('#curves .plot').focus()")
    fresh.keys("Home")
    assert fresh.text("#curves .readout") == "step 1: training 1.6 (1.1 to 2.1)"
    fresh.keys("ArrowRight")
    assert fresh.text("#curves .readout").startswith("step 2:")
    fresh.hover("#curves .plot")
    assert fresh.text("#curves .readout").startswith(("step 3:", "step 4:"))
    fresh.click("#curves details.numbers summary")
    fresh.wait("return document.querySelectorAll('#curves .numbers tbody tr').length === 6")
    row = fresh.run(
        "return [...document.querySelectorAll('#curves .numbers tbody tr')[1].children].map((c) => c.textContent)"
    )
    assert row == ["2", "1.7", "1.2", "2.2"]
    fresh.click("#curves > .content > details > summary")
    fresh.wait("return document.querySelector('#curves > .content > details .plot svg')")


def test_the_distribution_says_what_a_column_is(fresh: Browser, page: Path) -> None:
    fresh.open(page)
    fresh.run("document.querySelector('#entropy .plot').focus()")
    fresh.keys("Home")
    # Kept in step 0: 16 tokens of 1.2 nats and 16 of 0.6.
    assert (
        fresh.text("#entropy .readout")
        == "step 0: mean 0.9 nats; 0% below 0.05, 50% at 1 or more; 32 tokens"
    )


def test_tables_are_sorted_by_their_buttons(fresh: Browser, page: Path) -> None:
    fresh.open(page)
    fresh.click("#moved thead th:first-child button")
    sort = "return document.querySelector('#moved thead th').ariaSort"
    assert fresh.run(sort) == "descending"
    names = "return [...document.querySelectorAll('#moved tbody th')].map((c) => c.textContent)"
    falling = fresh.run(names)
    fresh.click("#moved thead th:first-child button")
    assert fresh.run(sort) == "ascending"
    assert fresh.run(names) == falling[::-1]


def forking_tokens(browser: Browser) -> list[str]:
    return browser.run(
        "return [...document.querySelectorAll('#forking tbody th')].map((c) => c.textContent)"
    )


def test_the_run_can_be_changed(fresh: Browser, page: Path) -> None:
    fresh.open(page)
    assert "fork" in forking_tokens(fresh)
    fresh.choose("#run", "1")
    assert "road" in forking_tokens(fresh)
    assert "fork" not in forking_tokens(fresh)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_everything_without_scrolling_sideways(
    fresh: Browser, page: Path, scheme: str
) -> None:
    fresh.prefer(scheme)
    fresh.resize(360, 740)
    fresh.open(page)
    assert fresh.run("return document.documentElement.scrollWidth <= innerWidth")
    ground = fresh.run("return getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 22, 26)"}[scheme]
    widths = fresh.run(
        "return [...document.querySelectorAll('.plot svg')].map((s) => s.clientWidth)"
    )
    assert all(200 < width <= 360 for width in widths if width)


def test_every_control_has_a_name_and_nothing_hides_from_the_keyboard(
    fresh: Browser, page: Path
) -> None:
    fresh.open(page)
    fresh.wait("return document.querySelectorAll('.tokens .token').length")
    nameless = fresh.run("""
        const named = (e) => e.labels?.length || e.ariaLabel || e.textContent.trim();
        const controls = "input, select, button, summary, a, [tabindex], [role=img], [role=listbox], [role=region]";
        return [...document.querySelectorAll(controls)].filter((e) => !named(e)).map((e) => e.outerHTML);
    """)
    assert nameless == []
    assert fresh.run("return document.documentElement.lang") == "en"
    levels = fresh.run(
        "return [...document.querySelectorAll('h1,h2,h3,h4')].map((h) => Number(h.tagName[1]))"
    )
    assert levels[0] == 1
    assert all(later <= earlier + 1 or earlier == 2 for earlier, later in pairwise(levels))
    captions = fresh.run("return [...document.querySelectorAll('table')].every((t) => t.caption)")
    assert captions
    fresh.keys("Tab")
    assert fresh.run("return document.activeElement.className") == "skip"


def test_hostile_text_is_shown_and_does_nothing(fresh: Browser, tmp_path: Path) -> None:
    row = completion(
        [HOSTILE, "\u202e", "\x00", "</SCRIPT >"], [2.5, 0.1, 0.1, 0.1], prompt=HOSTILE
    )
    row[f"reward/{HOSTILE.replace('/', '')}"] = 1.0
    run = write_run(
        tmp_path / "<img src=x>", [row], [{"step": 1, HOSTILE: 1.0}], f'name: "{HOSTILE}"\n'
    )
    write_page([files_of(run)], tmp_path / "page.html")
    fresh.open(tmp_path / "page.html")
    fresh.wait("return document.querySelectorAll('.tokens .token').length === 4")
    assert fresh.text(".tokens .token") == HOSTILE
    assert fresh.text(".prompt") == HOSTILE
    assert fresh.text("h1") == "<img src=x>"
    fresh.click("#curves details summary")
    fresh.wait("return document.querySelector('#curves select')")
    assert fresh.text("#curves select option") == HOSTILE
    fresh.hover(".tokens .token")
    assert HOSTILE in fresh.text(".inspector")
    assert fresh.run("return window.harmed === undefined")
    assert fresh.count("img") == 0


def test_an_old_run_says_what_it_has_not_recorded(fresh: Browser, tmp_path: Path) -> None:
    run = write_run(tmp_path / "old", [completion(["a", "b"], [0.1, 1.0])])
    write_page([files_of(run)], tmp_path / "page.html")
    fresh.open(tmp_path / "page.html")
    assert (
        "Not in these runs: which tokens were clipped or preserved, an entropy band."
        in fresh.text("#completions")
    )
    assert fresh.count("#completions .marks li") == 2
    assert "No token was sampled at least 20 times" in fresh.text("#forking")
    assert "not of their phases" in fresh.text("#time")
    assert "were not watched" in fresh.text("#warnings")


def test_warnings_are_listed_with_step_and_remedy(fresh: Browser, tmp_path: Path) -> None:
    lines = [
        {"step": step, "reward": 0.0, "frac_reward_zero_std": 1.0, "health/equal_rewards": warned}
        for step, warned in [(10 * i, float(i >= 5)) for i in range(1, 8)]
    ]
    ill = write_run(tmp_path / "ill", [], lines)
    well = write_run(tmp_path / "well", [], [{"step": 1, "reward": 0.0, "health/equal_rewards": 0}])
    write_page([files_of(ill), files_of(well)], tmp_path / "page.html")
    fresh.open(tmp_path / "page.html")
    cells = fresh.run(
        "return [...document.querySelectorAll('#warnings tbody tr > *')].map((c) => c.textContent)"
    )
    assert cells[:2] == ["ill: equal rewards", "50"]
    assert "100%" in cells[2]
    assert len(cells) == 4
    write_page([files_of(well)], tmp_path / "well.html")
    fresh.open(tmp_path / "well.html")
    assert "No rule warned." in fresh.text("#warnings")


def test_a_run_without_rollouts_has_its_curves(fresh: Browser, tmp_path: Path) -> None:
    run = write_run(tmp_path / "bare", [], metrics(1))
    write_page([files_of(run)], tmp_path / "page.html")
    fresh.open(tmp_path / "page.html")
    fresh.wait("return document.querySelectorAll('#curves polyline.line').length === 2")
    for section in ("entropy", "completions", "forking", "positions", "moved"):
        assert "recorded no rollouts" in fresh.text(f"#{section}")


def test_ten_thousand_completions_open_at_once_and_scroll(fresh: Browser, tmp_path: Path) -> None:
    run = write_large_run(tmp_path / "large", steps=50, rows_per_step=200, length=250)
    write_page([files_of(run)], tmp_path / "page.html")
    assert (tmp_path / "page.html").stat().st_size < 60e6
    start = time.monotonic()
    fresh.open(tmp_path / "page.html")
    fresh.wait("return document.querySelectorAll('.tokens .token').length > 100")
    assert time.monotonic() - start < 3
    count_shown(fresh, "10,000 of 10,000 completions")
    assert fresh.count(".row") < 30
    fresh.run("document.querySelector('.list').scrollTop = 500000")
    fresh.wait("return document.querySelector('.row:last-child .preview .token')")
    assert fresh.count(".row") < 30
    fresh.run("document.querySelector('.list').focus()")
    fresh.keys("End")
    fresh.wait("return document.querySelector('#row-9999 .preview .token')")
    fresh.wait(
        "return document.querySelector('.detail .prompt').textContent === 'Prompt 49.24: what is it?'"
    )
