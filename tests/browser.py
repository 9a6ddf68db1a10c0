"""A JupyterLab of its own and a browser in it, for the tests of what a reader of a notebook sees and does."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

# as in kdcourse/cli.py: it would cost each start 3 s
START = "import sys; sys.modules['rfc3987_syntax'] = None; from jupyterlab.labapp import main; sys.exit(main())"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True},
    "notebook-extension/tracker": {"windowingMode": "none"},    # every cell is in the page, seen or not
    "docmanager-extension/plugin": {"autosave": False},
}


def chromium() -> str:
    """Where Chromium is. Without it, or without Playwright, the test is skipped; with KDCOURSE_MUST_BROWSE it fails."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path and find_spec("playwright"):
        return path
    missing = "Chromium (on Debian: apt install chromium)" if not path else "Playwright (pip install playwright)"
    reason = f"tests in a real browser need {missing}"
    if os.environ.get("KDCOURSE_MUST_BROWSE"):
        pytest.fail(f"{reason}, and KDCOURSE_MUST_BROWSE is set", pytrace=False)
    pytest.skip(reason)


@contextmanager
def started(path: str) -> Iterator:
    """Chromium, through Playwright. It asks nobody for anything of its own accord."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[
            "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def lab(root: Path, course: Path | None = None) -> Iterator[str]:
    """A JupyterLab that serves `root`/served and keeps everything of its own elsewhere in `root`. Gives its address.

    With `course`, a folder in `served`, it is started there, so that formgrader finds the course's configuration.
    """
    for name, settings in SETTINGS.items():
        file = root / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(settings))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folders = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "JUPYTER_RUNTIME_DIR": "runtime",
               "JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
               "IPYTHONDIR": "ipython"}
    token, log = "kdcourse", root / "lab.log"
    environment = os.environ | {name: str(root / folder) for name, folder in folders.items()}
    environment |= {"KDCOURSE_PROFILE": "quick", "KDCOURSE_QUIET": "1", "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": ""}
    command = [sys.executable, "-c", START, "--no-browser", "--ServerApp.ip=127.0.0.1", "--allow-root",
               f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}",
               f"--ServerApp.root_dir={root / 'served'}", "--LabApp.news_url="]
    with log.open("w") as output:
        server = subprocess.Popen(command, cwd=course or root, env=environment, stdout=output, stderr=subprocess.STDOUT)
        try:
            _wait(f"http://127.0.0.1:{port}/api", server, log)
            yield f"http://127.0.0.1:{port}/lab/tree/{{}}?token={token}"
        finally:
            server.terminate()      # it stops its kernels, then itself
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()       # a kernel without its server ends by itself
                server.wait()


def _wait(address: str, server: subprocess.Popen, log: Path, seconds: int = 60) -> None:
    end = time.monotonic() + seconds
    while server.poll() is None and time.monotonic() < end:
        try:
            with urlopen(address, timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.2)
    pytest.fail(f"JupyterLab did not start within {seconds} s; it said:\n{log.read_text()[-4000:]}", pytrace=False)
