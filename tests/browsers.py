"""A real browser for tests: Debian's Chromium, driven by playwright."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


def without(what: str) -> None:
    """Skip a test that needs a browser, or let it fail in CI."""
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(what)


def find_chromium() -> str:
    """The browser's command."""
    found = filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))
    return next(found, None) or without("no Chromium was found: install one (Debian: apt-get install chromium)")


@contextlib.contextmanager
def open_page(profile: Path) -> Iterator[Any]:
    """An empty page of a browser that keeps its files in the folder `profile`."""
    command = find_chromium()
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        without("the package playwright is not installed: pip install -e '.[lab,dev]' -c constraints.txt")
    options = {"executable_path": command, "args": FLAGS, "viewport": {"width": 1300, "height": 1000}}
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(str(profile), **options)
        yield context.pages[0]
        context.close()
