"""The page in a real browser: Debian's chromium, headless, driven by selenium (docs/how-to/test-in-a-browser.md)."""

from __future__ import annotations

import json
import os
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from geomprobe.reports import write_report
from tests.synthetic import HOSTILE, hostile_results, with_maps

HOW = "docs/how-to/test-in-a-browser.md"
webdriver = pytest.importorskip("selenium.webdriver", reason=f"selenium is not installed ({HOW})")
wait = pytest.importorskip("selenium.webdriver.support.wait")
CHROMIUM = next((p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason=f"no chromium with chromedriver here ({HOW})")


@pytest.fixture(scope="module")
def pages(make_results, measured, tmp_path_factory):
    """Paths of a small full report, of the hostile one, and of a measured one with failed cells."""
    folder = tmp_path_factory.mktemp("pages")
    grid = {"tasks": ("sst2", "mrpc"), "poolings": ("mean", "max", "attention"), "layers": (0, 4)}
    report = with_maps(make_results(intervals=True, failed=True, spectrum_points=32, **grid))
    [full] = write_report(report, folder / "full.html")
    [hostile] = write_report(hostile_results(), folder / "hostile.html")
    return {"full": full, "hostile": hostile, "failed": measured("one side")[0] / "report.html"}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A headless chromium that keeps its console and network logs."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    profile = tmp_path_factory.mktemp("profile")
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
                     "--disable-dev-shm-usage", f"--user-data-dir={profile}"):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.set_page_load_timeout(900)
    yield driver
    driver.quit()


@pytest.fixture
def full(browser, pages):
    """The browser with the full report opened afresh."""
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.get_log("browser")
    browser.get_log("performance")
    _opened(browser, pages["full"])
    return browser


def _opened(browser, page, anchor=""):
    """Open a page and wait until its scripts have run: chromedriver may return too early from the same address."""
    browser.get("about:blank")
    browser.get(page.as_uri() + anchor)
    ready = "return document.readyState === 'complete' && location.protocol === 'file:'"
    wait.WebDriverWait(browser, 60).until(lambda driver: driver.execute_script(ready))


def test_no_console_message_and_no_request(full):
    assert full.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in full.get_log("performance")]
    asked = {e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"}
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert len([url for url in asked if url.startswith("file:")]) == 1
    assert full.execute_script("return document.querySelectorAll('figure svg').length") > 20


def test_sorting_by_a_number_and_back(full):
    column = """
        const t = document.getElementById('ranks'), i = [...t.tHead.rows[0].cells].findIndex(
            (c) => c.textContent.startsWith('B − A'));
        t.tHead.rows[0].cells[i].querySelector('button').click();
        return [[...t.tBodies[0].rows].map((r) => +r.cells[i].dataset.v), t.tHead.rows[0].cells[i].ariaSort];
    """
    values, state = full.execute_script(column)
    assert values == sorted(values)
    assert state == "ascending"
    values, state = full.execute_script(column)
    assert values == sorted(values, reverse=True)
    assert state == "descending"


def test_selectors_show_one_pooling_and_one_task(full):
    choose = """
        const s = document.querySelector(`select[data-axis=${arguments[0]}]`);
        s.value = arguments[1];
        s.dispatchEvent(new Event('change', {bubbles: true}));
    """
    full.execute_script(choose, "pooling", "max")
    shown = full.execute_script(
        "return [...document.querySelectorAll('details[data-pooling]')].filter((d) => !d.hidden)"
        ".map((d) => [d.dataset.pooling, d.open])"
    )
    assert shown
    assert [entry for entry in shown if entry != ["max", True]] == []
    full.execute_script(choose, "task", "mrpc")
    visible = "return [...document.querySelectorAll('tr[data-task]:not([hidden])')].map((r) => r.dataset.task)"
    assert set(full.execute_script(visible)) == {"mrpc"}
    full.execute_script(choose, "task", "")
    assert set(full.execute_script(visible)) == {"sst2", "mrpc"}


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (1920, 1080), (390, 844)])
def test_the_answer_is_on_the_first_screen(full, width, height):
    """The sentence and the picture whole, and the lists begun beside it; in one column on a narrow screen."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    full.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    box = """return ['.sentence', '.picture', '.lists', '.beware', '.toc'].map((s) => {
        const r = document.querySelector(s).getBoundingClientRect();
        return [r.left, r.top, r.right, r.bottom]; })"""
    sentence, picture, lists, beware, contents = full.execute_script(box)
    assert sentence[3] <= picture[1]
    assert max(sentence[2], picture[2], lists[2], beware[2]) <= width
    assert picture[3] <= height
    if width < 500:
        assert picture[3] <= lists[1] < lists[3] <= beware[1] < contents[1]
    else:
        assert picture[2] <= lists[0]
        assert lists[1] < height / 2
        assert contents[2] <= sentence[0]  # beside the text, all the way down
        full.execute_script("scrollTo(0, 2500)")
        assert full.execute_script(box)[4] == contents


def test_a_link_opens_what_it_points_to(full, pages):
    _opened(full, pages["full"], "#geometry-max")
    inside = "const e = document.getElementById(arguments[0]); return [e.checkVisibility(), e.closest('.more').open]"
    assert full.execute_script(inside, "geometry-max") == [True, True]
    full.execute_script("location.hash = '#downstream-max'")
    opened = wait.WebDriverWait(full, 20)
    assert opened.until(lambda driver: driver.execute_script(inside, "downstream-max") == [True, True])


@pytest.mark.parametrize("width", [360, 768, 1920])
def test_no_sideways_scroll(full, width):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    full.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    for state in ("", "for (const d of document.querySelectorAll('details')) d.open = true;"):
        full.execute_script(state)
        assert full.execute_script("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [390, 1280, 1920])
def test_failed_cells_are_hatched_and_nothing_overflows(full, pages, width):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    full.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    _opened(full, pages["failed"])
    assert full.get_log("browser") == []
    full.execute_script("for (const d of document.querySelectorAll('details')) d.open = true;")
    assert full.execute_script("return document.documentElement.scrollWidth") <= width
    hatch = "return [...document.querySelectorAll('td.failed')].map((c) => getComputedStyle(c).backgroundImage)"
    found = full.execute_script(hatch)
    assert found
    assert all("gradient" in image for image in found)
    wide = "return [...document.querySelectorAll('caption')].every((c) => c.offsetWidth <= arguments[0])"
    assert full.execute_script(wide, width)


def test_dark_mode_and_print(full):
    read = """return [getComputedStyle(document.body).backgroundColor,
        getComputedStyle(document.querySelector('figure svg text')).fill,
        getComputedStyle(document.querySelector('.selectors')).display]"""
    light = full.execute_script(read)
    dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    full.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)
    assert full.execute_script(read)[0] == "rgb(20, 23, 27)"
    assert full.execute_script(read)[1] != light[1]
    full.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": dark["features"]})
    assert full.execute_script(read)[::2] == ["rgb(255, 255, 255)", "none"]


def test_readable_without_javascript(full, pages):
    full.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    _opened(full, pages["full"])
    full.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    text = full.find_element("tag name", "body").text
    assert "Is one more spread out, or only shifted?" in text
    assert "How sure is this?" in text
    assert not full.find_element("css selector", ".selectors").is_displayed()
    assert full.find_elements("css selector", "thead button") == []


def test_keyboard_reaches_the_skip_link_and_scrolls_wide_content(full):
    full.find_element("tag name", "body").send_keys("\ue004")
    assert full.execute_script("return document.activeElement.className") == "skip"
    assert full.execute_script(
        "return [...document.querySelectorAll('.scroll')].every((e) => e.tabIndex === 0 && e.ariaLabel)"
    )


def _axe() -> Path | None:
    """Return axe-core: GEOMPROBE_AXE, else node_modules (npm install --no-save axe-core), else what pip brought."""
    spec = find_spec("axe_selenium_python")
    places = [
        Path(os.environ.get("GEOMPROBE_AXE", "")),
        Path(__file__).parents[3] / "node_modules/axe-core/axe.min.js",
        *([Path(spec.origin).parent / "node_modules/axe-core/axe.min.js"] if spec and spec.origin else []),
    ]
    return next((p for p in places if p.is_file()), None)


# A dark page has other colours and nothing else, so only what axe says of colours is asked again.
@pytest.mark.parametrize(("scheme", "rules"), [("light", {}), ("dark", {"runOnly": ["cat.color"]})])
def test_axe_finds_no_violation(full, scheme, rules):
    axe = _axe()
    if axe is None:
        pytest.skip(f"no axe-core here ({HOW})")
    full.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    full.set_script_timeout(900)
    full.execute_cdp_cmd("Runtime.evaluate", {"expression": axe.read_text(encoding="utf-8")})
    found, checked = full.execute_async_script(
        "const [rules, done] = arguments; axe.run({resultTypes: ['violations'], ...rules}).then((r) => done(["
        "r.violations.map((v) => [v.id, v.impact, v.nodes.slice(0, 3).map((n) => n.html.slice(0, 200))]), "
        "r.passes.length]))",
        rules,
    )
    assert checked
    assert found == []


MAP = """
    const figure = document.querySelector('figure.map'), svgs = figure.querySelectorAll('svg');
    const data = JSON.parse(figure.querySelector('script').textContent);
    const place = (k, i) => data.panels[k].maps[figure.querySelector('form').kind.value].split(' ')[i];
    const texts = (list) => [...list.children].map((item) => item.firstChild.textContent);
    const marked = (ring) => ring && `${ring.getAttribute('cx')},${ring.getAttribute('cy')}`;
    const shown = () => ({
        text: figure.querySelector('.said bdi')?.textContent ?? '',
        lists: [...figure.querySelectorAll('.plane ol')].map(texts),
        at: [...svgs].map((svg) => marked(svg.querySelector('circle:last-child'))),
    });
    const press = (key) => svgs[1].dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true, cancelable: true}));
"""


def test_a_text_is_shown_with_its_neighbours_and_marked_in_both_maps(full):
    point = """
        const [x, y] = place(0, 7).split(',').map(Number), box = svgs[0].getBoundingClientRect();
        svgs[0].dispatchEvent(new PointerEvent(arguments[0], {
            clientX: box.left + x / 1000 * box.width, clientY: box.top + y / 1000 * box.height}));
        const near = data.panels.map((p) => p.near.split(' ')[7].split(',').map((i) => data.texts[i]));
        return [shown(), data.texts[7], near, [place(0, 7), place(1, 7)]];
    """
    start = full.execute_script(MAP + "return [shown().text, data.texts[data.start]]")
    assert start[0] == start[1] != ""
    for event in ("pointermove", "pointerdown"):
        shown, text, near, places = full.execute_script(MAP + point, event)
        assert (shown["text"], shown["lists"], shown["at"]) == (text, near, places)
        full.execute_script(MAP + "press('Home')")


def test_arrow_keys_move_through_the_points_and_escape_leaves(full):
    full.execute_script(MAP + "svgs[1].focus(); press('Home')")
    assert full.execute_script(MAP + "return shown().text === data.texts[0]")
    full.execute_script(MAP + "press('PageDown')")
    assert full.execute_script(MAP + "return shown().text === data.texts[1]")
    axes = {"ArrowRight": (0, 1), "ArrowLeft": (0, -1), "ArrowDown": (1, 1), "ArrowUp": (1, -1)}
    step = """
        const before = shown().at[1];
        press(arguments[0]);
        return [before, shown().at[1]].map((place) => place.split(',').map(Number));
    """
    for key, (axis, sign) in axes.items():
        before, after = full.execute_script(MAP + step, key)
        assert before == after or sign * (after[axis] - before[axis]) > 0
    assert full.execute_script(MAP + "return document.activeElement === svgs[1]")
    full.execute_script(MAP + "press('Escape')")
    assert full.execute_script(MAP + "return document.activeElement === document.body")
    assert full.execute_script(MAP + "return [shown().text, ...shown().at]") == ["", None, None]


def test_maps_and_colours_are_chosen_and_one_class_shown_alone(full):
    choose = """
        const form = figure.querySelector('form');
        form[arguments[0]].selectedIndex = arguments[1];
        form[arguments[0]].dispatchEvent(new Event('change', {bubbles: true}));
        const dots = [...svgs[0].querySelectorAll('.dots path')];
        return [dots.map((p) => p.getAttribute('class')), dots.map((p) => p.getAttribute('d')).join(''),
            [...figure.querySelectorAll('.keys button')].map((b) => b.textContent)];
    """
    tones, places, names = full.execute_script(MAP + choose, "colour", 3)
    assert tones == ["l0", "l1", "l2", "l3", "l4"]
    assert all(name.endswith(" characters") for name in names)
    assert places.count("M") == 40
    other = full.execute_script(MAP + choose, "kind", 1)[1]
    assert other != places
    pressed = (
        MAP
        + """
        figure.querySelectorAll('.keys button')[1].click();
        return [[...svgs[1].querySelectorAll('.dots path')].map((p) => p.getAttribute('class')),
            [...figure.querySelectorAll('.keys button')].map((b) => b.getAttribute('aria-pressed')),
            document.activeElement.textContent === figure.querySelectorAll('.keys button')[1].textContent];
    """
    )
    assert full.execute_script(pressed) == [
        ["l0 dim", "l1", "l2 dim", "l3 dim", "l4 dim"], ["false", "true", "false", "false", "false"], True,
    ]  # fmt: skip
    assert full.execute_script(pressed)[1] == ["false"] * 5


def test_two_pictures_stand_there_without_javascript(full, pages):
    full.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    _opened(full, pages["full"])
    full.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    figure = full.find_element("css selector", "figure.map")
    pictures = figure.find_elements("css selector", "svg")
    assert [picture.get_attribute("role") for picture in pictures] == ["img", "img"]
    assert all(picture.is_displayed() and picture.size["width"] > 300 for picture in pictures)
    assert all("map of 40 texts" in picture.get_attribute("aria-label") for picture in pictures)
    assert "A point is one text" in figure.text
    assert not figure.find_element("css selector", "form").is_displayed()
    assert not figure.find_element("css selector", ".said").is_displayed()


def test_maps_stand_side_by_side_or_below_each_other(full):
    where = MAP + "return [...svgs].map((s) => s.getBoundingClientRect()).map((b) => [b.left, b.top, b.width])"
    for width, beside in ((1280, True), (390, False)):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        full.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        first, second = full.execute_script(where)
        assert (second[0] >= first[0] + first[2]) == beside
        assert (second[1] >= first[1] + first[2]) != beside


def test_texts_of_a_map_are_text(browser, pages):
    _opened(browser, pages["hostile"])
    read = (
        MAP
        + """
        const found = [];
        for (let i = 0; i < data.texts.length; i++) {
            press(i ? 'PageDown' : 'Home');
            found.push(shown().text);
        }
        return [found, data.texts, figure.querySelectorAll('img, .said script').length, typeof window.pwned];
    """
    )
    found, texts, elements, pwned = browser.execute_script(read)
    assert found == texts
    assert texts[0] == HOSTILE[0]
    assert (elements, pwned) == (0, "undefined")


def test_hostile_page_runs_nothing(browser, pages):
    browser.get_log("browser")
    _opened(browser, pages["hostile"])
    assert browser.execute_script("return typeof window.pwned") == "undefined"
    assert browser.get_log("browser") == []
    size = {"width": 360, "height": 900, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
