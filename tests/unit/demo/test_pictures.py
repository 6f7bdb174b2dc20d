"""Evidence is marked where it stands, and nothing in a report becomes markup."""

import html
import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from wristmir_ray.anatomy import Box
from wristmir_ray.demo.pictures import highlighted, with_boxes


def test_quotes_are_marked_and_escaped() -> None:
    text = "A <b>buckle</b> fracture & more."
    start = text.index("buckle")
    out = highlighted(text, [{"field": "type", "start": start, "end": start + 6, "quote": "buckle"}])
    assert out == 'A &lt;b&gt;<mark title="type">buckle</mark>&lt;/b&gt; fracture &amp; more.'


@given(st.text(max_size=60), st.lists(st.tuples(st.integers(-1, 60), st.integers(0, 60)), max_size=5))
def test_without_its_marks_the_text_is_whole(text: str, spans: list[tuple[int, int]]) -> None:
    evidence = [{"field": "f", "start": a, "end": max(a, min(b, len(text)))} for a, b in spans if a <= len(text)]
    out = highlighted(text, evidence)
    assert html.unescape(re.sub(r'<mark title="f">|</mark>', "", out)) == html.unescape(html.escape(text))


def test_a_picture_is_a_data_uri() -> None:
    gray = np.full((100, 80), 90, np.uint8)
    assert with_boxes(gray, {"wrist": Box(10, 10, 60, 70)}, 200).startswith("data:image/jpeg;base64,")
