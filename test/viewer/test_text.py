"""The texts of the page."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loc3r_ros.viewer import text
from loc3r_ros.viewer.content import Described, Exchange, Level, Status, Timing

EVIL = '<img src=x onerror="alert(1)">&'
WORDS = st.text(min_size=1, max_size=40)


def plain(html):
    return re.sub(r"<[^>]*>", "", html)


def test_a_status_is_a_light_a_sentence_and_details():
    html = text.status(Status(Level.WARN, "active, 3 images/s", ("a detail",)))
    assert text.LIGHTS[Level.WARN] in html
    assert "active, 3 images/s" in html
    assert "a detail" in html
    assert set(text.LIGHTS) == set(Level)


@pytest.mark.parametrize(
    "html",
    [
        text.status(Status(Level.OK, EVIL, (EVIL,))),
        text.conversation([Exchange(EVIL, EVIL, EVIL, EVIL, EVIL)]),
        text.timings([Timing(EVIL, 0.1, 0.2)]),
    ],
)
def test_what_comes_from_outside_is_no_markup(html):
    assert "<img" not in html
    assert "&lt;img src=x onerror=&quot;" in html


def test_the_newest_exchange_stands_first_and_what_runs_has_a_cursor():
    old = Exchange("", "How many chairs?", "Four.", note="24 keyframes")
    new = Exchange("by the sofa", "What is left of me?", "A la", is_running=True)
    html = text.conversation([old, new])
    assert html.index("A la") < html.index("Four.")
    assert html.count("&#9646;") == 1
    assert "24 keyframes" in html
    assert "by the sofa" in html


def test_an_exchange_without_an_answer_says_why():
    html = text.conversation([Exchange("", "What?", error="No node offers /ask.")])
    assert text.LIGHTS[Level.ERROR] in html
    assert "No node offers /ask." in html


def test_an_empty_page_says_what_to_do():
    assert "Describe a place" in text.conversation([])
    assert "nothing measured" in text.timings([])


def test_the_longest_bar_is_that_of_the_largest_value():
    html = text.timings([Timing("decode", 0.001, 0.002), Timing("answer", 1.0, 1.0), Timing("never", 0.0, 0.0)])
    assert re.findall(r"width:([\d.]+)%\"></div>", html) == ["0.1", "100.0", "0.0"]
    assert "1.0 ms" in plain(html)
    assert "1.00 s" in plain(html)


def test_times_of_zero_divide_nothing():
    assert "0.0%" in text.timings([Timing("decode", 0.0, 0.0)])


def test_a_place_is_told_in_metres_and_degrees_with_one_sigma():
    place = Described("", np.array([1.0, -2.5, -np.pi / 2]), np.diag([0.04, 0.25, 0.01]), np.ones(36) / 36, 0.625, 0.2)
    assert text.describe(place) == "x 1.00 ± 0.20 m, y -2.50 ± 0.50 m, heading -90 ± 6°, 62 % sure within 1 m"


@given(WORDS, st.integers(2, 50))
def test_a_shortened_text_is_no_longer_than_asked_for(words, most):
    short = text.shorten(words, most)
    assert len(short) <= most
    assert short == words or (short.endswith("…") and words.startswith(short[:-1]))
