"""A headless Chromium that a test drives over the DevTools protocol."""

import base64
import itertools
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

import cv2
import numpy as np
import pytest
from websockets.sync.client import connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE = 200.0
"""s. How long an event may take on a busy machine; nothing waits so long where all is well."""
VISER_PERIOD = 0.05
"""s. Of what a person does within this time, viser sends only the last thing."""
OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # containers run as root
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--remote-debugging-port=0",
    "--use-gl=angle",  # WebGL without a GPU
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
)


def find_chromium():
    """Return the path of a Chromium, or None."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


def is_near(pixels, colour, tolerance=60):
    """Return the number of pixels with about a colour."""
    return int((np.abs(pixels.astype(int) - colour).max(axis=2) <= tolerance).sum())


needs_chromium = pytest.mark.skipif(find_chromium() is None, reason="no Chromium here: apt install chromium")


class Browser:
    """One tab.

    Attributes:
        requests: the addresses that it has asked.
        errors: exceptions in the page.
    """

    def __init__(self, width=800, height=500):
        self._folder = tempfile.TemporaryDirectory(prefix="loc3r_browser_", ignore_cleanup_errors=True)
        options = [*OPTIONS, f"--window-size={width},{height}", f"--user-data-dir={self._folder.name}"]
        self._process = subprocess.Popen(
            [find_chromium(), *options, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._ids = itertools.count(1)
        self.requests, self.errors = [], []
        self._socket = connect(self._find_tab(), max_size=None)
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.send("Emulation.setDeviceMetricsOverride", **metrics)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()
        self._process.terminate()
        self._process.wait(PATIENCE)
        self._folder.cleanup()

    def _find_tab(self):
        """Return the address of the tab's debugger."""
        told = Path(self._folder.name, "DevToolsActivePort")
        deadline = time.monotonic() + PATIENCE
        while not (told.exists() and told.read_text().count("\n")):
            assert self._process.poll() is None, "Chromium did not start"
            assert time.monotonic() < deadline, "Chromium does not listen"
            time.sleep(0.02)
        with urllib.request.urlopen(f"http://127.0.0.1:{told.read_text().split()[0]}/json/list") as reply:
            return next(tab["webSocketDebuggerUrl"] for tab in json.load(reply) if tab["type"] == "page")

    def send(self, method, **parameters):
        """Return the result of a command."""
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(PATIENCE))
            self._note(message)
            if message.get("id") == number:
                assert "error" not in message, message["error"]
                return message["result"]

    def _note(self, message):
        if message.get("method") == "Network.requestWillBeSent":
            self.requests.append(message["params"]["request"]["url"])
        elif message.get("method") == "Network.webSocketCreated":
            self.requests.append(message["params"]["url"])
        elif message.get("method") == "Runtime.exceptionThrown":
            self.errors.append(message["params"]["exceptionDetails"])

    def open(self, url):
        self.send("Page.navigate", url=url)
        self.wait_for("document.readyState === 'complete'")

    def evaluate(self, expression):
        """Return the value of a JavaScript expression."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, expression, patience=PATIENCE):
        """Return the first value of an expression that counts as true; elements of the page become `true`."""
        deadline = time.monotonic() + patience
        while not (value := self.evaluate(f"(v => v instanceof Node ? true : v)({expression})")):
            assert time.monotonic() < deadline, f"{expression} did not become true; the page says:\n{self.text()}"
            time.sleep(0.05)
        return value

    def text(self):
        """Return what the page says."""
        return self.evaluate("document.body.innerText")

    def wait_for_text(self, text, patience=PATIENCE):
        self.wait_for(f"document.body?.innerText.includes({json.dumps(text)})", patience)

    def press(self, button):
        """Press the button with a text."""
        self.wait_for(f"""(() => {{
            const buttons = [...document.querySelectorAll("button")];
            const found = buttons.find(b => b.innerText.trim() === {json.dumps(button)});
            found?.click();
            return Boolean(found)}})()""")

    def type_into(self, label, text):
        """Replace what stands in the field with a label."""
        self.wait_for(f"""(() => {{
            const found = [...document.querySelectorAll("label")].find(l => l.innerText.trim() === {json.dumps(label)});
            const field = found?.closest("div:has(input, textarea)").querySelector("input, textarea");
            field?.focus();
            field?.select();
            return field && document.activeElement === field}})()""")
        self.send("Input.insertText", text=text)
        time.sleep(4 * VISER_PERIOD)

    def enter(self):
        """Press the Enter key."""
        for kind in ("keyDown", "keyUp"):
            self.send(
                "Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", text="\r", windowsVirtualKeyCode=13
            )

    def screenshot(self, path=None):
        """Return the (H, W, 3) RGB pixels of the page; also written to `path`, a PNG."""
        data = base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"])
        if path is not None:
            Path(path).write_bytes(data)
        return cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)

    def scene(self):
        """Return the pixels of the 3D scene alone."""
        x, y, width, height = self.evaluate(
            "(box => [box.x, box.y, box.width, box.height].map(Math.round))"
            "(document.querySelector('canvas').getBoundingClientRect())"
        )
        return self.screenshot()[y : y + height, x : x + width]

    def dismiss_notifications(self):
        """Close viser's hint that WebGL runs without a GPU."""
        self.evaluate("document.querySelectorAll('[class*=Notification] button').forEach(b => b.click())")
