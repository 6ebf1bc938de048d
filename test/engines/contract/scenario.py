"""Everything that our code asks of TensorRT, in a process of its own: real bindings, simulated device.

Usage: python scenario.py FIXED VARIABLE SCRATCH [rename]; prints what came out of it as JSON. FIXED and VARIABLE are
folders of ONNX engines in fp16, exported with a fixed cache and without.
"""

import contextlib
import io
import json
import logging
import shutil
import sys
import threading
from pathlib import Path

import numpy as np
import simulated_cuda
import simulated_tensorrt
import tensorrt_bindings
from doubles import Contract, ContractError, ModuleDouble

from loc3r_ros.cli import main as main_command
from loc3r_ros.errors import EngineError, Loc3RError

simulated_cuda.install()
machine = simulated_cuda.machine
contract = Contract(tensorrt_bindings)
OURS = ("loc3r_ros.engines.trt", "loc3r_ros.engines.trt_plan", "loc3r_ros.engines.gpu", "loc3r_ros.build.compiler")
FEATURES = {
    "IStreamReaderV2",
    "IStreamWriter",
    "OnnxParser.load_initializer",
    "Builder.build_serialized_network_to_stream",
    "NetworkDefinitionCreationFlag.STRONGLY_TYPED",
}
"""What is asked for before it is used."""


def start(hidden=()):
    """Import our modules anew on a TensorRT that pretends to lack some members."""
    contract.hidden = set(hidden)
    sys.modules["tensorrt"] = simulated_tensorrt.tensorrt = ModuleDouble(contract, simulated_tensorrt.BEHAVIOURS)
    for name in OURS:
        sys.modules.pop(name, None)
        package, _, attribute = name.rpartition(".")
        if package in sys.modules and hasattr(sys.modules[package], attribute):
            delattr(sys.modules[package], attribute)


def build(source, out, precision=None):
    """Build a folder and return what was said."""
    from loc3r_ros.build.folder import build_folder, is_built, key_here, plan_folder

    said = []
    plan = plan_folder(source, precision)
    key = key_here(plan)
    if not is_built(out, key, said.append):
        build_folder(source, out, plan, key, "loc3r build SOURCE --out OUT", said.append)
    return said


def command(*arguments):
    """Run `loc3r` and return its exit code and what it printed."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        code = main_command(list(arguments))
    return code, printed.getvalue()


def load(folder):
    from loc3r_ros.engines import EngineSet

    return EngineSet.load(folder, threads=1)


def largest_difference(reference, candidate):
    from loc3r_ros.export import parity

    rows = reference.prefix_rows or 400
    parity.LENGTHS = [lengths for lengths in parity.LENGTHS if lengths[1] <= rows]
    return max(deviation.error for deviation in parity.compare(reference, candidate))


def talk(folder):
    """Show pictures to a localizer, evict, ask; return all that it says."""
    from loc3r_ros.keyframes import KeyframeBuffer, MotionPolicy
    from loc3r_ros.localizer import Localizer

    keyframes = KeyframeBuffer(4, MotionPolicy(0.0, 0.0), eviction_block=2)
    localizer = Localizer.load(folder, threads=1, keyframes=keyframes, answer_tokens=8)
    for number in range(6):
        picture = np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        localizer.observe(picture, number * 10**9)
        assert localizer.settle(60)
    place = localizer.locate("Here.")
    return [place.pose.tolist(), localizer.ask("What?").text, localizer.layout().points.tolist()]


def decode(folder, count=6):
    """Append a question and some tokens; return their logits, what one token copied, and how many graphs ran."""
    from loc3r_ros.localizer.question import Question
    from loc3r_ros.memory.sequence import FrameSequence
    from loc3r_ros.prompt.template import PromptIds

    engines = load(folder)
    question = Question(
        engines, FrameSequence(engines, 4, 0).snapshot, PromptIds(np.arange(5, 25), 8, 9), answer_tokens=count + 2
    )
    machine.reset(machine.is_integrated)
    logits = []
    for token in range(count):
        before = dict(machine.copied)
        question.push(token)
        logits.append(question._logits[0])
    language = engines.manifest.language
    row = len(language.cache_names) * language.kv_heads * language.head_dim * np.dtype(language.cache_dtype).itemsize
    return {
        "copied": {way: machine.copied[way] - before[way] for way in before},
        "row": row,
        "cache": row * (engines.prefix_rows or 0),
        "launched": machine.launched,
    }, np.array(logits)


def refusal(function, *arguments):
    try:
        function(*arguments)
    except Loc3RError as error:
        return str(error)
    return ""


def misuse(folder):
    """Return what is said of inputs and buffers that do not fit, and how much memory stays when buffers are dropped."""
    engines = load(folder)
    vision, allocate = engines.vision, engines.backend.allocate
    picture = np.zeros((32, 32, 3), np.uint8)
    said = [
        refusal(vision.run, {}),
        refusal(vision.run, {"image": np.zeros((31, 32, 3), np.uint8)}),
        refusal(vision.run, {"image": allocate((32, 32, 3), "int64")}),
        refusal(vision.run, {"image": picture}, {"tokens": allocate((1, 32), "float16")}),
        refusal(vision.run, {"image": picture}, {"tokens": object()}),
    ]
    shape = engines.vision.spec.outputs["tokens"].shape
    rows = allocate((1 + shape[0], *shape[1:]), "float16")  # the second row begins at no multiple of 256
    vision.run({"image": picture}, {"tokens": rows.rows(1, 1 + shape[0])})
    is_same = np.array_equal(rows.read()[1:], vision.run({"image": picture})["tokens"])
    before = len(machine.memory.blocks)
    for size in range(1, 60):
        allocate((size, 1000), "float16").write(np.ones((size, 1000), np.float16))
    return {"said": said, "misaligned": is_same, "kept": len(machine.memory.blocks) - before}


def in_threads(folder):
    """Run one engine from several threads at once; return whether all got the same."""
    engines, results = load(folder), {}
    pictures = [np.full((32, 32, 3), 40 * number, np.uint8) for number in range(4)]

    def look(number):
        for _ in range(5):
            results[number] = engines.vision.run({"image": pictures[number]})["tokens"]

    threads = [threading.Thread(target=look, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return all(
        np.array_equal(results[number], engines.vision.run({"image": picture})["tokens"])
        for number, picture in enumerate(pictures)
    )


def with_unknown_operator(source, target):
    """Copy a folder, and write an operator into its vision graph that no parser knows."""
    import onnx

    from loc3r_ros.engines import Manifest
    from loc3r_ros.engines.manifest import describe_files

    shutil.copytree(source, target)
    graph = onnx.load(str(target / "vision.onnx"), load_external_data=False)
    graph.graph.node[0].op_type = "UnknownOperator"
    onnx.save(graph, str(target / "vision.onnx"))
    text = Manifest.read(target)
    (target / "manifest.json").write_text(type(text)(**{**vars(text), "files": describe_files(target)}).to_json())
    return target


def everything(fixed, variable, scratch):
    """Build and run in all ways; return what is to be asserted."""
    from loc3r_ros.build import weight_only
    from loc3r_ros.export import quantise

    start()
    reference, out = load(fixed), scratch / "plans"
    result = {"version": tensorrt_bindings.__version__, "said": build(fixed, out)}
    result["again"] = build(fixed, out)
    result["command"] = command("build", str(fixed), "--out", str(out)), command("build", str(fixed), "--dry-run")
    result["key"] = load(out).manifest.build
    result["difference"] = largest_difference(reference, load(out))
    said, (_, logits) = talk(fixed), decode(fixed)
    build(variable, scratch / "variable")
    for name, folder, is_integrated in (
        ("separate", out, False),
        ("shared", out, True),
        ("variable", scratch / "variable", False),
    ):
        machine.reset(is_integrated)
        found = talk(folder)
        numbers, found_logits = decode(folder)
        result[name] = {
            **numbers,
            "says the same": bool(
                np.allclose(found[0], said[0], atol=2e-3) and np.allclose(found[2], said[2], atol=2e-3)
            ),
            "decodes the same": bool(np.array_equal(found_logits, logits)),
            "decodes alike": bool(np.allclose(found_logits, logits, atol=5e-3)),
        }
    machine.reset()
    result["threads"], result["misuse"] = in_threads(out), misuse(out)
    quantise.BLOCK = weight_only.BLOCK = 16
    for precision in ("int8", "int4"):
        build(fixed, scratch / precision, precision)
        result[precision] = largest_difference(reference, load(scratch / precision))
    machine.capability = (9, 0)
    result["other GPU"] = refusal(load, out)
    result["rebuilt"] = build(fixed, out)
    machine.capability = (8, 7)
    result["unknown"] = refusal(build, with_unknown_operator(fixed, scratch / "odd"), scratch / "none")
    result["left behind"] = sorted(path.name for path in scratch.iterdir() if path.name.startswith((".", "none")))
    machine.has_device = False
    result["no device"] = refusal(load, out)
    machine.has_device = True
    (scratch / "int8" / "vision.plan").write_bytes(b"")
    result["empty plan"] = refusal(empty_plan, scratch / "int8")
    result["used"] = sorted(contract.used)
    return result


def empty_plan(folder):
    from loc3r_ros.engines import Manifest
    from loc3r_ros.engines.trt import TensorRTBackend

    manifest = Manifest.read(folder)
    TensorRTBackend(manifest, folder).load(folder, manifest.graphs["vision"])


def renamed(fixed, scratch):
    """Hide everything that was used, one after the other; return member -> what then happened."""
    start()
    out, found = scratch / "plans", {}
    build(fixed, out)
    decode(out, 3)
    for member in sorted(contract.used - FEATURES):
        shutil.rmtree(out, ignore_errors=True)
        try:
            start([member])
            build(fixed, out)
            decode(out, 3)
        except (AttributeError, ContractError, EngineError) as error:
            found[member] = str(error)
        else:
            found[member] = ""
    return found


def main():
    logging.disable(logging.CRITICAL)
    fixed, variable, scratch = (Path(argument) for argument in sys.argv[1:4])
    result = renamed(fixed, scratch) if sys.argv[4:] == ["rename"] else everything(fixed, variable, scratch)
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
