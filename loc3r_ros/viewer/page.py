"""The page: a scene and a column of controls, which viser serves to browsers.

All browsers see the same, and a question from one of them is seen by all. Nothing is loaded from another host.
"""

from __future__ import annotations

import contextlib
import io
import math
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import viser

from loc3r_ros import geometry
from loc3r_ros.errors import ConfigError
from loc3r_ros.interface import FloatArray
from loc3r_ros.viewer import shapes, text
from loc3r_ros.viewer.content import Cloud, Described, Exchange, Lens, Picture, Robot, Status, Timing, View

EVERY_ADDRESS = "0.0.0.0"
SIGMAS = 2.0
"""Uncertainties are drawn as ellipses of two standard deviations."""
PLACES = ((255, 159, 28), (46, 196, 182), (231, 93, 160), (155, 135, 245), (120, 200, 80))
"""Colours of the described places; the oldest goes when there are more."""
ROBOT, VIEWS, FLOOR = (79, 157, 255), (140, 150, 165), (40, 42, 46)
PICTURE_SIDE, LIVE_SIDE, VIEW_SIDE = 480, 256, 96
"""Pixels on the longer side of the picture in the column, on the robot's frustum and on the remembered views."""
MOST_POINTS = 20_000
MOST_EXCHANGES = 4
LIVE_DEPTH, VIEW_DEPTH = 0.5, 0.15
"""Size of the frustums of the camera and of the remembered views."""
FLAT: dict[str, Any] = {"side": "double", "cast_shadow": False, "receive_shadow": False}
"""How a figure on the floor is drawn."""
COLUMN = 400
"""Width of the column of controls, pixels."""
LABEL = 42
"""Most characters of a label in the scene."""


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


@dataclass
class _Extent:
    """What has been drawn, so that all of it can be brought into view."""

    points: dict[str, FloatArray] = field(default_factory=dict)

    def all(self) -> FloatArray:
        return np.concatenate([part for part in self.points.values() if len(part)] or [np.zeros((1, 3))])


class Page:
    """Serves the page; its methods may be called from any one thread."""

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
        self._actions = actions
        self._lens = Lens(math.radians(50.0), 4.0 / 3.0)
        self._extent = _Extent()
        self._has_view = False
        self._live: Any = None
        self._cloud: Any = None
        self._views: dict[int, Any] = {}
        self._places: list[list[Any]] = []
        self._place_count = 0
        self._exchanges: dict[int, Exchange] = {}
        self._exchange_count = 0
        self._lock = threading.Lock()
        self._build_column()
        self._build_scene()

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

    # --- the column ---------------------------------------------------------------------------------------------------

    def _build_column(self) -> None:
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
        show_all.on_click(lambda event: self._look(event.client))

    def _ask(self) -> None:
        self._actions.ask(self._place.value.strip(), self._question.value.strip())

    def _press(self, button: str) -> None:
        {"Ask": self._ask, "Where am I?": self._actions.where, "Stop": self._actions.stop}[button]()

    def show_status(self, status: Status) -> None:
        """Say how the node is."""
        _update(self._status, text.status(status))

    def show_timings(self, rows: Sequence[Timing]) -> None:
        """Show how long the stages take."""
        _update(self._timings, text.timings(rows))

    def show_exchange(self, exchange: Exchange, number: int | None = None) -> int:
        """Show a new exchange, or what has become of the one with a number; return its number."""
        with self._lock:
            if number is None:
                self._exchange_count += 1
                number = self._exchange_count
            self._exchanges[number] = exchange
            for old in sorted(self._exchanges)[:-MOST_EXCHANGES]:
                del self._exchanges[old]
            _update(self._conversation, text.conversation([self._exchanges[key] for key in sorted(self._exchanges)]))
            return number

    # --- the scene ----------------------------------------------------------------------------------------------------

    def _build_scene(self) -> None:
        scene = self._server.scene
        scene.set_up_direction("+z")
        scene.add_grid(
            "/floor", 60.0, 60.0, cell_size=1.0, section_size=5.0, cell_color=(52, 55, 60), section_color=(74, 78, 84),
            fade_distance=60.0, position=(0.0, 0.0, -0.02),
        )  # fmt: skip
        self._robot = scene.add_frame("/robot", show_axes=False, visible=False)
        body = shapes.prism(shapes.ellipse(np.eye(2), 0.22), 0.18)
        head = shapes.prism(shapes.arrow(0.34), 0.03)
        scene.add_mesh_simple("/robot/body", *body, color=(235, 238, 242), side="double")
        scene.add_mesh_simple("/robot/head", *head, color=ROBOT, position=(0.0, 0.0, 0.18), side="double")
        self._server.on_client_connect(self._look)

    def show_lens(self, lens: Lens) -> None:
        """Draw frustums of this shape from now on."""
        self._lens = lens

    def show_picture(self, picture: Picture) -> None:
        """Show what the camera sees, in the column and, where its place is known, on its frustum."""
        self._picture.visible = True
        self._picture.image = shapes.fit(picture.image, PICTURE_SIDE)
        if picture.map_t_camera is None:
            if self._live is not None:
                self._live.visible = False
            return
        image = shapes.fit(picture.image, LIVE_SIDE)
        if self._live is None:
            self._live = self._add_frustum("/camera", LIVE_DEPTH, ROBOT, image)
        self._live.image, self._live.visible = image, True
        _place(self._live, picture.map_t_camera)

    def show_robot(self, robot: Robot) -> None:
        """Draw the robot and how certain its place is."""
        self._robot.visible = True
        _place(self._robot, robot.map_t_base)
        x, y, heading = geometry.planar(robot.map_t_base)
        self._draw_uncertainty("/robot_uncertainty", (x, y, heading), robot.covariance, 0.9, ROBOT)
        self._remember("robot", robot.map_t_base[None, :3, 3])

    def show_views(self, views: Sequence[View]) -> None:
        """Draw the views that the node remembers, and no others."""
        gone = self._views.keys() - {view.stamp for view in views}
        with self._server.atomic():
            for stamp in gone:
                self._views.pop(stamp).remove()
            for view in views:
                if view.stamp not in self._views:
                    name = f"/keyframes/{view.stamp}"
                    self._views[view.stamp] = self._add_frustum(name, VIEW_DEPTH, VIEWS, view.image)
                _place(self._views[view.stamp], view.map_t_camera)
            self._draw_path(np.array([view.map_t_camera[:3, 3] for view in views]).reshape(-1, 3))

    def show_cloud(self, cloud: Cloud) -> None:
        """Draw the learned layout; what is uncertain is pale."""
        kept = shapes.surest(cloud.sigma, MOST_POINTS)
        points, sigma = cloud.points[kept], cloud.sigma[kept]
        self._cloud = self._server.scene.add_point_cloud(
            "/layout", points.astype(np.float32), shapes.fade(cloud.colour[kept], sigma, FLOOR), point_size=0.03,
            point_shape="circle", precision="float32", point_shading="flat",
        )  # fmt: skip
        inner = np.quantile(points, (0.05, 0.95), axis=0) if len(points) else points
        self._remember("layout", inner)

    def show_place(self, place: Described) -> None:
        """Draw a place that the model has found: pin, heading distribution, ellipse and name."""
        slot, colour = self._place_count, PLACES[self._place_count % len(PLACES)]
        self._place_count += 1
        with self._lock, self._server.atomic():
            while len(self._places) >= len(PLACES):
                self._forget_place()
            self._places.append(self._add_place(f"/places/{slot}", place, colour))
        self._remember(f"place {slot % len(PLACES)}", np.array([[*place.pose[:2], 0.0]]))

    def forget(self) -> None:
        """Take away what the node no longer knows: places, layout and views."""
        self.forget_places()
        if self._cloud is not None:
            self._cloud.remove()
            self._cloud = None
        self.show_views([])
        self._extent.points.clear()

    def forget_places(self) -> None:
        """Take away the described places."""
        with self._lock:
            while self._places:
                self._forget_place()

    def _forget_place(self) -> None:
        for node in self._places.pop(0):
            node.remove()

    # --- pieces -------------------------------------------------------------------------------------------------------

    def _add_frustum(self, name: str, depth: float, colour: tuple[int, int, int], image: Any) -> Any:
        return self._server.scene.add_camera_frustum(
            name, self._lens.field_of_view, self._lens.aspect, scale=depth, thickness=0.012, color=colour,
            image=None if image is None else shapes.fit(image, VIEW_SIDE if depth == VIEW_DEPTH else LIVE_SIDE),
            format="jpeg", jpeg_quality=70, cast_shadow=False, receive_shadow=False,
        )  # fmt: skip

    def _draw_path(self, points: FloatArray) -> None:
        self._remember("keyframes", points)
        segments = shapes.polyline(points) if len(points) > 1 else np.zeros((1, 2, 3))
        self._server.scene.add_line_segments(
            "/path", segments, VIEWS, thickness=2.0, thickness_units="screen", visible=len(points) > 1
        )

    def _add_place(self, name: str, place: Described, colour: tuple[int, int, int]) -> list[Any]:
        scene = self._server.scene
        x, y, _ = place.pose
        nodes = self._draw_uncertainty(name, tuple(place.pose), place.covariance, 0.0, colour)
        petals = shapes.fan(shapes.rose(place.heading_distribution, 0.9), 0.03)
        nodes.append(scene.add_mesh_simple(
            f"{name}/heading", *petals, color=colour, opacity=0.8, side="double", position=(x, y, 0.0),
            cast_shadow=False, receive_shadow=False,
        ))  # fmt: skip
        pin = np.array([[(x, y, 0.0), (x, y, 1.0)]])
        nodes.append(scene.add_line_segments(f"{name}/pin", pin, colour, thickness=0.03))
        nodes.append(scene.add_icosphere(f"{name}/pin_head", 0.09, color=colour, position=(x, y, 1.0)))
        caption = (
            f"{text.shorten(place.text or 'the robot, as the model sees it', LABEL)} ({100 * place.confidence:.0f} %)"
        )
        nodes.append(scene.add_label(f"{name}/label", caption, position=(x, y, 1.15), anchor="bottom-center"))
        return nodes

    def _draw_uncertainty(
        self, name: str, pose: Any, covariance: FloatArray | None, wedge: float, colour: tuple[int, int, int]
    ) -> list[Any]:
        """Draw the ellipse of the position and, with a radius, a sector of the heading."""
        scene = self._server.scene
        x, y, heading = pose
        if covariance is None:
            covariance = np.diag([1e-6, 1e-6, 1e-6])
        outline = shapes.ellipse(covariance[:2, :2], SIGMAS)
        flat = FLAT | {"position": (x, y, 0.0)}
        nodes = [
            scene.add_mesh_simple(f"{name}/area", *shapes.fan(outline, 0.01), color=colour, opacity=0.25, **flat),
            scene.add_line_segments(
                f"{name}/rim", shapes.loop(outline, 0.012), colour, thickness=2.0, thickness_units="screen",
                position=(x, y, 0.0),
            ),
        ]  # fmt: skip
        if wedge:
            spread = SIGMAS * math.sqrt(float(covariance[2, 2]))
            sector = shapes.fan(shapes.sector(heading, spread, wedge), 0.02)
            nodes.append(scene.add_mesh_simple(f"{name}/heading", *sector, color=colour, opacity=0.35, **flat))
        return nodes

    # --- the point of view --------------------------------------------------------------------------------------------

    def _remember(self, what: str, points: FloatArray) -> None:
        """Note what has been drawn; the first thing that is drawn is looked at."""
        self._extent.points[what] = points
        if not self._has_view and len(points):
            self._has_view = True
            for client in self._server.get_clients().values():
                self._look(client)

    def _look(self, client: viser.ClientHandle | None) -> None:
        """Bring everything into one browser's view."""
        if client is None:
            return
        position, centre = shapes.overview(self._extent.all(), client.camera.fov)
        with client.atomic():
            client.camera.position, client.camera.look_at = position, centre


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
            "address of this machine (0.0.0.0: all of them)."
        ) from error


def _update(handle: Any, content: str) -> None:
    """Send a text to the browsers where it has changed."""
    if handle.content != content:
        handle.content = content


def _place(handle: Any, map_t_node: FloatArray) -> None:
    position, quaternion = geometry.to_position_quaternion(map_t_node)
    handle.position, handle.wxyz = position, quaternion[[3, 0, 1, 2]]
