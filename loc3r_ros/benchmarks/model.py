"""The nano model on this machine's CPU, random weights: frames by stage, questions cached and anew, decoding, memory.

CPU time is user and system time over all threads. "Anew" is how the paper's code answers: pose prior and vision on all
frames, and the whole prompt, for every question. "transformers" is that with the pose prior left out: the same weights
in PyTorch, answered by transformers' own `generate`. Option: `threads` (2).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import Qwen2ForCausalLM
from transformers.models.qwen2.modeling_qwen2 import Qwen2RotaryEmbedding

from loc3r_ros.benchmarks import Measurement
from loc3r_ros.benchmarks._timing import interleaved
from loc3r_ros.engines import EngineSet
from loc3r_ros.engines.protocol import Array
from loc3r_ros.export.folder import export_engines
from loc3r_ros.export.source import Source, random_source
from loc3r_ros.interface import ImageArray
from loc3r_ros.localizer.frames import prepare
from loc3r_ros.localizer.question import Question
from loc3r_ros.memory.cache import Cache
from loc3r_ros.memory.language import append_tokens
from loc3r_ros.memory.sequence import FrameSequence
from loc3r_ros.memory.snapshot import Record, Snapshot
from loc3r_ros.model.config import preset
from loc3r_ros.model.language import qwen2_config
from loc3r_ros.prompt.template import PromptIds, PromptTemplate

THREADS = 2
KEYFRAMES = (4, 8, 16, 32)
QUESTION, SITUATION = "What is on my left?", "I am standing beside the sofa, facing the TV."
CAMERA = (720, 1280, 3)
ROUNDS = 7
DECODED = 48
PEAK_MEMORY = """
import sys
import numpy as np
from loc3r_ros import Localizer
from loc3r_ros.keyframes import KeyframeBuffer, MotionPolicy
keyframes = KeyframeBuffer(32, MotionPolicy(0.0, 0.0), eviction_block=8)
localizer = Localizer.load(sys.argv[1], threads=2, keyframes=keyframes, answer_tokens=16)
for number in range(48):
    image = np.random.default_rng(number).integers(0, 256, (720, 1280, 3), dtype=np.uint8)
    localizer.observe(image, number * 1_000_000_000)
    localizer.ask("What is on my left?")
localizer.settle()
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


def measure(threads: int = THREADS) -> list[Measurement]:
    """Export a nano model with random weights and measure it, onnxruntime and torch with so many threads."""
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "nano"
        source = random_source(preset("nano"))
        export_engines(source, folder)
        engines = EngineSet.load(folder, threads)
        film = Film(engines, max(KEYFRAMES))
        return [
            *frame_rows(engines, film),
            *question_rows(engines, source, film),
            *dropping_rows(engines, film),
            peak_memory(folder),
        ]


class Film:
    """Camera images of noise, and their pictures."""

    def __init__(self, engines: EngineSet, count: int) -> None:
        self.engines = engines
        self.images = [np.random.default_rng(n).integers(0, 256, CAMERA, dtype=np.uint8) for n in range(count)]
        self.frames = [prepare(engines.manifest, image, n, None) for n, image in enumerate(self.images)]

    def picture(self, number: int) -> ImageArray:
        """Return the engines' picture of a frame."""
        return self.frames[number].picture

    def append(self, sequence: FrameSequence, number: int) -> None:
        """Look at a frame and remember it."""
        frame = self.frames[number]
        sighting, pose = sequence.look(frame.prior_picture)
        tokens = self.engines.vision.run({"image": frame.picture})["tokens"]
        sequence.append(Record(number, number, frame.prior_picture, tokens, frame.colour), sighting, pose)

    def sequence(self, count: int) -> FrameSequence:
        """Return a sequence of the first frames, with room for one more."""
        sequence = FrameSequence(self.engines, count + 1, 0)
        for number in range(count):
            self.append(sequence, number)
        return sequence


def row(name: str, times: tuple[float, float], note: str = "") -> Measurement:
    """Return CPU milliseconds, with the wall time in the note."""
    return Measurement(name, 1e3 * times[0], "ms CPU", f"{1e3 * times[1]:.1f} ms wall{'; ' if note else ''}{note}")


def appending(engines: EngineSet, film: Film, sequence: FrameSequence, number: int) -> Callable[[], object]:
    """Return a function that runs a frame's tokens behind a sequence, as often as it is called, and keeps nothing."""
    before, language = sequence.snapshot, engines.manifest.language
    sighting, _ = sequence.look(film.frames[number].prior_picture)
    embeddings = np.concatenate([sighting.camera_token, engines.vision.run({"image": film.picture(number)})["tokens"]])
    scratch = Cache(engines.backend, language, len(embeddings))
    empty = Cache(engines.backend, language, 0, engines.suffix_rows).view()
    patches = np.arange(1, 1 + engines.manifest.video.rows * engines.manifest.video.columns)

    def append() -> None:
        scratch.length = 0
        append_tokens(engines, embeddings, before.next_position, before.cache, empty, scratch, layout_rows=patches)

    return append


def frame_rows(engines: EngineSet, film: Film) -> list[Measurement]:
    """Measure each stage of a frame, the last of 32, and the sums that the budgets are about."""
    sequence = film.sequence(max(KEYFRAMES) - 1)
    frame = film.frames[-1]
    stages: dict[str, Callable[[], Any]] = {
        "resize 1280 x 720": lambda: prepare(engines.manifest, film.images[-1], 0, None),
        "pose prior": lambda: sequence.look(frame.prior_picture),
        "vision": lambda: engines.vision.run({"image": frame.picture}),
        "append to 31 keyframes": appending(engines, film, sequence, max(KEYFRAMES) - 1),
    }
    times = interleaved(stages, 3 * ROUNDS)
    looked = times["resize 1280 x 720"][0] + times["pose prior"][0]
    kept = sum(cpu for cpu, _ in times.values())
    return [
        *(row(f"frame: {name}", value) for name, value in times.items()),
        Measurement("frame that is looked at", 1e3 * looked, "ms CPU", "budget 60"),
        Measurement("frame that is kept", 1e3 * kept, "ms CPU", "budget 120"),
    ]


def question_rows(engines: EngineSet, source: Source, film: Film) -> list[Measurement]:
    """Measure the time to the first token of an answer, and decoding."""
    prompt = PromptTemplate(source.tokenizer).ask(QUESTION, SITUATION)
    plain = plain_transformers(source)
    rows = []
    for count in KEYFRAMES:
        snapshot = film.sequence(count).snapshot
        ways: dict[str, Callable[[], Any]] = {
            "cached": partial(Question, engines, snapshot, prompt, 1),
            "anew": partial(answer_anew, engines, film, count, prompt),
            "transformers": partial(first_token, source, plain, film, count, prompt.ids),
        }
        times = interleaved(ways, ROUNDS)
        note = f"{len(prompt.ids)} tokens of text" + ("; budget 250" if count == max(KEYFRAMES) else "")
        rows.append(row(f"first token at {count} keyframes, cached", times["cached"], note))
        rows += [row(f"first token at {count} keyframes, {way}", times[way]) for way in ("anew", "transformers")]
        for way in ("anew", "transformers"):
            rows.append(
                Measurement(f"{way} / cached at {count} keyframes", times[way][0] / times["cached"][0], "x CPU")
            )
    return [*rows, decode_row(engines, snapshot, prompt)]


def decode_row(engines: EngineSet, snapshot: Snapshot, prompt: PromptIds) -> Measurement:
    """Measure an answer's tokens after the first, on the largest memory."""
    question = Question(engines, snapshot, prompt, DECODED + 1)
    cpu, wall = interleaved({"decode": partial(question.push, 7)}, DECODED - 2)["decode"]
    return Measurement("decode at 32 keyframes", 1 / wall, "tokens/s", f"{1e3 * cpu:.1f} ms CPU a token")


def answer_anew(engines: EngineSet, film: Film, count: int, prompt: PromptIds) -> Array:
    """Answer as if nothing had been kept: everything is run for this question, the prompt in one piece."""
    sequence = FrameSequence(engines, 0, 0)
    tokens = []
    for number in range(count):
        frame = film.frames[number]
        tokens.append(sequence.look(frame.prior_picture)[0].camera_token)
        tokens.append(engines.vision.run({"image": frame.picture})["tokens"])
        sequence.tracker.learn()
    embeddings = np.concatenate([*tokens, engines.embedding[prompt.ids]])
    cache = Cache(engines.backend, engines.manifest.language, len(embeddings))
    head = sequence.snapshot
    return append_tokens(
        engines, embeddings, head.next_position, head.cache, cache.view(), cache, logit_rows=[len(embeddings) - 1]
    ).logits


def plain_transformers(source: Source) -> Qwen2ForCausalLM:
    """Return transformers' own model; it shares the weights."""
    language = source.model.language
    config = qwen2_config(language.config)
    config.tie_word_embeddings = language.lm_head is None
    config.rope_parameters = {"rope_type": "default", "rope_theta": language.config.rope_theta}
    with torch.device("meta"):
        model = Qwen2ForCausalLM(config)
    weights = {name if name.startswith("lm_head") else f"model.{name}": t for name, t in language.state_dict().items()}
    weights.setdefault("lm_head.weight", language.embed_tokens.weight)
    model.load_state_dict(weights, assign=True)
    model.model.rotary_emb = Qwen2RotaryEmbedding(config).to(language.embed_tokens.weight.device)
    return model.eval()


@torch.inference_mode()
def first_token(source: Source, plain: Qwen2ForCausalLM, film: Film, count: int, ids: Array) -> int:
    """Answer with plain transformers: vision on all frames in one batch, then `generate` on the whole prompt."""
    embed = source.model.language.embed_tokens
    device = embed.weight.device
    pictures = np.stack([film.picture(number) for number in range(count)])
    pixels = (torch.from_numpy(pictures).to(device).permute(0, 3, 1, 2).float() / 255.0 - 0.5) / 0.5
    camera = torch.zeros(1, count, source.model.config.pose_prior.camera_dim, device=device)
    text = [embed(torch.as_tensor(part, device=device))[None] for part in (source.head_ids, ids)]
    embeddings = torch.cat([text[0], source.model.video_tokens(pixels[None], camera), text[1]], dim=1)
    tokens = plain.generate(inputs_embeds=embeddings, max_new_tokens=1, do_sample=False)  # type: ignore[misc]
    return int(tokens[0, -1])


def dropping_rows(engines: EngineSet, film: Film) -> list[Measurement]:
    """Measure how far evicting without a rebuild moves a place: 8 of 32 keyframes dropped."""
    dropped, rebuilt = film.sequence(32), FrameSequence(engines, 32, 0)
    dropped.drop(range(8))
    for number in range(8, 32):
        film.append(rebuilt, number)
    prompt = PromptIds(np.arange(5, 45), 20, 21)
    first, second = (Question(engines, sequence.snapshot, prompt, 0) for sequence in (dropped, rebuilt))
    error = float(np.hypot(*(first.position - second.position)[:2]))
    spread = float(np.hypot(*second.position[:2]))
    note = f"random weights; the place lies {spread:.3f} m from the origin"
    return [Measurement("8 of 32 keyframes dropped, not rebuilt: place moves", error, "m", note)]


def peak_memory(folder: Path) -> Measurement:
    """Measure a process of its own that sees 48 keyframes, rebuilds and answers 48 questions."""
    done = subprocess.run([sys.executable, "-c", PEAK_MEMORY, str(folder)], capture_output=True, text=True, check=True)
    return Measurement(
        "peak memory of a localizer's process", float(done.stdout) / 1024, "MB", "48 keyframes with a rebuild, no torch"
    )
