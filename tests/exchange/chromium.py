"""A headless Chromium, driven by the DevTools protocol over two pipes."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Message = dict[str, Any]

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE = 30.0
"""Seconds to wait for an answer or a condition."""


class Page:
    """One page of the browser.

    Attributes:
        problems: errors and warnings in the console, and exceptions.
    """

    def __init__(self, inbox: int, outbox: int) -> None:
        self._inbox, self._outbox, self._received, self._calls = inbox, outbox, b"", 0
        self._session: str | None = None
        self.problems: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **arguments: object) -> Message:
        """Calls a method of the protocol and returns its result."""
        self._calls += 1
        message = {"id": self._calls, "method": method, "params": arguments}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._outbox, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._calls:
                assert "error" not in answer, (method, answer)
                result: Message = answer["result"]
                return result
            self._note(answer)

    def _receive(self) -> Message:
        deadline = time.monotonic() + PATIENCE
        while b"\0" not in self._received:
            ready, _, _ = select.select([self._inbox], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"Chromium did not answer within {PATIENCE} s"
            part = os.read(self._inbox, 2**20)
            assert part, "Chromium ended"
            self._received += part
        message, self._received = self._received.split(b"\0", 1)
        answer: Message = json.loads(message)
        return answer

    def _note(self, event: Message) -> None:
        """Keeps what a visitor's console would show as an error or a warning."""
        method, details = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.problems.append(str(details["exceptionDetails"].get("exception", details)))
        elif method == "Runtime.consoleAPICalled" and details["type"] in ("error", "warning", "assert"):
            self.problems.append(str([each.get("value") for each in details["args"]]))
        elif method == "Log.entryAdded" and details["entry"]["level"] in ("error", "warning"):
            self.problems.append(details["entry"]["text"] + " " + details["entry"].get("url", ""))

    def open(self, url: str, width: int = 1280, height: int = 800, phone: bool = False) -> None:
        """Opens an address in a window of this size."""
        scale = 3 if phone else 1
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=phone
        )
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def run(self, script: str) -> object:
        """Value of an expression, or of the promise that it returns."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, condition: str) -> None:
        """Waits until an expression is true."""
        deadline = time.monotonic() + PATIENCE
        while not self.run(condition):
            assert time.monotonic() < deadline, (condition, self.run("document.body.innerText"), self.problems)
            time.sleep(0.02)

    def press(self, key: str, code: int, text: str = "", shift: bool = False) -> None:
        """Presses a key."""
        keys = {"key": key, "code": key, "windowsVirtualKeyCode": code, "modifiers": 8 if shift else 0}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **keys)
        self.call("Input.dispatchKeyEvent", type="keyUp", **keys)

    def screenshot(self, file: Path) -> None:
        """Saves what the window shows as a PNG."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def browser_page(profile: Path, *flags: str) -> Iterator[Page]:
    """A page of a new headless browser, which ends afterwards.

    Args:
        profile: folder for the files of the browser.
        flags: further command-line flags.
    """
    assert CHROMIUM is not None
    (their_inbox, outbox), (inbox, their_outbox) = os.pipe(), os.pipe()
    command = [
        CHROMIUM,
        *("--headless=new", "--no-sandbox", "--no-first-run", "--disable-dev-shm-usage", "--remote-debugging-pipe"),
        *(f"--user-data-dir={profile}", "--disable-background-networking", "--disable-component-update"),
        *flags,
    ]
    # The browser reads from descriptor 3 and writes to descriptor 4.
    script = f'exec 8<&{their_inbox} 9>&{their_outbox}; exec "$@" 3<&8 4>&9 8<&- 9>&-'
    process = subprocess.Popen(
        ["bash", "-c", script, "bash", *command],
        pass_fds=(their_inbox, their_outbox),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(their_inbox)
    os.close(their_outbox)
    try:
        yield Page(inbox, outbox)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(inbox)
        os.close(outbox)
