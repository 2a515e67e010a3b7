"""The pages in a real browser: on a phone and on a wide screen, light and dark, and with markup in every name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.search.reports.browser import CHROMIUM, Browser
from tests.search.reports.sample_pages import (
    front_page,
    profile_page,
    search_for_several,
    search_page,
    study_page,
    two_searches,
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (scripts/system_packages.sh)")

KINDS = ("search", "devices", "front", "profile", "study")
LOOK = Path(__file__).with_name("look.js").read_text()
HOSTILE = (
    "a-name-of-one-word-that-goes-on-and-on-and-on-for-longer-than-any-phone-is-wide "
    "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>"
    '"><img src="https://example.org/x.png" onerror="window.hacked = 1"></title></style></svg><b>bold</b>'
    " $x^{$ {{ 7 * 7 }} <!-- ]]>"
)
# Elements by name, attributes by name and value.
ELEMENTS = """[...document.querySelectorAll("*")].map((element) => [
    element.tagName.toLowerCase(), [...element.attributes].map((each) => [each.name.toLowerCase(), each.value])])"""
ALLOWED = {
    *(
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "h1",
        "h2",
        "p",
        "b",
        "i",
        "a",
        "pre",
        "code",
        "ul",
        "li",
        "div",
    ),
    *("table", "tbody", "tr", "th", "td", "figure", "details", "summary"),
    *("svg", "defs", "g", "path", "use", "text", "tspan", "clippath", "rect"),
}
BROKEN = {
    "overflow": '<div style="width: 2000px">wide</div>',
    "faint text": '<p style="color: #b0b4bc; background: #c0c4cc">faint</p>',
    "faint mark": '<svg width="9" height="9"><path d="M0 0H9V9Z" style="fill: rgb(128 128 128 / 60%)"/></svg>',
    "cut off": '<figure><svg viewBox="0 0 50 50"><text x="45" y="20">cut off</text></svg></figure>',
    "one on another": '<figure><svg viewBox="0 0 99 50"><text y="30">one</text><text y="33">two</text></svg></figure>',
    "no numbers": '<figure><svg width="50" height="50"></svg><table><tr><td>none</td></tr></table></figure>',
}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By kind and by what is in their names."""
    folder = tmp_path_factory.mktemp("pages")
    results, several = two_searches(folder), search_for_several(folder)
    written = {}
    for names, more in (("plain", ""), ("hostile", HOSTILE)):

        def rename(text: str, more: str = more) -> str:
            return f"{text} {more}".strip()

        searches = search_page(results[0], rename), search_page(several, rename), front_page(results, rename)
        for kind, text in zip(KINDS, (*searches, profile_page(rename), study_page(rename)), strict=True):
            path = written[f"{names} {kind}"] = folder / f"{names}-{kind}.html"
            path.write_text(text, encoding="utf-8")
    return written


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("names", ["plain", "hostile"])
def test_a_page_fits_phones_and_screens_light_and_dark(
    names: str, kind: str, pages: dict[str, Path], browser: Browser
) -> None:
    page = pages[f"{names} {kind}"]
    browser.open(page)
    for width in (360, 1400):
        for scheme in ("light", "dark"):
            browser.look(width, scheme)
            assert browser.evaluate("[innerWidth, matchMedia('(prefers-color-scheme: dark)').matches]") == [
                width,
                scheme == "dark",
            ]
            assert browser.evaluate(LOOK) == [], (width, scheme)
    assert browser.requests == [page.as_uri()], "a page needs no other file"


@pytest.mark.parametrize("kind", KINDS)
def test_names_make_no_elements(kind: str, pages: dict[str, Path], browser: Browser) -> None:
    def elements(names: str) -> list[tuple[str, list[tuple[str, str]]]]:
        browser.open(pages[f"{names} {kind}"])
        found: list[tuple[str, list[tuple[str, str]]]] = browser.evaluate(ELEMENTS)
        return found

    hostile = elements("hostile")
    assert browser.evaluate("window.hacked") is None
    assert {tag for tag, _ in hostile} <= ALLOWED
    attributes = [(name, value) for _, found in hostile for name, value in found]
    assert not [name for name, _ in attributes if name.startswith("on") or name in ("src", "srcdoc", "action")]
    for name, value in attributes:
        if name.endswith("href"):
            assert value.startswith("#") or value.endswith("/report.html")
    shown = browser.evaluate("document.body.textContent")
    assert "<script>window.hacked = 1</script>" in shown and "{{ 7 * 7 }}" in shown

    # As text the names may take more lines of a figure, and nothing else.
    def outside_of_figures(found: list[tuple[str, list[tuple[str, str]]]]) -> list[str]:
        return [
            tag
            for tag, _ in found
            if tag not in ("svg", "defs", "g", "path", "use", "text", "tspan", "clippath", "rect")
        ]

    assert outside_of_figures(hostile) == outside_of_figures(elements("plain"))


@pytest.mark.parametrize("problem", BROKEN)
def test_what_is_wrong_with_a_page_is_seen(
    problem: str, pages: dict[str, Path], browser: Browser, tmp_path: Path
) -> None:
    page = tmp_path / "broken.html"
    page.write_text(pages["plain profile"].read_text().replace("</body>", f"{BROKEN[problem]}</body>"))
    browser.open(page)
    for width in (360, 1400):
        browser.look(width, "light")
        assert any(line.startswith(problem) for line in browser.evaluate(LOOK))


def test_a_request_is_seen(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text('<img src="http://127.0.0.1:9/x.png">')
    browser.open(page)
    assert browser.requests == [page.as_uri(), "http://127.0.0.1:9/x.png"]
