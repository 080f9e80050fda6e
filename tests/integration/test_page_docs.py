"""The page that describes the API, in a real browser before the real daemon."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest_twisted
from playwright.sync_api import Page

from kpiggybank.web.description import DESCRIPTION
from tests.integration.browser import MEMORY, Browser, home, save
from tests.integration.daemon import Daemon


@pytest_twisted.ensureDeferred
async def test_docs(browser: Browser, tmp_path: Path) -> None:
    """It shows every operation, and one can be tried; nothing comes from or goes elsewhere."""
    async with Daemon(tmp_path, environ=MEMORY) as daemon:
        await save(daemon.port, [{"timestamp": 1}, {"timestamp": 2}])
        tab = await browser.open("about:blank")
        hosts: set[str] = set()

        def note(address: str) -> None:
            if not address.startswith(("data:", "blob:")):
                hosts.add(urlsplit(address).netloc)

        await tab.do(lambda page: page.on("request", lambda request: note(request.url)))
        await tab.do(lambda page: page.goto(f"{home(daemon)}docs"))
        operations = [
            operation for methods in DESCRIPTION["paths"].values() for operation in methods.values()
        ]
        for operation in operations:
            await tab.do(
                lambda page, summary=operation["summary"]: (  # type: ignore[misc]
                    page.get_by_text(summary).first.wait_for(state="attached")
                )
            )
        count = DESCRIPTION["paths"]["/wsapi/interaction_data/count"]["get"]["summary"]

        def ask(page: Page) -> str:
            page.get_by_text(count).first.click()
            page.get_by_role("button", name="TRY").click()
            page.get_by_text("Response Status: OK:200").wait_for()
            return page.locator("api-request pre:visible").first.inner_text()

        assert (await tab.do(ask)).strip() == "2"
        assert hosts == {f"127.0.0.1:{daemon.port}"}
        await tab.picture("docs")
        # What a policy forbids is told as an error.
        assert tab.complaints == []
