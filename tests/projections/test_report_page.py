"""The page: what stands in it, and how a real browser shows it, where there is one."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import duckdb
import pytest

from projections.report.content import Report
from projections.report.drawing import Axis
from projections.report.gather import gather, of_window
from projections.report.page import page
from tests.browser import Browser, browser
from tests.projections.seasons import WHOLE, Plant, Season, history_of, stored
from tests.projections.telling import Telling
from tests.projections.test_report import NASTY, told
from tests.projections.test_report import WHOLE as SMALL

VOID = {"meta", "br"}
PICTURES = ("lanes", "times", "reasons")
SCREENS = {"desktop": (1200, 900, False), "phone": (390, 844, False), "dark": (1200, 900, True)}


def report_on(path: Path, window: object = WHOLE) -> Report:
    with duckdb.connect(str(path), read_only=True) as connection:
        return gather(history_of(connection), of_window(window), datetime(2026, 3, 9, tzinfo=UTC))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A small one with hostile names, and one of two busy days."""
    folder = tmp_path_factory.mktemp("pages")
    small = report_on(told().write(folder / "small.duckdb"), SMALL)
    plant = Plant(days=2.0, workers=45, deaths_a_day=40.0, killer=True, sign=True)
    large = report_on(stored(Season(2, plant).records, folder / "large.duckdb"))
    return {"small": page(small), "large": page(large)}


class Structure(HTMLParser):
    """Which marks each section has; raises where elements are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._open: list[tuple[str, str | None]] = []
        self.marks: dict[str, int] = {}
        self.elements: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.elements.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "action", "data", "srcset")]
        if tag not in VOID:
            self._open.append((tag, given.get("id")))
        if "mark" in (given.get("class") or "").split():
            [section] = [name for _, name in self._open if name is not None]
            self.marks[section] = self.marks.get(section, 0) + 1

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag


@pytest.mark.parametrize("name", ["small", "large"])
def test_the_page_stands_alone_and_is_whole(pages: dict[str, str], name: str) -> None:
    structure = Structure(pages[name])
    assert set(structure.marks) == set(PICTURES)
    assert structure.addresses == []
    assert not {"script", "link", "img", "iframe", "object", "embed"} & set(structure.elements)
    assert "@import" not in pages[name]
    assert "url(" not in pages[name]


def test_names_are_text(pages: dict[str, str]) -> None:
    assert NASTY not in pages["small"]
    assert "&lt;script&gt;alert" in pages["small"]


def test_a_quiet_farm_has_no_pictures_and_still_a_page(tmp_path: Path) -> None:
    story = Telling()
    story.submit(1)
    text = page(report_on(story.write(tmp_path / "quiet.duckdb"), SMALL))
    assert Structure(text).marks == {}
    assert "0 failures of 0 workers" in text
    assert "n/a" in text


@pytest.mark.parametrize("seconds", [0, 0.2, 7, 60, 3600, 86_400, 3 * 86_400, 90 * 86_400, 20 * 365 * 86_400])
def test_an_axis_has_a_few_ticks_in_it(seconds: float) -> None:
    began = datetime(2026, 2, 27, 23, 59, 58, tzinfo=UTC)
    axis = Axis(began, datetime.fromtimestamp(began.timestamp() + seconds, UTC))
    ticks = list(axis.ticks())
    assert 1 <= len(ticks) <= 21
    assert all(0 <= x <= 100 for x, _ in ticks)
    assert len({label for _, label in ticks}) == len(ticks) or seconds > 86_400


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser")) as driver:
        yield driver


MARKS_SEEN = """
    Object.fromEntries(['lanes', 'times', 'reasons'].map(id => [id,
        [...document.querySelectorAll(`#${id} svg.plot .mark`)].filter(mark => {
            const box = mark.getBoundingClientRect(), style = getComputedStyle(mark);
            return box.height > 0 && box.width + parseFloat(style.strokeWidth) > 0 && style.fill !== 'none'
                && style.fill !== getComputedStyle(document.body).backgroundColor && style.fill !== 'rgb(0, 0, 0)';
        }).length]))
"""
OUTSIDE = """
    [...document.querySelectorAll('body *')].filter(one => {
        const box = one.getBoundingClientRect();
        return box.width > 0 && (box.right > innerWidth + 1 || box.left < -1) && !one.closest('.scroll, pre');
    }).map(one => `${one.tagName} ${one.className.baseVal ?? one.className}: ${one.textContent.trim().slice(0, 40)}`)
"""
OVER_EACH_OTHER = """
    ['lanes', 'times', 'reasons'].flatMap(id => {
        const ticks = [...document.querySelectorAll(`#${id} text.tick:not(.strong)`)]
            .map(one => one.getBoundingClientRect()).filter(box => box.width > 0).sort((a, b) => a.left - b.left);
        return ticks.slice(1).filter((box, place) => box.left < ticks[place].right).map(box => `${id} ${box.left}`);
    })
"""


def complaints(shown: Browser, file: Path, width: int, marks: dict[str, int]) -> list[str]:
    """What is wrong with the page as the browser shows it."""
    found = [f"said: {problem}" for problem in shown.problems]
    found += [f"asked for: {url}" for url in shown.requests if url != file.as_uri()]
    if shown.evaluate("document.documentElement.scrollWidth") != width:
        found.append("it is wider than the screen")
    found += [f"outside: {one}" for one in shown.evaluate(OUTSIDE)]
    found += [f"over each other: {one}" for one in shown.evaluate(OVER_EACH_OTHER)]
    seen = shown.evaluate(MARKS_SEEN)
    found += [f"not to be seen: marks of {name}" for name, number in marks.items() if seen[name] != number]
    return found


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("name", ["small", "large"])
def test_in_a_browser(pages: dict[str, str], shown: Browser, tmp_path: Path, name: str, screen: str) -> None:
    width, height, dark = SCREENS[screen]
    file = tmp_path / "report.html"
    file.write_text(pages[name], encoding="utf-8")
    shown.open(file.as_uri(), width=width, height=height, dark=dark)
    assert shown.evaluate("innerWidth") == width
    assert complaints(shown, file, width, Structure(pages[name]).marks) == []
    ground = shown.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(20, 23, 27)" if dark else "rgb(255, 255, 255)")
    picture = shown.screenshot()
    assert picture.startswith(b"\x89PNG")
    if folder := os.environ.get("SCREENSHOTS"):
        (Path(folder) / f"report-{name}-{screen}.png").write_bytes(picture)


SPOILT = {
    "a picture that is too wide": ("</style>", ".plot { width: 700px }</style>", "wider than the screen"),
    "dates over each other": (".odd { display: none }", ".tick { font-size: 40px }", "over each other: lanes"),
    "bars in the colour of the page": (
        "</style>",
        ".mark { fill: var(--page) !important }</style>",
        "marks of reasons",
    ),
    "bars without a style": ("--recovered: #009e73", "--recovered:", "marks of reasons"),
    "something from elsewhere": ("<body>", '<body><img src="http://127.0.0.1:9/x.png">', "said: "),
    "a program": ("<body>", "<body><script>1</script>", "said: "),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_page_is_seen_to_be(pages: dict[str, str], shown: Browser, tmp_path: Path, name: str) -> None:
    good, bad, said = SPOILT[name]
    assert good in pages["large"]
    file = tmp_path / "report.html"
    file.write_text(pages["large"].replace(good, bad, 1), encoding="utf-8")
    shown.open(file.as_uri(), width=390, height=844)
    assert any(said in one for one in complaints(shown, file, 390, Structure(pages["large"]).marks))
