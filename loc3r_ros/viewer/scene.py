"""The 3D scene of the page: robot, camera, remembered views, layout and described places, in the map."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import viser

from loc3r_ros import geometry
from loc3r_ros.interface import FloatArray, ImageArray
from loc3r_ros.viewer import shapes, text
from loc3r_ros.viewer.content import Cloud, Described, Lens, Picture, Robot, View

Colour = tuple[int, int, int]

SIGMAS = 2.0
"""Uncertainties are drawn as ellipses of two standard deviations."""
PLACES: tuple[Colour, ...] = ((255, 159, 28), (46, 196, 182), (231, 93, 160), (155, 135, 245), (120, 200, 80))
"""Colours of the described places; the oldest goes when there are more."""
ROBOT, VIEWS, FLOOR = (79, 157, 255), (140, 150, 165), (40, 42, 46)
LIVE_SIDE, VIEW_SIDE = 256, 96
"""Pixels on the longer side of the picture on the camera's frustum and on those of the remembered views."""
LIVE_DEPTH, VIEW_DEPTH = 0.5, 0.15
"""Sizes of these frustums."""
MOST_POINTS = 20_000
PIN, ROSE, WEDGE = 1.0, 0.9, 0.9
"""m. Height of the first pin, radius of a heading distribution and of the robot's heading."""
LAYER = 0.004
"""m between the heights of figures that may overlap, so that they do not flicker."""
LABEL = 42
"""Most characters of a label."""
FLAT: dict[str, Any] = {"side": "double", "cast_shadow": False, "receive_shadow": False}
"""How a figure on the floor is drawn."""


class Scene:
    """Draws into all browsers; places may be drawn from any thread, everything else from one."""

    def __init__(self, server: viser.ViserServer) -> None:
        """Draw floor and robot."""
        self._server, self._scene = server, server.scene
        self._lens = Lens(math.radians(50.0), 4.0 / 3.0)
        self._extents: dict[str, FloatArray] = {}
        self._has_view = False
        self._camera: Any = None
        self._cloud: Any = None
        self._views: dict[int, Any] = {}
        self._places: list[Any] = []
        self._place_count = 0
        self._lock = threading.Lock()
        self._scene.set_up_direction("+z")
        self._scene.configure_default_lights(cast_shadow=False)  # shadows are slow where there is no GPU
        self._scene.add_grid(
            "/floor", 60.0, 60.0, cell_size=1.0, section_size=5.0, cell_color=(52, 55, 60), section_color=(74, 78, 84),
            fade_distance=60.0, position=(0.0, 0.0, -0.02),
        )  # fmt: skip
        self._robot = self._scene.add_frame("/robot", show_axes=False, visible=False)
        body, head = shapes.prism(shapes.ellipse(np.eye(2), 0.22), 0.18), shapes.prism(shapes.arrow(0.34), 0.03)
        self._scene.add_mesh_simple("/robot/body", *body, color=(235, 238, 242), side="double")
        self._scene.add_mesh_simple("/robot/head", *head, color=ROBOT, position=(0.0, 0.0, 0.18), side="double")
        self._doubt = self._scene.add_frame("/robot_uncertainty", show_axes=False, visible=False)
        server.on_client_connect(self.look)

    def show_lens(self, lens: Lens) -> None:
        """Draw frustums of this shape from now on."""
        self._lens = lens

    def show_camera(self, picture: Picture) -> None:
        """Show what the camera sees on its frustum, where its place is known."""
        if picture.map_t_camera is None:
            if self._camera is not None:
                self._camera.visible = False
            return
        image = shapes.fit(picture.image, LIVE_SIDE)
        if self._camera is None:
            self._camera = self._add_frustum("/camera", LIVE_DEPTH, ROBOT, image)
        self._camera.image, self._camera.visible = image, True
        _move(self._camera, picture.map_t_camera)

    def show_robot(self, robot: Robot) -> None:
        """Draw the robot and, where it is localized, how certain its place is."""
        self._robot.visible = True
        _move(self._robot, robot.map_t_base)
        x, y, heading = geometry.planar(robot.map_t_base)
        self._remember("robot", np.array([[x, y, 0.0]]))
        self._doubt.visible = robot.covariance is not None
        if robot.covariance is None:
            return
        with self._server.atomic():
            self._doubt.position = (x, y, 0.0)
            self._add_ellipse("/robot_uncertainty", robot.covariance, ROBOT)
            spread = SIGMAS * math.sqrt(float(robot.covariance[2, 2]))
            wedge = shapes.fan(shapes.sector(heading, spread, WEDGE), 0.02)
            self._scene.add_mesh_simple("/robot_uncertainty/heading", *wedge, color=ROBOT, opacity=0.35, **FLAT)

    def show_views(self, views: Sequence[View]) -> None:
        """Draw the views that the node remembers, and no others."""
        with self._server.atomic():
            for stamp in self._views.keys() - {view.stamp for view in views}:
                self._views.pop(stamp).remove()
            for view in views:
                if view.stamp not in self._views:
                    image = None if view.image is None else shapes.fit(view.image, VIEW_SIDE)
                    name = f"/keyframes/{view.stamp}"
                    self._views[view.stamp] = self._add_frustum(name, VIEW_DEPTH, VIEWS, image)
                _move(self._views[view.stamp], view.map_t_camera)
            self._draw_path(np.array([view.map_t_camera[:3, 3] for view in views]).reshape(-1, 3))

    def show_cloud(self, cloud: Cloud) -> None:
        """Draw the learned layout; what is uncertain is pale."""
        kept = shapes.surest(cloud.sigma, MOST_POINTS)
        points = cloud.points[kept].astype(np.float32)
        colours = shapes.fade(cloud.colour[kept], cloud.sigma[kept], FLOOR)
        self._cloud = self._scene.add_point_cloud(
            "/layout", points, colours, point_size=0.03, point_shape="circle", precision="float32", point_shading="flat"
        )
        self._remember("layout", np.quantile(points, (0.05, 0.95), axis=0) if len(points) else points)

    def show_place(self, place: Described) -> None:
        """Draw a place that the model has found: pin, heading distribution, ellipse and name."""
        with self._lock, self._server.atomic():
            number = self._place_count
            self._place_count += 1
            while len(self._places) >= len(PLACES):
                self._places.pop(0).remove()
            self._places.append(self._add_place(number, place))
        outline = place.pose[:2] + shapes.ellipse(place.covariance[:2, :2], SIGMAS)
        self._remember(f"place {number % len(PLACES)}", np.column_stack([outline, np.zeros(len(outline))]))

    def forget(self) -> None:
        """Take away what the node no longer knows: places, layout and views."""
        self.forget_places()
        if self._cloud is not None:
            self._cloud.remove()
            self._cloud = None
        self.show_views([])
        self._extents.clear()

    def forget_places(self) -> None:
        """Take away the described places."""
        with self._lock:
            while self._places:
                self._places.pop().remove()
            self._extents = {what: points for what, points in self._extents.items() if not what.startswith("place")}

    def look(self, client: viser.ClientHandle | None) -> None:
        """Bring everything into one browser's view."""
        drawn = [points for points in list(self._extents.values()) if len(points)]
        if client is None or not drawn:
            return
        camera = client.camera
        position, centre = shapes.overview(np.concatenate(drawn), camera.fov, camera.aspect)
        with client.atomic():
            camera.position, camera.look_at = position, centre

    # --- pieces -------------------------------------------------------------------------------------------------------

    def _add_frustum(self, name: str, depth: float, colour: Colour, image: ImageArray | None) -> Any:
        return self._scene.add_camera_frustum(
            name, self._lens.field_of_view, self._lens.aspect, scale=depth, thickness=0.012, color=colour, image=image,
            format="jpeg", jpeg_quality=70, cast_shadow=False, receive_shadow=False,
        )  # fmt: skip

    def _draw_path(self, points: FloatArray) -> None:
        self._remember("keyframes", points)
        segments = shapes.polyline(points) if len(points) > 1 else np.zeros((1, 2, 3))
        self._scene.add_line_segments(
            "/path", segments, VIEWS, thickness=2.0, thickness_units="screen", visible=len(points) > 1
        )

    def _add_ellipse(self, name: str, covariance: FloatArray, colour: Colour) -> None:
        outline = shapes.ellipse(covariance[:2, :2], SIGMAS)
        area, rim = shapes.fan(outline, 0.01), shapes.loop(outline, 0.012)
        self._scene.add_mesh_simple(f"{name}/area", *area, color=colour, opacity=0.25, **FLAT)
        self._scene.add_line_segments(f"{name}/rim", rim, colour, thickness=2.0, thickness_units="screen")

    def _add_place(self, number: int, place: Described) -> Any:
        name, slot = f"/places/{number}", number % len(PLACES)
        colour, (x, y, _) = PLACES[slot], place.pose
        frame = self._scene.add_frame(name, show_axes=False, position=(x, y, LAYER * slot))
        self._add_ellipse(name, place.covariance, colour)
        petals = shapes.fan(shapes.rose(place.heading_distribution, ROSE), 0.03)
        darker = 0.6 * np.array(colour) / 255.0
        self._scene.add_mesh_simple(f"{name}/heading", *petals, color=darker, opacity=0.8, **FLAT)
        top = PIN * (1.0 + 0.4 * slot)  # so that the names of neighbours do not hide each other
        stem = np.array([[(0.0, 0.0, 0.0), (0.0, 0.0, top)]])
        self._scene.add_line_segments(f"{name}/pin", stem, colour, thickness=0.03)
        self._scene.add_icosphere(f"{name}/pin_head", 0.09, color=colour, position=(0.0, 0.0, top))
        who = text.shorten(place.text or "the robot, as the model sees it", LABEL)
        caption = f"{who} ({100 * place.confidence:.0f} %)"
        self._scene.add_label(f"{name}/label", caption, position=(0.0, 0.0, top + 0.15), anchor="bottom-center")
        return frame

    def _remember(self, what: str, points: FloatArray) -> None:
        """Note what has been drawn; the first thing that is drawn is looked at."""
        self._extents[what] = points
        if not self._has_view and len(points):
            self._has_view = True
            for client in self._server.get_clients().values():
                self.look(client)


def _move(handle: Any, map_t_node: FloatArray) -> None:
    position, quaternion = geometry.to_position_quaternion(map_t_node)
    handle.position, handle.wxyz = position, quaternion[[3, 0, 1, 2]]
