"""The page: a scene and a column of controls, which viser serves to browsers.

All browsers see the same, and a question from one of them is seen by all. Nothing is loaded from another host.
"""

from __future__ import annotations

import contextlib
import io
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import viser

from loc3r_ros.errors import ConfigError
from loc3r_ros.viewer import shapes, text
from loc3r_ros.viewer.content import Exchange, Picture, Status, Timing
from loc3r_ros.viewer.scene import ROBOT, Scene

EVERY_ADDRESS = "0.0.0.0"
COLUMN = 400
"""Width of the column of controls, pixels."""
PICTURE_SIDE = 480
"""Pixels on the longer side of the picture in the column."""
MOST_EXCHANGES = 4


@dataclass(frozen=True)
class Actions:
    """What the page calls, from a thread of its own, when somebody presses something.

    Attributes:
        ask: with the place and the question in the fields.
        where: where the robot is.
        stop: end the question that runs.
    """

    ask: Callable[[str, str], object]
    where: Callable[[], object]
    stop: Callable[[], object]


class Page:
    """Serves the page.

    Attributes:
        port: the TCP port that it is served on.
        scene: the 3D scene.
    """

    def __init__(self, address: str, port: int, actions: Actions) -> None:
        """Begin to serve.

        Args:
            address: of the network interface to listen on; 0.0.0.0 for all.
            port: TCP port; 0 for any free one.
            actions: what to call.

        Raises:
            ConfigError: the address is not of this machine, or the port is in use.
        """
        _check_free(address, port)
        with contextlib.redirect_stdout(io.StringIO()):  # viser announces itself
            self._server = viser.ViserServer(address, port, label="loc3r_ros", verbose=False)
        self.port = self._server.get_port()
        self.scene = Scene(self._server)
        self._actions = actions
        self._exchanges: dict[int, Exchange] = {}
        self._exchange_count = 0
        self._lock = threading.Lock()
        self._build()

    @property
    def url(self) -> str:
        """Where a browser finds the page; with this machine's name where others may look, too."""
        host = self._server.get_host()
        return f"http://{socket.gethostname() if host == EVERY_ADDRESS else host}:{self.port}"

    @property
    def is_watched(self) -> bool:
        """Whether a browser shows the page."""
        return bool(self._server.get_clients())

    def close(self) -> None:
        """Stop serving."""
        with contextlib.redirect_stdout(io.StringIO()):
            self._server.stop()

    def _build(self) -> None:
        gui = self._server.gui
        gui.configure_theme(dark_mode=True, show_logo=False, show_share_button=False, brand_color=ROBOT)
        gui.main_panel.dock_right()
        gui.main_panel.set_width(COLUMN)
        self._status = gui.add_html("")
        self._picture = gui.add_image(np.zeros((3, 4, 3), np.uint8), jpeg_quality=80, visible=False)
        with gui.add_form(None) as form:
            self._place = gui.add_text("Place", "", hint="I am standing beside the sofa, facing the TV.")
            self._question = gui.add_text("Question", "", hint="What is on my left?")
            buttons = gui.add_button_group("", ("Ask", "Where am I?", "Stop"))
        self._conversation = gui.add_html(text.conversation([]))
        with gui.add_folder("Timings"):
            self._timings = gui.add_html(text.timings([]))
        show_all = gui.add_button("Show everything", icon=viser.Icon.MAXIMIZE)
        form.on_submit(lambda _: self._ask())
        buttons.on_click(lambda event: self._press(event.target.value))
        show_all.on_click(lambda event: self.scene.look(event.client))

    def _ask(self) -> None:
        self._actions.ask(self._place.value.strip(), self._question.value.strip())

    def _press(self, button: str) -> None:
        {"Ask": self._ask, "Where am I?": self._actions.where, "Stop": self._actions.stop}[button]()

    def show_status(self, status: Status) -> None:
        """Say how the node is."""
        _update(self._status, text.status(status))

    def show_picture(self, picture: Picture) -> None:
        """Show what the camera sees, in the column and in the scene."""
        self._picture.image, self._picture.visible = shapes.fit(picture.image, PICTURE_SIDE), True
        self.scene.show_camera(picture)

    def show_timings(self, rows: Sequence[Timing]) -> None:
        """Show how long the stages take."""
        _update(self._timings, text.timings(rows))

    def show_exchange(self, exchange: Exchange, number: int | None = None) -> int:
        """Show a new exchange, or what has become of the one with a number; return its number. From any thread."""
        with self._lock:
            if number is None:
                number = self._exchange_count
                self._exchange_count += 1
            self._exchanges[number] = exchange
            for old in sorted(self._exchanges)[:-MOST_EXCHANGES]:
                del self._exchanges[old]
            _update(self._conversation, text.conversation([self._exchanges[key] for key in sorted(self._exchanges)]))
            return number


def _check_free(address: str, port: int) -> None:
    """Check that one can listen there; viser would take the next port in silence.

    Raises:
        ConfigError: one cannot.
    """
    try:
        with socket.create_server((address, port)):
            pass
    except OSError as error:
        raise ConfigError(
            f"The page cannot listen on {address}, port {port} ({error.strerror or error}): choose another port, or an "
            f"address of this machine ({EVERY_ADDRESS}: all of them)."
        ) from error


def _update(handle: Any, content: str) -> None:
    """Send a text to the browsers where it has changed."""
    if handle.content != content:
        handle.content = content
