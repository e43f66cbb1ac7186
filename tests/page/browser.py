"""A page in a real browser, without a screen."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--allow-file-access-from-files", "--virtual-time-budget=30000", "--dump-dom"),
)
_ASK = """<script>
window.faults = [];
window.addEventListener("error", (event) => faults.push(String(event.message)));
document.addEventListener("securitypolicyviolation", (event) => faults.push("refused: " + event.blockedURI));
for (const kind of ["error", "warn"])
  console[kind] = (...words) => faults.push(kind + ": " + words.join(" "));
window.addEventListener("load", async () => {
  const wait = (ms) => new Promise((done) => setTimeout(done, ms));
  let found;
  try { found = await (async () => { %s })(); } catch (error) { faults.push("asked: " + error); }
  const told = document.createElement("pre");
  told.id = "told";
  told.textContent = JSON.stringify({ found: found === undefined ? null : found, faults });
  document.body.append(told);
});
</script>"""


def dumped(url: str, tmp_path: Path, *flags: str) -> str:
    """The elements of a page, as text, once its scripts have run for half a minute of the browser's own time.

    Args:
        url: Of the page.
        tmp_path: For the browser's profile.
        *flags: Further words of the command line.
    """
    assert BROWSER is not None
    words = [BROWSER, *_FLAGS, *flags, f"--user-data-dir={tmp_path / 'profile'}", url]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def ask(
    page: Path, script: str, tmp_path: Path, width: int = 1100, *, dark: bool = False, still: bool = False
) -> tuple[Any, list[str]]:
    """What a script returns that runs in the page, and everything that the browser complained of.

    Args:
        page: The page; it is left as it is.
        script: The body of an asynchronous function; `wait(ms)` waits.
        tmp_path: For a copy, and for the browser's profile.
        width: Of the window that the page sees, in pixels; phones have less than browsers' windows can have.
        dark: What the system prefers.
        still: Whether the system prefers reduced motion.
    """
    # Before the page's policy, which refuses scripts that are not the page's own.
    text = page.read_text(encoding="utf-8").replace("<head>", "<head>" + _ASK % script, 1)
    asked = tmp_path / "asked.html"
    asked.write_text(text, encoding="utf-8")
    framed = tmp_path / "framed.html"
    framed.write_text(
        "<!doctype html><body>"
        f'<iframe src="asked.html" style="width:{width}px;height:900px;border:0"></iframe>'
        "<script>const frame = document.querySelector('iframe'), look = setInterval(() => {"
        "const told = frame.contentDocument && frame.contentDocument.getElementById('told');"
        "if (told) { clearInterval(look); document.body.append(told.cloneNode(true)); frame.remove(); }"
        "}, 50);</script></body>"
    )
    scheme = ["--blink-settings=preferredColorScheme=0"] if dark else []
    motion = ["--force-prefers-reduced-motion"] if still else []
    shown = dumped(framed.as_uri(), tmp_path, *scheme, *motion)
    (told,) = re.findall(r'<pre id="told">(.*?)</pre>', shown, flags=re.S)
    answer = json.loads(html.unescape(told))
    return answer["found"], answer["faults"]
