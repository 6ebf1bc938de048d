"""What the node hears: images, camera calibration and TF, on a node and an executor of their own.

An executor wakes for every message and then walks all entities of its nodes. The many services of the main node would
make each image and each transform expensive, and an image would wait behind a service: hence a second, hidden node in
the same process. It takes no command line; the names come from the main node, which the user remaps.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage

from loc3r_ros.ros.lifecycle import SpinThread
from loc3r_ros.ros.parameters import Parameters
from loc3r_ros.ros.qos import (
    STATIC_TRANSFORMS,
    TRANSFORMS,
    Offer,
    Policies,
    choose_policies,
    explain_silence,
    profile,
)
from loc3r_ros.ros.transforms import TransformListener

IMAGE_TYPES = {"raw": Image, "compressed": CompressedImage}
INFO_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


@dataclass(frozen=True)
class ImageSource:
    """What the image subscription listens to."""

    topic: str
    transport: str
    policies: Policies


class Inputs:
    """The subscriptions of the node; they exist from `open` to `close`.

    Attributes:
        is_enabled: whether images are wanted; see `refresh`.
        camera_info: the newest calibration.
        camera_frame: the frame of the newest image; empty while there is none.
    """

    def __init__(
        self,
        owner: Node,
        parameters: Callable[[], Parameters],
        on_image: Callable[[Image | CompressedImage], None],
        transforms: TransformListener,
    ) -> None:
        """Make nothing yet.

        Args:
            owner: the main node, whose names and remappings hold.
            parameters: returns the parameters of the moment.
            on_image: called in the thread of the images; must be quick.
            transforms: is fed with TF.
        """
        self._owner = owner
        self._parameters = parameters
        self._on_image = on_image
        self._transforms = transforms
        self._node: Node | None = None
        self._spinner: SpinThread | None = None
        self._image: Subscription | None = None
        self._current: ImageSource | None = None
        self._lock = threading.RLock()
        self.is_enabled = True
        self.camera_info: CameraInfo | None = None
        self.camera_frame = ""

    def open(self) -> None:
        """Subscribe, and spin in a thread of their own."""
        self._node = Node(
            f"_{self._owner.get_name()}_inputs",
            namespace=self._owner.get_namespace(),
            context=self._owner.context,
            use_global_arguments=False,
            enable_rosout=False,
            start_parameter_services=False,
        )
        self._listen("/tf", TFMessage, lambda message: self._transforms.receive(message.transforms), TRANSFORMS)
        self._listen(
            "/tf_static",
            TFMessage,
            lambda message: self._transforms.receive(message.transforms, True),
            STATIC_TRANSFORMS,
        )
        self._listen("camera_info", CameraInfo, self._keep_camera_info, INFO_QOS)
        self.refresh()
        executor = SingleThreadedExecutor(context=self._owner.context)
        executor.add_node(self._node)
        self._spinner = SpinThread("loc3r_inputs", executor, self._owner.get_logger().error)

    def close(self) -> None:
        """Stop hearing; harmless where nothing is open."""
        with self._lock:
            if self._spinner is not None:
                self._spinner.stop()
            if self._node is not None:
                self._node.destroy_node()
            self._node = self._spinner = self._image = self._current = None

    @property
    def topic(self) -> str:
        """Full name of the image topic.

        `image` remapped to `/camera/image_raw` means `/camera/image_raw/compressed` for the compressed images, as in
        image_transport; a remapping of `image/compressed` itself wins.
        """
        if self._parameters().image_transport == "raw":
            return str(self._owner.resolve_topic_name("image"))
        remapped = str(self._owner.resolve_topic_name("image/compressed"))
        is_remapped = remapped != f"{self._owner.get_namespace().rstrip('/')}/image/compressed"
        return remapped if is_remapped else str(self._owner.resolve_topic_name("image")) + "/compressed"

    @property
    def message_type(self) -> str:
        """Name of the image type subscribed to."""
        return f"sensor_msgs/msg/{IMAGE_TYPES[self._parameters().image_transport].__name__}"

    def refresh(self) -> None:
        """Subscribe to the images anew where topic, type or the publishers' quality of service ask for it."""
        with self._lock:
            if self._node is None:
                return
            wanted = self._wanted() if self.is_enabled else None
            if wanted == self._current:
                return
            if self._image is not None:
                self._node.destroy_subscription(self._image)
            self._image, self._current = None, wanted
            if wanted is not None:
                self._image = self._node.create_subscription(
                    IMAGE_TYPES[wanted.transport], wanted.topic, self._receive, profile(wanted.policies)
                )

    def _wanted(self) -> ImageSource:
        parameters = self._parameters()
        offers = [offer for offer in self._offers() if offer.message_type == self.message_type]
        policies = choose_policies(parameters.image_qos, offers, parameters.image_queue)
        return ImageSource(self.topic, parameters.image_transport, policies)

    def describe_silence(self) -> str:
        """Return a sentence on why no image arrives."""
        type_name = self.message_type
        others = [
            name
            for name, types in self._owner.get_topic_names_and_types()
            if type_name in types and self._owner.count_publishers(name)
        ]
        is_reliable = self._current is not None and self._current.policies.is_reliable
        return explain_silence(self.topic, type_name, is_reliable, self._offers(), others)

    def _offers(self) -> list[Offer]:
        return [
            Offer(publisher.topic_type, publisher.qos_profile)
            for publisher in self._owner.get_publishers_info_by_topic(self.topic)
        ]

    def _listen(self, name: str, message_type: Any, callback: Callable[[Any], None], qos: QoSProfile) -> None:
        assert self._node is not None
        self._node.create_subscription(message_type, self._owner.resolve_topic_name(name), callback, qos)

    def _receive(self, message: Image | CompressedImage) -> None:
        self.camera_frame = message.header.frame_id
        self._on_image(message)

    def _keep_camera_info(self, message: CameraInfo) -> None:
        self.camera_info = message
