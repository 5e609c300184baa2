"""The page of `serve` in real Chromium: the three tasks, by mouse and by keyboard, and texts that look like code."""

import pytest
from chromium import headless, opened, requested

pytest.importorskip("starlette", reason="the extra 'serve' is not installed")
HOSTILE = '<img src=x onerror="document.title=1"><script>document.title=2</script> \u202e & bug'


@pytest.fixture(scope="module")
def browser():
    with headless() as browser:
        yield browser


@pytest.fixture(params=[1280])
def page(request, browser, served):
    """The page, opened; afterwards nothing was said on the console, and nothing was asked of another server."""
    opened(browser, served, request.param)
    until(browser, "return document.body.dataset.ready")
    yield browser
    assert browser.get_log("browser") == []
    assert [url for url in requested(browser) if not url.startswith((served, "data:"))] == []
    assert browser.title == "tinygrad_gpt"
    assert browser.execute_script("return document.documentElement.scrollWidth") <= request.param


def until(browser, script):
    from selenium.webdriver.support.wait import WebDriverWait

    return WebDriverWait(browser, 20, poll_frequency=0.02).until(lambda browser: browser.execute_script(script))


def write(page, name, text):
    page.execute_script("document.getElementById(arguments[0]).value = arguments[1]", name, text)


def press(page, selector):
    from selenium.webdriver.common.by import By

    page.find_element(By.CSS_SELECTOR, selector).click()


def text_of(page, selector):
    return page.execute_script("return document.querySelector(arguments[0])?.textContent", selector)


def keys(page, *pressed, held=None):
    """Press keys one after the other, while one more may be held."""
    from selenium.webdriver.common.action_chains import ActionChains

    chain = ActionChains(page)
    if held:
        chain.key_down(held).send_keys(*pressed).key_up(held).perform()
    else:
        chain.send_keys(*pressed).perform()


@pytest.mark.parametrize("page", [1280, 390], indirect=True)
def test_a_text_is_classified_and_its_words_are_marked(page):
    write(page, "text", "ice ski loop")
    press(page, "#classify .main")
    until(page, "return document.querySelector('.verdict')")
    assert text_of(page, ".read") == "ice ski loop"
    marks = page.execute_script("return [...document.querySelectorAll('.read mark')].map(mark => "
                                "[mark.textContent, mark.title, getComputedStyle(mark).backgroundColor])")
    assert [mark[0] for mark in marks] == ["ice", "ski", "loop"]
    assert all(mark[1][0] in "+−" and float(mark[1][1:]) >= 0 for mark in marks)
    assert all(("rgba(214, 64, 54" if mark[1][0] == "+" else "rgba(44, 120, 200") in mark[2] or
               "0.55)" not in mark[2] for mark in marks)
    assert len({mark[2] for mark in marks}) == 3
    rows = page.execute_script("return [...document.querySelectorAll('.probabilities td.number')].map(cell => "
                               "Number(cell.textContent))")
    assert len(rows) == 3
    assert sum(rows) == pytest.approx(1, abs=0.002)
    assert rows == sorted(rows, reverse=True)


def test_texts_and_labels_are_shown_and_never_run(page):
    for text in (HOSTILE, "sand heat", "ice ski", "loop bug"):
        write(page, "text", text)
        page.execute_script("document.getElementById('answer').replaceChildren()")
        press(page, "#classify .main")
        until(page, "return document.querySelector('.read')")
    labels = page.execute_script("return [...document.querySelectorAll('.probabilities bdi')].map(l => l.textContent)")
    assert '<img src=x onerror="document.title=1">' in labels
    write(page, "prompt", HOSTILE)
    press(page, "#tab-generate")
    press(page, "#generate .main")
    until(page, "return document.querySelector('#generate .stop').disabled")
    assert text_of(page, "#written").startswith(HOSTILE)
    press(page, "#tab-chat")
    write(page, "message", HOSTILE)
    press(page, "#chat .main")
    until(page, "return document.querySelector('#chat [role=status]').textContent.includes('ended')")
    assert page.execute_script("return document.querySelectorAll('main img, main script').length") == 0


def test_a_text_is_generated_as_it_comes_and_stopped(page):
    press(page, "#tab-generate")
    write(page, "prompt", "bug")
    page.execute_script("document.querySelector('#generate [name=max_new_tokens]').value = 4096")
    page.execute_script("document.querySelector('#generate [name=temperature]').value = 0")  # without an end
    press(page, "#generate .main")
    until(page, "return document.getElementById('written').textContent.length > 20")
    assert page.execute_script("return document.querySelector('#generate .main').disabled")
    early = len(text_of(page, "#written"))
    until(page, f"return document.getElementById('written').textContent.length > {early}")  # it grows
    press(page, "#generate .stop")
    until(page, "return document.querySelector('#generate .stop').disabled")
    assert text_of(page, "#generate [role=status]").endswith("ended by: you")
    written = text_of(page, "#written")
    assert written.startswith("bug")
    page.execute_script("document.querySelector('#generate [name=max_new_tokens]').value = 5")
    press(page, "#generate .main")
    until(page, "return document.querySelector('#generate [role=status]').textContent.startsWith('5 pieces')")
    assert written.startswith(text_of(page, "#written"))  # the same seed
    assert text_of(page, "#generate [role=status]").endswith("ended by: the number of tokens")


def test_a_conversation_goes_on(page):
    press(page, "#tab-chat")
    assert "was not tuned on instructions" in text_of(page, "#untuned")
    page.execute_script("document.querySelector('#chat [name=max_new_tokens]').value = 8")
    for number, message in enumerate(("bug loop", "ice"), start=1):
        write(page, "message", message)
        press(page, "#chat .main")
        until(page, "return document.querySelector('#chat [role=status]').textContent.includes('ended') && "
                    f"document.querySelectorAll('.said').length == {2 * number}")
    said = page.execute_script("return [...document.querySelectorAll('.said')].map(one => one.lastChild.textContent)")
    assert said[::2] == ["bug loop", "ice"]
    assert all(said)
    press(page, "#anew")
    assert page.execute_script("return document.querySelectorAll('.said').length") == 0


def test_the_keyboard_is_enough(page):
    from selenium.webdriver.common.keys import Keys

    focused = "return document.activeElement.id || document.activeElement.className"
    keys(page, Keys.TAB)
    assert page.execute_script(focused) == "tab-classify"
    keys(page, Keys.TAB, "ice ski")
    keys(page, Keys.ENTER, held=Keys.CONTROL)
    until(page, "return document.querySelector('.verdict')")
    keys(page, Keys.TAB, held=Keys.SHIFT)
    keys(page, Keys.ARROW_RIGHT)
    assert page.execute_script(focused) == "tab-generate"
    assert page.execute_script("return document.getElementById('generate').hidden") is False
    keys(page, Keys.ARROW_RIGHT, Keys.HOME, Keys.END)
    assert page.execute_script(focused) == "tab-chat"
    keys(page, Keys.TAB, "bug", Keys.ENTER)
    until(page, "return document.querySelectorAll('.said').length == 2")
    keys(page, *[Keys.TAB] * 5)
    until(page, "return document.querySelector('#chat .stop').disabled")
    assert page.execute_script("return document.activeElement.closest('#chat') !== null")
    names = page.execute_script(  # everything that can be reached has a name
        "return [...document.querySelectorAll('button, textarea, input, select')].map(one => "
        "one.textContent || one.labels?.[0]?.textContent || '')")
    assert all(name.strip() for name in names)


def test_what_fails_is_told(page, served):
    write(page, "text", "  ")
    press(page, "#classify .main")
    until(page, "return !document.getElementById('failure').hidden")
    assert text_of(page, "#failure").startswith("bad request (texts.0): the text is empty; ")
    assert page.execute_script("return document.getElementById('failure').getAttribute('role')") == "alert"
    (said,) = page.get_log("browser")  # the browser itself notes every answer of 400
    assert "400 (Bad Request)" in said["message"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read_in_light_and_in_the_dark(page, scheme):
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {
        "features": [{"name": "prefers-color-scheme", "value": scheme},
                     {"name": "prefers-reduced-motion", "value": "reduce"}]})  # no colour on its way to another
    write(page, "text", "ice ski loop")
    press(page, "#classify .main")
    until(page, "return document.querySelector('.read mark')")
    assert page.execute_script(CONTRAST) >= 4.5


CONTRAST = """
const channels = colour => colour.match(/[\\d.]+/g).map(Number);
const over = (top, under) => { const a = top[3] ?? 1; return under.map((c, i) => top[i] * a + c * (1 - a)); };
const light = ([r, g, b]) => [r, g, b].map(c => c / 255).map(c => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
  .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
const paper = node => node ? over(channels(getComputedStyle(node).backgroundColor), paper(node.parentElement)) :
  [255, 255, 255];
const shown = [...document.querySelectorAll('body *')].filter(node => node.checkVisibility() && !node.disabled &&
  [...node.childNodes].some(child => child.nodeType === 3 && child.data.trim()));
return Math.min(...shown.map(node => {
  const [a, b] = [light(channels(getComputedStyle(node).color)), light(paper(node))].sort((x, y) => y - x);
  return (a + .05) / (b + .05);
}));
"""
