"""The page without ROS: what it serves, and what a real browser makes of it."""

import socket
import threading
import time
import urllib.request
from urllib.parse import urlsplit

import numpy as np
import pytest
from browser import PATIENCE, Browser, is_near, needs_chromium

from loc3r_ros import geometry
from loc3r_ros.errors import ConfigError
from loc3r_ros.viewer.content import Cloud, Described, Exchange, Level, Picture, Robot, Status, Timing, View
from loc3r_ros.viewer.page import MOST_EXCHANGES, Actions, Page
from loc3r_ros.viewer.scene import PLACES

CAMERA = geometry.from_planar((0.5, 0.5, 0.3), 1.2) @ geometry.CAMERA_LINK_T_OPTICAL
GREEN = np.full((48, 64, 3), (0, 255, 0), np.uint8)


class Pressed:
    """What was pressed on the page."""

    def __init__(self):
        self._changed = threading.Condition()
        self.calls = []

    def note(self, *call):
        with self._changed:
            self.calls.append(call)
            self._changed.notify_all()

    def wait(self, *call):
        with self._changed:
            assert self._changed.wait_for(lambda: call in self.calls, PATIENCE), self.calls


def serve(pressed):
    actions = Actions(
        ask=lambda place, question: pressed.note("ask", place, question),
        where=lambda: pressed.note("where"),
        stop=lambda: pressed.note("stop"),
    )
    return Page("127.0.0.1", 0, actions)


@pytest.fixture
def page():
    page = serve(Pressed())
    yield page
    page.close()


@pytest.fixture(scope="module")
def shown():
    """A page in a browser: page, browser, and what was pressed."""
    pressed = Pressed()
    page = serve(pressed)
    with Browser() as browser:
        browser.open(page.url)
        browser.wait_for("document.querySelector('canvas')")
        browser.wait_for_text("Question")
        browser.dismiss_notifications()
        yield page, browser, pressed
        assert not browser.errors
        assert {urlsplit(url).hostname for url in browser.requests} <= {"127.0.0.1", None}
    page.close()


def place(text, x, y):
    return Described(text, np.array([x, y, 0.0]), np.diag([0.1, 0.05, 0.2]), np.ones(36) / 36, 0.8, 0.3)


def fill(page):
    """Show something of everything."""
    page.show_status(Status(Level.OK, "active, 10 images/s", ("a detail",)))
    page.show_picture(Picture(GREEN, CAMERA))
    page.scene.show_robot(Robot(geometry.from_planar((0.5, 0.4, 0.3)), np.diag([0.01, 0.01, 0.01])))
    page.scene.show_views(
        [View(stamp, geometry.from_planar((0.2 * stamp, 0, 0)) @ CAMERA, GREEN) for stamp in range(4)]
    )
    page.scene.show_cloud(Cloud(np.zeros((1, 3)), np.full((1, 3), 255, np.uint8), np.zeros(1)))
    page.show_timings([Timing("observe", 0.04, 0.06)])
    page.scene.show_place(place("beside the sofa", 1.0, 1.0))
    page.show_exchange(Exchange("beside the sofa", "What is there?", "A lamp."))


def wait_for_pixels(browser, condition, what):
    deadline = time.monotonic() + PATIENCE
    while not condition(browser.scene()):
        assert time.monotonic() < deadline, f"no {what} in the scene"
        time.sleep(0.2)  # a screenshot is expensive


def test_the_page_is_one_file_served_from_here(page):
    with urllib.request.urlopen(page.url) as reply:
        html = reply.read().decode()
    assert "<script" in html
    assert '<link rel="stylesheet" href="http' not in html
    assert not page.is_watched


def test_a_port_in_use_is_refused_with_a_sentence():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            ConfigError, match=rf"cannot listen on 127\.0\.0\.1, port {port} \(.+\): choose another port"
        ):
            Page("127.0.0.1", port, Actions(print, print, print))


def test_an_address_of_another_machine_is_refused():
    with pytest.raises(ConfigError, match=r"an address of this machine"):
        Page("192.0.2.1", 0, Actions(print, print, print))


def test_a_closed_page_leaves_port_and_threads():
    before = threading.active_count()
    page = Page("127.0.0.1", 0, Actions(print, print, print))
    fill(page)
    page.close()
    with socket.create_server(("127.0.0.1", page.port)):
        pass
    assert threading.active_count() <= before + 1  # viser's pool ends its idle threads by itself


def test_others_see_the_name_of_this_machine_in_the_address():
    page = Page("0.0.0.0", 0, Actions(print, print, print))
    try:
        assert page.url == f"http://{socket.gethostname()}:{page.port}"
    finally:
        page.close()


def test_exchanges_keep_their_number_and_the_oldest_go(page):
    first = page.show_exchange(Exchange("", "first?", is_running=True))
    assert page.show_exchange(Exchange("", "first?", "yes"), first) == first
    numbers = [page.show_exchange(Exchange("", f"question {i}")) for i in range(MOST_EXCHANGES)]
    assert numbers == sorted({first, *numbers})[1:]
    shown = page._conversation.content
    assert "first?" not in shown
    assert shown.count("question ") == MOST_EXCHANGES


def test_places_views_and_layout_come_and_go(page):
    fill(page)
    for number in range(len(PLACES) + 2):
        page.scene.show_place(place(f"place {number}", number, 0.0))
    names = set(page._server.scene._handle_from_node_name)
    assert len({name.split("/")[2] for name in names if name.startswith("/places/")}) == len(PLACES)
    assert {f"/keyframes/{stamp}" for stamp in range(4)} <= names
    page.scene.show_views([View(3, CAMERA), View(4, CAMERA)])
    page.scene.forget_places()
    names = set(page._server.scene._handle_from_node_name)
    assert {name for name in names if name.startswith("/keyframes/")} == {"/keyframes/3", "/keyframes/4"}
    assert not [name for name in names if name.startswith("/places/")]
    page.scene.forget()
    left = set(page._server.scene._handle_from_node_name)
    assert not [name for name in left if name.startswith(("/keyframes/", "/layout"))]


@pytest.mark.slow
@pytest.mark.timeout(900)  # a browser without a GPU on a busy machine
@needs_chromium
def test_a_browser_shows_scene_texts_and_picture(shown):
    page, browser, _ = shown
    assert page.is_watched
    assert is_near(browser.scene(), (255, 0, 0)) == 0
    fill(page)
    points = np.column_stack([np.mgrid[-1:1:40j, -1:1:40j].reshape(2, -1).T, np.zeros(1600)])
    page.scene.show_cloud(Cloud(points, np.full((1600, 3), (255, 0, 0), np.uint8), np.zeros(1600)))
    wait_for_pixels(browser, lambda pixels: is_near(pixels, (255, 0, 0)) > 300, "layout")
    wait_for_pixels(browser, lambda pixels: is_near(pixels, (0, 255, 0), 90) > 20, "picture on a frustum")
    wait_for_pixels(browser, lambda pixels: is_near(pixels, PLACES[0]) > 20, "described place")
    for words in ("active, 10 images/s", "a detail", "A lamp.", "observe", "40 ms", "beside the sofa"):
        browser.wait_for_text(words)
    browser.wait_for("[...document.images].some(image => image.naturalWidth === 480)")


@pytest.mark.slow
@pytest.mark.timeout(900)  # a browser without a GPU on a busy machine
@needs_chromium
def test_what_is_typed_and_pressed_arrives(shown):
    _, browser, pressed = shown
    browser.type_into("Place", " I am beside the sofa. ")
    browser.type_into("Question", "What is on my left?")
    browser.enter()
    pressed.wait("ask", "I am beside the sofa.", "What is on my left?")
    browser.type_into("Place", "nowhere")
    browser.press("Ask")
    pressed.wait("ask", "nowhere", "What is on my left?")
    browser.press("Where am I?")
    pressed.wait("where")
    browser.press("Stop")
    pressed.wait("stop")


@pytest.mark.slow
@pytest.mark.timeout(900)  # a browser without a GPU on a busy machine
@needs_chromium
def test_an_answer_is_no_markup(shown):
    page, browser, _ = shown
    page.show_exchange(Exchange("", "What?", "<img src=x onerror=\"document.title = 'evil'\"><b>bold</b>"))
    browser.wait_for_text("<b>bold</b>")
    assert browser.evaluate("document.title") != "evil"


@pytest.mark.slow
@pytest.mark.timeout(900)  # a browser without a GPU on a busy machine
@needs_chromium
def test_show_everything_brings_what_is_far_away_into_view(shown):
    page, browser, _ = shown
    page.scene.forget()
    page.scene.show_robot(Robot(geometry.from_planar((0.0, 0.0, 0.0)), None))
    page.scene._place_count = 0  # orange, which the robot does not have
    page.scene.show_place(place("far away", 0.0, -40.0))  # behind the point of view
    assert is_near(browser.scene(), PLACES[0]) == 0
    browser.press("Show everything")
    wait_for_pixels(browser, lambda pixels: is_near(pixels, PLACES[0]) > 0, "place far away")
