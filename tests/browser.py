"""What a page asks for in a real browser: Chromium's network log of a visit."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

BROWSERS = ("chromium", "google-chrome", "chromium-browser")
NOWHERE = "http://127.0.0.1:9/"
# Chromium's own requests (updates, sign-in, field trials) go nowhere: the log is the page's.
OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-extensions", "--no-first-run",
    "--disable-default-apps", "--disable-domain-reliability", "--no-pings", "--no-proxy-server",
    "--disable-features=NetworkTimeServiceQuerying,AutofillServerCommunication,Translate,"
    "OptimizationHints,OptimizationGuideModelDownloading",
    f"--optimization-guide-service-get-hints-url={NOWHERE}",
    f"--optimization-guide-service-get-models-url={NOWHERE}",
    f"--gaia-url={NOWHERE}", f"--component-updater=url-source={NOWHERE}",
    f"--apps-gallery-update-url={NOWHERE}", f"--variations-server-url={NOWHERE}",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)  # fmt: skip


def visit(url: str, folder: Path, *, seconds: int = 15) -> tuple[list[str], str]:
    """Return the addresses that the page asked for within `seconds`, and its document at the end.

    No request leaves the machine, but each is in the log.
    """
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    assert browser, f"these tests need one of {', '.join(BROWSERS)}"
    log, profile = folder / "net-log.json", folder / "profile"
    done = subprocess.run(
        [browser, *OPTIONS, f"--user-data-dir={profile}", f"--log-net-log={log}",
         f"--virtual-time-budget={seconds * 1000}", "--dump-dom", url],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    logged: dict[str, Any] = json.loads(log.read_text())
    started = logged["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    events = [event for event in logged["events"] if event["type"] == started]
    asked = [event["params"]["url"] for event in events if "url" in event.get("params", {})]
    shutil.rmtree(profile)
    assert url in asked or url.startswith("file:"), asked  # files are not in the log
    return [each for each in asked if not each.startswith(NOWHERE)], done.stdout
