"""A headless Chromium for the tests that drive a page, and the words in which they do it."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars",
)  # fmt: skip


class Page:
    """One page in the browser."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(
        self, path: Path | str, width: int = 1280, height: int = 900, *, dark: bool = False, still: bool = True
    ) -> "Page":
        """Open a file, or an address, at a width [px]; `still` asks for reduced motion, so that nothing plays by itself."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce" if still else "no-preference"},
        ]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        self.driver.get_log("browser")  # forget what other pages said
        self.driver.get(path if isinstance(path, str) else path.as_uri())
        self.run("localStorage.clear()")
        return self

    def run(self, program: str, *arguments: Any) -> Any:
        """Return what a JavaScript expression gives."""
        return self.driver.execute_script(f"return {program}", *arguments)

    def all(self, selector: str) -> list[Any]:
        """The elements of a selector."""
        return self.driver.find_elements("css selector", selector)

    def one(self, selector: str) -> Any:
        """The only element of a selector."""
        [element] = self.all(selector)
        return element

    def click(self, selector: str, index: int = 0) -> None:
        """Click the `index`-th element of a selector, in the middle of the window."""
        element = self.all(selector)[index]
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def choose(self, selector: str, value: str) -> None:
        """Give a control a value, as a person who picks or drags it does."""
        events = "['input', 'change'].forEach((name) => control.dispatchEvent(new Event(name, {bubbles: true})))"
        program = f"(() => {{ const control = document.querySelector(arguments[0]); control.value = arguments[1]; {events}; }})()"
        self.driver.execute_script(program, selector, value)

    def point(self, selector: str, across: float) -> None:
        """Move the pointer to a place across the first element of a selector, 0 at its left and 1 at its right."""
        from selenium.webdriver import ActionChains

        element = self.all(selector)[0]
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        away = round(element.rect["width"] * (across - 0.5))
        ActionChains(self.driver).move_to_element_with_offset(element, away, 0).perform()

    def texts(self, selector: str) -> list[str]:
        """The text of each element."""
        return self.run("[...document.querySelectorAll(arguments[0])].map((element) => element.textContent)", selector)

    def press(self, *keys: str) -> None:
        """Press keys, wherever the focus is."""
        from selenium.webdriver import ActionChains

        for key in keys:
            ActionChains(self.driver).send_keys(key).perform()

    def until(self, holds: str | Callable[[], Any], seconds: float = 15) -> Any:
        """Wait until an expression or a function holds, and return what it gave."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            value = self.run(holds) if isinstance(holds, str) else holds()
            if value:
                return value
            time.sleep(0.03)
        raise AssertionError(f"not within {seconds} s: {holds if isinstance(holds, str) else 'the condition'}")

    def cards(self) -> list[str]:
        """The jobs of the gallery, in the order in which they are shown."""
        return self.run("[...document.querySelectorAll('#gallery .card')].map((card) => card.dataset.job)")

    def rows(self) -> list[str]:
        """The jobs of the table, in order."""
        return self.run("[...document.querySelectorAll('#table tbody tr')].map((row) => row.dataset.job)")

    def times(self) -> list[float]:
        """The position of every film that exists [s]."""
        return self.run("[...document.querySelectorAll('#gallery video')].map((video) => video.currentTime)")

    def ready(self) -> None:
        """Wait until every film that exists, and one does, shows a frame."""
        waits = "[...document.querySelectorAll('video')].some((video) => video.readyState < 2 || video.seeking)"
        self.until(f"document.querySelector('video') && !{waits}")

    def every_film(self, holds: str) -> None:
        """Wait until an expression of `video` holds for every film that exists."""
        self.until(f"[...document.querySelectorAll('video')].every((video) => {holds})")

    def open_menu(self, label: str) -> None:
        """Unfold the filter that begins with `label`."""
        program = """[...document.querySelectorAll('#controls .menu')].forEach((menu) => {
            menu.open = menu.firstChild.textContent.startsWith(arguments[0]); })"""
        self.driver.execute_script(program, label)

    def column(self, key: str) -> list[tuple[str, float, bool]]:
        """A column of the table: each row's job, its value, and whether it is marked best."""
        found = self.driver.execute_script(
            """const heads = [...document.querySelectorAll('#table th[scope=col]')];
            const at = heads.findIndex((head) => head.dataset.key === arguments[0]);
            return [...document.querySelectorAll('#table tbody tr')].map((row) =>
                [row.dataset.job, Number(row.children[at].title), row.children[at].classList.contains('best')]);""",
            key,
        )
        return [tuple(row) for row in found]

    def complaints(self) -> list[str]:
        """What the browser's console holds."""
        return [entry["message"] for entry in self.driver.get_log("browser")]


def start(folder: Path) -> Any:
    """Start the browser with a fresh profile in `folder`; skip where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: pip install -e '.[dev]'")
    browser, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if not browser or not driver:
        pytest.skip("no chromium and chromedriver here: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in (*_FLAGS, f"--user-data-dir={folder}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
