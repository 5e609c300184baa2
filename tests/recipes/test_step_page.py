"""The page of a step in real Chromium: it opens from disk without a word on the console or to the network."""

import chromium
import pytest
import tiny
from chromium import headless

from tinygrad_gpt.cli import main
from tinygrad_gpt.engine import using_ops
from tinygrad_gpt.recipes.step_page import page_of_step
from tinygrad_gpt.recipes.text_step import text_step, tiny_step
from tinygrad_gpt.runs.saved_model import load_model

HOSTILE = 'Once <script>document.title="run"</script> <img src=x onerror=alert(1)> \u202e \x1b[31m & a girl'
PAGES = {"tiny": lambda: tiny_step(), "story": lambda: text_step(load_model("storyteller"), HOSTILE),
         "spam": lambda: text_step(load_model("sms-spam"), "win a prize", "spam")}


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    for name, step in PAGES.items():
        with using_ops("plain"):
            (folder / f"{name}.html").write_text(page_of_step(step()).text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def browser():
    with headless() as browser:
        yield browser


def opened(browser, file, width=1280, fragment=""):
    return chromium.opened(browser, f"file://{file}{fragment}", width)


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", sorted(PAGES))
def test_it_opens_quietly_and_fits(pages, browser, name, width):
    opened(browser, pages / f"{name}.html", width)
    assert browser.get_log("browser") == []
    assert [url for url in chromium.requested(browser) if not url.startswith("file://")] == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.execute_script("return document.querySelectorAll('.row').length") == browser.execute_script(
        "return steps.length")


def test_every_step_can_be_shown(pages, browser):
    opened(browser, pages / "tiny.html")
    titles = browser.execute_script(
        "return steps.map((step, i) => (show(i), document.querySelector('h2').textContent))")
    assert len(titles) == 58
    assert all(title.startswith(f"{i} ") for i, title in enumerate(titles))
    assert browser.get_log("browser") == []


def test_it_is_walked_with_the_keyboard(pages, browser):
    from selenium.webdriver.common.keys import Keys

    opened(browser, pages / "tiny.html", fragment="#40")
    shown = "return Number(document.querySelector('h2').textContent.split(' ')[0])"
    assert browser.execute_script(shown) == 40
    browser.execute_script("rows[40].focus()")
    browser.switch_to.active_element.send_keys(Keys.ARROW_DOWN)
    assert browser.execute_script(shown) == 41
    browser.switch_to.active_element.send_keys(Keys.ARROW_UP, Keys.ARROW_UP)
    assert browser.execute_script(shown) == 39
    browser.execute_script("document.querySelector('#detail g[tabindex]').focus()")
    source = browser.execute_script("return steps[39].inputs[0][1]")
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    assert browser.execute_script(shown) == source
    browser.execute_script("document.querySelector('#detail canvas').focus()")
    browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert "column 1: value " in browser.execute_script("return document.getElementById('numbers').textContent")


def test_numbers_are_those_of_the_step(pages, browser):
    opened(browser, pages / "tiny.html")
    with using_ops("plain"):
        trace = tiny_step().trace()
    for number in (0, 30, 57):
        found = browser.execute_script("return Array.from(numbers(steps[arguments[0]].grad))", number)
        assert found == pytest.approx(trace.steps[number].grad.ravel().tolist(), rel=2.0**-8)


def test_a_text_is_shown_and_never_run(pages, browser):
    opened(browser, pages / "story.html")
    assert browser.title.startswith("One training step of GPT-2")
    assert browser.execute_script("return document.querySelectorAll('header img, main img, header script').length") == 0
    shown = browser.execute_script("return document.getElementById('summary').textContent")
    assert "<" in shown
    assert "script" in shown
    assert "\\u001b" in shown
    assert "\u202e" not in shown
    assert "\x1b" not in shown


def test_formulas_and_attention_are_drawn(pages, browser):
    opened(browser, pages / "story.html", fragment="#105")
    assert "self_attention" in browser.execute_script("return document.querySelector('h2').textContent")
    assert browser.execute_script("return document.querySelectorAll('.heads canvas').length") == 8
    boxes = browser.execute_script(
        "return [...document.querySelectorAll('math')].map(formula => formula.getBoundingClientRect().height)")
    assert boxes
    assert min(boxes) > 10


def test_an_explanation_opens_at_its_parameter(browser, tmp_path, capsys):
    file = tmp_path / "why.html"
    assert main(["explain", "h.1.attn.c_proj.weight[5,7]", "--text", "Once upon a time", "--html", str(file)]) == 0
    capsys.readouterr()
    opened(browser, file)
    assert browser.execute_script("return document.querySelector('h2').textContent").startswith(
        "18 h.1.attn.c_proj.weight")
    explained = browser.execute_script("return document.getElementById('explained').textContent")
    assert explained.startswith("∂loss/∂h.1.attn.c_proj.weight[5, 7] = ")
    assert "by central differences" in explained
    browser.execute_script("show(116)")
    assert "Its share of the explained derivative: 100.0 %" in browser.execute_script(
        "return document.getElementById('detail').textContent")
    assert browser.get_log("browser") == []


def test_a_step_of_an_encoder_has_a_page():
    html = page_of_step(text_step(tiny.encoder_classifier(), "ice ski")).text
    assert "One training step of an encoder: " in html
    assert "[CLS]" in html


def test_the_command_writes_the_page(tmp_path, capsys):
    file = tmp_path / "step.html"
    assert main(["tape", "--model", "sms-spam", "--text", "win a prize", "--html", str(file)]) == 0
    assert file.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert file.stat().st_size < 10_000_000
    err = capsys.readouterr().err
    assert err.startswith(f"{file.stat().st_size / 1e6:.1f} MB written to {file}; ")
    assert err.endswith(" arrays are shown by the largest number of each block\n")
