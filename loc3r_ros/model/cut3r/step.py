"""The run-time graph of CUT3R: one frame, static shapes, no control flow; made to be exported."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from loc3r_ros.model.cut3r.heads import pose_matrix
from loc3r_ros.model.cut3r.network import Cut3R
from loc3r_ros.model.cut3r.rope import Rope, RopeTables

TABLES = RopeTables._fields[1:]


class Cut3RStep(nn.Module):
    """Image and state to camera token, camera pose and new state, for images of one size.

    `is_first` starts a sequence inside the graph: state and memory are then ignored (zeros will do), so whoever runs
    the graph needs no learned initial values. A frame that must not be learned from is one whose new state is dropped.
    """

    INPUTS = ("image", "state", "memory", "is_first")
    OUTPUTS = ("camera_token", "world_t_camera", "new_state", "new_memory")

    def __init__(self, network: Cut3R, height: int, width: int) -> None:
        super().__init__()
        self.network = network
        self.size = (height, width)
        initial = network.initial_state()
        self.register_buffer("initial_state", initial.tokens.detach().clone(), persistent=False)
        device = initial.tokens.device
        self.rows, *tables = network.tables(self.size, device)
        for name, table in zip(TABLES, tables, strict=True):
            self.register_buffer(f"{name}_cos", table.cos, persistent=False)
            self.register_buffer(f"{name}_sin", table.sin, persistent=False)

    def forward(
        self, image: Tensor, state: Tensor, memory: Tensor, is_first: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Look at one frame.

        Args:
            image: (1, 3, H, W) RGB in [-1, 1].
            state: (1, state_tokens, dim), the last step's.
            memory: (1, memory_slots, 2 dim), the last step's.
            is_first: (1,) bool, True for the first frame of a sequence.

        Returns:
            camera_token (1, dim), world_t_camera (1, 4, 4), new state and new memory.
        """
        network = self.network
        tables = self.tables()
        is_first = is_first[:, None, None]
        state = torch.where(is_first, self.get_buffer("initial_state"), state)
        memory = torch.where(is_first, network.pose_retriever.mem, memory)
        features = network.encode(image, tables)
        key = network.pose_retriever.key(features)
        pose_token = torch.where(is_first, network.pose_token, network.pose_retriever.inquire(memory, key))
        decoded = network.decode(pose_token, features, state, tables)
        new_state = torch.where(is_first, decoded.state, network.blend(state, decoded))
        new_memory = network.pose_retriever.write(memory, key, decoded.camera_token)
        pose = network.downstream_head.pose_head(decoded.camera_token)
        return decoded.camera_token[:, 0], pose_matrix(pose)[:, 0], new_state, new_memory

    def tables(self) -> RopeTables:
        """Return the rotary embeddings, constants of the graph."""
        tables = (Rope(self.get_buffer(f"{name}_cos"), self.get_buffer(f"{name}_sin")) for name in TABLES)
        return RopeTables(self.rows, *tables)

    def example_inputs(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return inputs of the right shapes, for export and for a first frame."""
        config = self.network.config
        weight = self.network.pose_token
        return (
            weight.new_zeros(1, 3, *self.size),
            weight.new_zeros(1, config.state_tokens, config.decoder_dim),
            weight.new_zeros(1, config.memory_slots, 2 * config.decoder_dim),
            torch.ones(1, dtype=torch.bool, device=weight.device),
        )
