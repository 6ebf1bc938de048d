"""The texts of the page, as HTML. Whatever comes from outside is escaped: an answer is not a program."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np

from loc3r_ros.viewer.content import Described, Exchange, Level, Status, Timing

LIGHTS = {Level.OK: "#3fb950", Level.WARN: "#e3a008", Level.ERROR: "#f85149", Level.ABSENT: "#8b949e"}
FAINT = "opacity:0.65"


def status(state: Status) -> str:
    """Return how the node is: a light, a sentence, details."""
    light = f'<span style="color:{LIGHTS[state.level]}">&#9679;</span>'
    details = "".join(f'<div style="{FAINT};font-size:0.85em">{escape(line)}</div>' for line in state.details)
    return _block(f"<div>{light} <b>{escape(state.text)}</b></div>{details}")


def conversation(exchanges: Sequence[Exchange]) -> str:
    """Return what was asked and answered, the newest first."""
    if not exchanges:
        return _block(
            f'<div style="{FAINT}">Describe a place, ask a question, or both: then it is asked from that place. '
            "What comes of it stands here and in the map.</div>"
        )
    return _block("".join(map(_exchange, reversed(exchanges))))


def timings(rows: Sequence[Timing]) -> str:
    """Return a table of how long the stages take."""
    if not rows:
        return _block(f'<div style="{FAINT}">nothing measured yet</div>')
    longest = max(row.largest for row in rows)
    body = "".join(
        f'<tr><td style="white-space:nowrap">{escape(row.stage)}</td>'
        f'<td style="width:100%;padding:0 0.8em">{_bar(row, longest)}</td>'
        f'<td style="text-align:right;white-space:nowrap">{duration(row.mean)}</td>'
        f'<td style="text-align:right;white-space:nowrap;padding-left:0.8em;{FAINT}">{duration(row.largest)}</td></tr>'
        for row in rows
    )
    head = f'<tr style="{FAINT};text-align:right"><td></td><td></td><td>mean</td><td>most</td></tr>'
    return _block(f'<table style="width:100%;font-size:0.85em;border-collapse:collapse">{head}{body}</table>')


def describe(place: Described) -> str:
    """Return where a place is, with one standard deviation, in one line of plain text."""
    x, y, heading = place.pose
    sigma_x, sigma_y, sigma_heading = np.sqrt(np.maximum(np.diag(place.covariance), 0.0))
    return (
        f"x {x:.2f} \u00b1 {sigma_x:.2f} m, y {y:.2f} \u00b1 {sigma_y:.2f} m, "
        f"heading {math.degrees(heading):.0f} \u00b1 {min(math.degrees(sigma_heading), 180.0):.0f}\u00b0, "
        f"{100 * place.confidence:.0f} % sure within 1 m"
    )


def duration(seconds: float) -> str:
    """Return a duration in s as a person reads it."""
    return f"{seconds:.2f} s" if seconds >= 1.0 else f"{1e3 * seconds:.{1 if seconds < 0.01 else 0}f} ms"


def shorten(text: str, most: int) -> str:
    """Return a text with at most so many characters."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "\u2026"


def _exchange(exchange: Exchange) -> str:
    asked = _lines((f"\u201c{exchange.place}\u201d" if exchange.place else "", exchange.question))
    cursor = '<span style="opacity:0.6"> &#9646;</span>' if exchange.is_running else ""
    words = f'<div class="loc3r-answer" style="font-size:1.05em">{escape(exchange.answer)}{cursor}</div>'
    error = f'<div style="color:{LIGHTS[Level.ERROR]}">{escape(exchange.error)}</div>' if exchange.error else ""
    note = f'<div style="{FAINT};font-size:0.85em">{escape(exchange.note)}</div>' if exchange.note else ""
    body = (words if exchange.answer or exchange.is_running else "") + error + note
    return (
        '<div style="margin-bottom:0.7em;padding-left:0.6em;border-left:3px solid #4f9dff">'
        f'<div style="{FAINT}">{asked}</div>{body}</div>'
    )


def _lines(texts: Iterable[str]) -> str:
    return "<br>".join(escape(text) for text in texts if text)


def _bar(row: Timing, longest: float) -> str:
    share = 100.0 * row.mean / longest if longest > 0 else 0.0
    return f'<div style="height:0.5em;border-radius:0.25em;background:#4f9dff;width:{share:.1f}%"></div>'


def _block(content: str) -> str:
    return f'<div style="padding:0.2em 1em;line-height:1.4;overflow-wrap:anywhere">{content}</div>'
