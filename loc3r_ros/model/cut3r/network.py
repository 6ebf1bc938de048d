"""CUT3R: a recurrent network that keeps a state of the scene and tells where each frame was taken.

Wang et al., "Continuous 3D Perception Model with Persistent State", 2025; module and parameter names are those of the
official checkpoints, without the ray-map branch (it answers for views that have no image).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from loc3r_ros.errors import ConfigError, ImageError
from loc3r_ros.model.config import PosePriorConfig
from loc3r_ros.model.cut3r.heads import HEADS, DenseHeads, PointMaps, pose_matrix
from loc3r_ros.model.cut3r.layers import DecoderBlock, EncoderBlock, LayerNorm, PatchEmbed, PoseMemory
from loc3r_ros.model.cut3r.rope import RopeTables, grid_positions, image_positions, rope, state_positions
from loc3r_ros.model.pose_prior import Capabilities, Observation


class Cut3RState(NamedTuple):
    """What CUT3R remembers between two frames; its size is constant.

    Attributes:
        tokens: (B, state_tokens, decoder_dim) state tokens.
        memory: (B, memory_slots, 2 decoder_dim) pose memory.
        is_first: the next frame is the first: it starts from the learned pose token instead of asking the memory.
    """

    tokens: Tensor
    memory: Tensor
    is_first: bool


class Decoded(NamedTuple):
    """What the two streams of the decoder give for one frame.

    Attributes:
        camera_token: (B, 1, dim).
        hooks: four (B, N, dim) stages of the patch tokens (encoder; image stream at half, three quarters and all of its
            depth), which the point-map heads read; empty where they were not asked for.
        state: (B, state_tokens, dim) proposal for the new state; without meaning where no update was asked for.
        affinity: (B, state_tokens) mean logit of the state's attention to the frame, where TTT3R needs it.
    """

    camera_token: Tensor
    hooks: list[Tensor]
    state: Tensor
    affinity: Tensor | None


class FramePrediction(NamedTuple):
    """All that CUT3R predicts for one frame.

    Attributes:
        camera_token: (B, dim).
        pose: (B, 7) metric camera-to-world translation and unit quaternion (w, x, y, z), w >= 0; optical axes.
        point_maps: dense predictions, where they were asked for.
    """

    camera_token: Tensor
    pose: Tensor
    point_maps: PointMaps | None


class Cut3R(nn.Module):
    """The network, which is also a `PosePrior`."""

    def __init__(self, config: PosePriorConfig) -> None:
        super().__init__()
        self.config = config
        dim, encoder_dim = config.decoder_dim, config.encoder_dim
        self.patch_embed = PatchEmbed(config.patch_size, encoder_dim)
        self.enc_blocks = nn.ModuleList(
            EncoderBlock(encoder_dim, config.encoder_heads) for _ in range(config.encoder_layers)
        )
        self.enc_norm = LayerNorm(encoder_dim)
        self.register_tokens = nn.Embedding(config.state_tokens, encoder_dim)
        self.decoder_embed_state = nn.Linear(encoder_dim, dim)
        self.decoder_embed = nn.Linear(encoder_dim, dim)
        self.pose_token = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.pose_retriever = PoseMemory(config)
        self.dec_blocks = nn.ModuleList(DecoderBlock(dim, config.decoder_heads) for _ in range(config.decoder_layers))
        self.dec_blocks_state = nn.ModuleList(
            DecoderBlock(dim, config.state_heads) for _ in range(config.decoder_layers)
        )
        self.dec_norm = LayerNorm(dim)
        self.dec_norm_state = LayerNorm(dim)
        self.downstream_head = HEADS[config.dense_head](config)
        self._tables: dict[tuple[int, int, torch.device], RopeTables] = {}

    @property
    def capabilities(self) -> Capabilities:
        """What CUT3R can do (see `PosePrior`)."""
        return Capabilities(
            token_dim=self.config.decoder_dim,
            patch_size=self.config.patch_size,
            metric=True,
            constant_memory=True,
            point_maps=self.config.dense_head != "none",
        )

    def initial_state(self, batch_size: int = 1) -> Cut3RState:
        """Return the state before the first frame (see `PosePrior`)."""
        tokens = self.decoder_embed_state(self.register_tokens.weight)
        memory = self.pose_retriever.mem
        return Cut3RState(tokens.expand(batch_size, -1, -1), memory.expand(batch_size, -1, -1), is_first=True)

    def reset_state(self, state: Cut3RState) -> Cut3RState:
        """Return the state after a reset within a sequence.

        CUT3R goes on asking the pose memory, now the initial one; TTT3R starts from the pose token as for a first
        frame. A new sequence starts from `initial_state` with either rule.
        """
        restarts = self.config.state_rule == "ttt3r"
        return self.initial_state(len(state.tokens))._replace(is_first=restarts)

    def step(self, image: Tensor, state: Cut3RState) -> tuple[Observation, Cut3RState]:
        """Look at the next frame (see `PosePrior`); no point maps are computed."""
        tables = self.tables(image.shape[-2:], image.device)
        prediction, state = self.predict(self.encode(image, tables), tables, state)
        return Observation(prediction.camera_token, pose_matrix(prediction.pose)), state

    def forward(self, images: Tensor, dense: bool = True, stride: int = 1, every: int = 1) -> list[FramePrediction]:
        """Predict whole sequences from their first frame on; all their frames go through the encoder at once.

        Args:
            images: (B, T, 3, H, W) RGB in [-1, 1].
            dense: predict point maps too, as training needs.
            stride: of the pixels for which they are predicted.
            every: of the frames for which they are predicted, counted back from the last.

        Returns:
            One prediction for each of the T frames.
        """
        tables = self.tables(images.shape[-2:], images.device)
        features = self.encode(images.flatten(0, 1), tables).unflatten(0, images.shape[:2])
        state = self.initial_state(len(images))
        predictions = []
        for t in range(images.shape[1]):
            maps = dense and (images.shape[1] - 1 - t) % every == 0
            prediction, state = self.predict(features[:, t], tables, state, dense=maps, stride=stride)
            predictions.append(prediction)
        return predictions

    def encode(self, image: Tensor, tables: RopeTables) -> Tensor:
        """Return the (B, N, encoder_dim) features of (B, 3, H, W) images, RGB in [-1, 1]; frames are independent."""
        x = self.patch_embed(image)
        for block in self.enc_blocks:
            x = block(x, tables.encoder)
        return self.enc_norm(x)

    def predict(
        self,
        features: Tensor,
        tables: RopeTables,
        state: Cut3RState,
        dense: bool = False,
        update: bool = True,
        stride: int = 1,
    ) -> tuple[FramePrediction, Cut3RState]:
        """Predict a frame from its features.

        Args:
            features: (B, N, encoder_dim), of `encode`.
            tables: the rotary embeddings for the size of the image, of `tables`.
            state: before this frame.
            dense: predict point maps too.
            update: False localizes without learning: the state stays as it was, and what only it needs is left out.
            stride: of the pixels of the point maps.
        """
        key = self.pose_retriever.key(features)
        pose_token = self.first_or_inquired(state, key)
        decoded = self.decode(pose_token, features, state.tokens, tables, dense=dense, update=update)
        point_maps = self._point_maps(decoded, tables, stride) if dense else None
        pose = self.downstream_head.pose_head(decoded.camera_token)[:, 0]
        prediction = FramePrediction(decoded.camera_token[:, 0], pose, point_maps)
        return prediction, self.learn(state, key, decoded) if update else state

    def first_or_inquired(self, state: Cut3RState, key: Tensor) -> Tensor:
        """Return the (B, 1, dim) pose token with which a frame enters the decoder."""
        if state.is_first:
            return self.pose_token.expand(len(key), -1, -1)
        return self.pose_retriever.inquire(state.memory, key)

    def decode(
        self,
        pose_token: Tensor,
        features: Tensor,
        state: Tensor,
        tables: RopeTables,
        dense: bool = False,
        update: bool = True,
    ) -> Decoded:
        """Run both streams; each layer of one reads the layer before it of the other.

        Without point maps the last layer of the image stream is computed for the camera token alone, and without an
        update the last layer of the state stream is left out.
        """
        needs_affinity = update and self.config.state_rule == "ttt3r"
        depth = self.config.decoder_layers
        x = torch.cat([pose_token, self.decoder_embed(features)], dim=1)
        stages, affinities = [x], []
        for layer, (image_block, state_block) in enumerate(zip(self.dec_blocks, self.dec_blocks_state, strict=True), 1):
            is_last = layer == depth
            keep = 1 if is_last and not dense else None
            x, _ = image_block(stages[-1], state, tables.image, tables.state_of_image, keep)
            if update or not is_last:
                state, affinity = state_block(
                    state, stages[-1], tables.state, tables.image_of_state, need_affinity=needs_affinity
                )
                affinities.append(affinity)
            stages.append(x)
        x = self.dec_norm(x)
        hooks = [features, *(stages[layer][:, 1:] for layer in (depth // 2, 3 * depth // 4)), x[:, 1:]]
        return Decoded(
            camera_token=x[:, :1],
            hooks=hooks if dense else [],
            state=self.dec_norm_state(state),
            affinity=torch.stack(affinities).mean(dim=0) if needs_affinity else None,
        )

    def learn(self, state: Cut3RState, key: Tensor, decoded: Decoded) -> Cut3RState:
        """Return the state after a frame."""
        tokens = decoded.state if state.is_first else self.blend(state.tokens, decoded)
        memory = self.pose_retriever.write(state.memory, key, decoded.camera_token)
        return Cut3RState(tokens, memory, is_first=False)

    def blend(self, tokens: Tensor, decoded: Decoded) -> Tensor:
        """Return the state tokens after a frame that is not the first: the proposal, or TTT3R's share of it."""
        if decoded.affinity is None:
            return decoded.state
        return torch.lerp(tokens, decoded.state, decoded.affinity.sigmoid()[..., None])

    def tables(self, size: Sequence[int], device: torch.device) -> RopeTables:
        """Return the rotary embeddings for images of a height and width, made once for each size."""
        rows, columns = grid(size, self.config.patch_size)
        if (rows, columns, device) not in self._tables:
            with torch.inference_mode(False):  # the tables outlive this call, and training may need them
                self._tables[rows, columns, device] = make_tables(self.config, rows, columns, device)
        return self._tables[rows, columns, device]

    def _point_maps(self, decoded: Decoded, tables: RopeTables, stride: int) -> PointMaps:
        if not isinstance(self.downstream_head, DenseHeads):
            raise ConfigError('CUT3R: this network has no point-map head; build it with dense_head "linear" or "dpt".')
        return self.downstream_head.point_maps(
            decoded.hooks, decoded.camera_token, tables.image.tokens(1, None), tables.rows, stride
        )


def grid(size: Sequence[int], patch_size: int) -> tuple[int, int]:
    """Return the rows and columns of patches of an image of a height and width."""
    height, width = size
    if height % patch_size or width % patch_size or not height or not width:
        raise ImageError(
            f"CUT3R: an image of {width} x {height} pixels is not made of patches of {patch_size} x {patch_size}; "
            "resize it to multiples of the patch first."
        )
    return height // patch_size, width // patch_size


def make_tables(config: PosePriorConfig, rows: int, columns: int, device: torch.device) -> RopeTables:
    """Compute the rotary embeddings for a grid of patches."""
    patches, image = grid_positions(rows, columns), image_positions(rows, columns)
    state = state_positions(config.state_tokens)
    encoder_width = config.encoder_dim // config.encoder_heads
    image_width = config.decoder_dim // config.decoder_heads
    state_width = config.decoder_dim // config.state_heads
    return RopeTables(
        rows=rows,
        encoder=rope(patches, encoder_width, device),
        image=rope(image, image_width, device),
        state=rope(state, state_width, device),
        state_of_image=rope(state, image_width, device),
        image_of_state=rope(image, state_width, device),
    )
