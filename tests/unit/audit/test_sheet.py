"""The sheet: nothing lost of the report, and a real browser in which it works."""

import html
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.unit.audit.reports import sources
from wristmir_ray.audit.sheet import Sampled, segments, sheet
from wristmir_ray.audit.values import values
from wristmir_ray.mining.rules import mine

SAMPLED = [Sampled(f"{i:032x}", s.passages.report, s.record, (), ("left",)) for i, s in enumerate(sources()[:12])]
HOSTILE = 'Left wrist. <script>alert(1)</script> Buckle fracture of the distal radius & "ulna".\n\n</p>'

_DRIVE = """
<script>
const press = key => document.dispatchEvent(new KeyboardEvent("keydown", { key }));
["r", "w", "h", "j", "r", "k", "u", "c"].forEach(press);
document.body.dataset.marks = JSON.stringify(Object.values(marks));
document.body.dataset.at = at;
document.body.dataset.quoted = document.querySelectorAll("mark.now").length;
press("R");
document.body.dataset.done = document.querySelectorAll("article.done").length;
</script>
"""


def test_the_segments_are_the_report() -> None:
    for s in SAMPLED:
        assert "".join(x.text for x in segments(s.text, list(values(s.record)))) == s.text


def test_report_text_cannot_leave_its_place() -> None:
    page = sheet([Sampled("0" * 32, HOSTILE, mine(HOSTILE))], "r1", 0)
    assert page.count("<script>") == 1
    shown = re.search(r'<p class="report">(.*?)</p>', page, re.DOTALL)
    assert shown is not None
    assert html.unescape(re.sub(r"<[^>]*>", "", shown[1])) == HOSTILE
    assert not re.search(r'(?:src|href)="|https?://|@import|url\(', page), "no external resource"


def test_a_lost_quote_and_the_checks_are_shown() -> None:
    text, record = next((s.text, s.record) for s in SAMPLED if s.record.evidence)
    lost = record.evidence[0].model_copy(update={"quote": "not there", "start": -1, "end": -1})
    doubted = [{"finding": -1, "field": lost.field, "kind": "ungrounded"}]
    page = sheet([Sampled("0" * 32, text, record.model_copy(update={"evidence": (lost,)}), doubted)], "r", 0)
    assert "“not there”" in page
    assert "checks: ungrounded" in page


@pytest.fixture(scope="module")
def chromium() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no chromium on this machine: the sheet is not tried in a real browser")
    return found


def opened(chromium: str, page: Path, profile: Path) -> str:
    """Return the page's DOM after its scripts; a console message fails."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", f"--user-data-dir={profile}"]
    command = [chromium, *flags, "--dump-dom", page.as_uri()]
    out = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in out.stderr
    return out.stdout


def test_a_real_browser_shows_every_value_and_takes_marks(chromium: str, tmp_path: Path) -> None:
    page = tmp_path / "sheet.html"
    text = sheet(SAMPLED, "run1", 0)
    page.write_text(text.replace("</body>", _DRIVE + "</body>"))
    dom = opened(chromium, page, tmp_path / "profile")
    count = sum(len(list(values(s.record))) for s in SAMPLED)
    assert dom.count('class="value') == count
    assert f'<b id="all">{count}</b>' in dom
    body = re.search(r"<body [^>]*>", dom)
    assert body is not None
    assert html.unescape(body[0]).count("right") == 1, "the second r was cleared by k, u"
    assert 'data-marks="[&quot;right&quot;,&quot;wrong&quot;,&quot;hallucinated&quot;]"' in body[0]
    assert 'class="checks"' in body[0]
    assert 'data-quoted="0"' not in body[0]
    assert 'data-done="1"' in body[0]
