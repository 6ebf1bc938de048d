"""The launch files: what they say without the launch system, and what they do where it is installed."""

import ast
import importlib.util
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from harness import LATCHED, wait_until
from loc3r_ros.srv import ListLabels
from nav_msgs.msg import Path as PathMessage
from rcl_interfaces.srv import GetParameters
from sensor_msgs.msg import Image
from tf2_msgs.msg import TFMessage

from loc3r_ros.ros import parameter_table
from loc3r_ros.ros.parameters import Parameters
from loc3r_ros.ros.processes import find_executable
from loc3r_ros.ros.robot_parameters import RobotParameters
from loc3r_ros.ros.viewer_parameters import ViewerParameters

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "launch.md"
FILES = sorted(path.name for path in (ROOT / "launch").glob("*.launch.py"))
NAV2 = {"namespace", "use_sim_time", "params_file", "autostart", "log_level", "use_respawn"}
OWN = {"image_topic", "camera_info_topic", "engines", "bag", "rviz", "viewer"}
OF_ROS = {"use_sim_time"}
TF = {("/tf", "tf"), ("/tf_static", "tf_static")}
SEEDS = {"/red": 1_100_001, "/blue": 1_100_002}


def calls(file, name):
    """Return the calls of a function or class in a launch file."""
    tree = ast.parse((ROOT / "launch" / file).read_text())
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == name]


def options_of(call):
    return {keyword.arg: keyword.value for keyword in call.keywords}


def constants(node):
    return [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]


def declared(file):
    """Return argument -> (default, description) as written; the default of a substitution is its strings."""
    found = {}
    for call in calls(file, "DeclareLaunchArgument"):
        options = options_of(call)
        found[call.args[0].value] = "/".join(constants(options["default_value"])), options["description"].value
    return found


def documented(file):
    section = re.search(rf"^## {file}$(.*?)(?=^## |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert section, f"{PAGE.name} has no section {file}"
    rows = re.findall(r"^\| `(\w+)` \|([^|]*)\| (.*) \|$", section[1], re.MULTILINE)
    return {name: (default.strip(" `"), text) for name, default, text in rows}


def nodes(file):
    """Return executable -> keyword arguments of each node that a file starts."""
    options = [options_of(call) for call in calls(file, "Node") if call.keywords]
    return {node["executable"].value: node for node in options}


def remappings(node):
    """Return the pairs of a node that are written as strings, in its list or in the one named TF."""
    pairs = [part for part in ast.walk(node["remappings"]) if isinstance(part, ast.Tuple)]
    names = {part.id for part in ast.walk(node["remappings"]) if isinstance(part, ast.Name)}
    return {tuple("".join(constants(item)) for item in pair.elts) for pair in pairs} | (TF if "TF" in names else set())


@pytest.mark.parametrize("file", FILES)
def test_the_page_has_the_arguments(file):
    said, written = documented(file), declared(file)
    view = {"rviz_config": said.pop("rviz_config", None)} if file == "rviz.launch.py" else {}
    assert view != {"rviz_config": None}
    assert said == {name: row for name, row in written.items() if name not in view}


def test_the_arguments_are_those_of_nav2_and_ours():
    assert set(declared("loc3r.launch.py")) >= NAV2 | OWN
    assert set(declared("rviz.launch.py")) >= {"namespace", "use_sim_time", "rviz_config"}


@pytest.mark.parametrize("file", FILES)
def test_every_argument_is_used_and_every_used_one_exists(file):
    used = {call.args[0].value for call in calls(file, "LaunchConfiguration") if isinstance(call.args[0], ast.Constant)}
    used |= {call.args[1].value for call in calls(file, "is_true")}
    assert set(declared(file)) - used <= {"engines"} if file == "demo.launch.py" else set(declared(file)) <= used
    assert used <= set().union(*(declared(other) for other in FILES))


def test_tf_means_what_the_test_takes_it_for():
    tree = ast.parse((ROOT / "launch" / "loc3r.launch.py").read_text())
    values = {node.targets[0].id: node.value for node in tree.body if isinstance(node, ast.Assign)}
    assert set(ast.literal_eval(values["TF"])) == TF


@pytest.mark.parametrize("file", FILES)
def test_the_nodes_are_the_installed_ones_and_tf_has_their_namespace(file):
    assert nodes(file)
    for executable, node in nodes(file).items():
        assert remappings(node) >= TF
        if node["package"].value == "loc3r_ros":
            assert find_executable(executable).exists()
            assert node["name"].value == {"loc3r_node": "loc3r"}.get(executable, executable)


def test_the_parameters_are_those_of_the_nodes():
    given = constants_of_dictionaries("loc3r.launch.py")
    assert given == {"use_sim_time", "autostart", "engines", "port"}
    known = {*parameter_table.entries(Parameters), *parameter_table.entries(ViewerParameters)}
    assert given <= known | OF_ROS
    robot = nodes("demo.launch.py")["world_camera"]["parameters"]
    assert {key.value for key in robot.elts[0].keys} <= set(parameter_table.entries(RobotParameters))


def constants_of_dictionaries(file):
    """Return the parameters that a file overrides: keys of its dictionaries, and of what is put into them."""
    tree = ast.parse((ROOT / "launch" / file).read_text())
    keys = {key.value for node in ast.walk(tree) if isinstance(node, ast.Dict) for key in node.keys}
    stores = [node for node in ast.walk(tree) if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store)]
    return keys | {node.slice.value for node in stores}


@pytest.mark.ros
@pytest.mark.slow
def test_two_robots_in_two_namespaces_do_not_hear_each_other(probe, start_node):
    """The names and remappings of the launch files, without the launch system."""
    executables = {"loc3r_node": nodes("loc3r.launch.py"), "world_camera": nodes("demo.launch.py")}
    started = [
        start_node(
            script=f"scripts/{executable}",
            namespace=space,
            remap={**dict(TF & remappings(found[executable])), "__node": found[executable]["name"].value},
            parameters={"seed": seed, "rate": 5.0} if executable == "world_camera" else {},
        )
        for space, seed in SEEDS.items()
        for executable, found in executables.items()
    ]
    check_two_robots(probe)
    assert len(started) == 4


def check_two_robots(probe):
    """Each robot has keyframes, transforms and services under its own name, and there is no /tf at all."""
    inboxes = {
        space: (
            probe.listen(PathMessage, f"{space}/keyframes", LATCHED),
            probe.listen(TFMessage, f"{space}/tf"),
            probe.listen(Image, f"{space}/image"),
        )
        for space in SEEDS
    }
    everywhere = probe.listen(TFMessage, "/tf")
    pictures = {}
    for space, (keyframes, transforms, images) in inboxes.items():
        keyframes.wait(lambda message: message.poses, f"a keyframe of {space}", 200)
        transforms.wait(lambda message: message.transforms[0].header.frame_id == "map", f"map -> odom of {space}", 60)
        pictures[space] = images.wait().data
        assert probe.call(ListLabels, f"{space}/list_labels").success
    assert pictures["/red"] != pictures["/blue"]
    assert not everywhere.messages
    names = {f"{space}/{name}" for space in SEEDS for name in ("loc3r", "world_camera")}
    wait_until(lambda: names <= full_names(probe), f"the nodes {names} in the graph")


def full_names(probe):
    return {f"{space.rstrip('/')}/{name}" for name, space in probe.node.get_node_names_and_namespaces()}


# --- where the launch system is installed -----------------------------------------------------------------------------


def load(file):
    """Return the description that a launch file makes."""
    pytest.importorskip("launch_ros", reason="the Python packages launch and launch_ros are not installed here")
    spec = importlib.util.spec_from_file_location("a_launch_file", ROOT / "launch" / file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, module.generate_launch_description()


@pytest.mark.parametrize("file", FILES)
def test_it_is_a_launch_description(file):
    _, description = load(file)
    names = {argument.name for argument in description.get_launch_arguments()}
    assert names >= set(declared(file))
    if file == "demo.launch.py":
        assert names >= set(declared("loc3r.launch.py")), "the arguments of loc3r.launch.py are not passed on"


@pytest.fixture
def ros2_launch(tmp_path):
    """Start `ros2 launch`; end what runs with the test."""
    if not shutil.which("ros2") or not importlib.util.find_spec("ros2launch"):
        pytest.skip("the tool `ros2 launch` is not installed here")
    processes = []

    def start(*arguments):
        log = tmp_path / f"{len(processes)}.log"
        with log.open("w") as file:
            command = ["ros2", "launch", "loc3r_ros", *arguments]
            processes.append(subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT))
        return processes[-1], log

    yield start
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(30)


@pytest.mark.ros
@pytest.mark.slow
def test_ros2_launch_starts_two_robots_and_ends_them_cleanly(probe, ros2_launch):
    started = [
        ros2_launch("demo.launch.py", f"namespace:={space[1:]}", f"seed:={seed}") for space, seed in SEEDS.items()
    ]
    check_two_robots(probe)
    for process, log in started:
        process.send_signal(signal.SIGINT)
        process.wait(90)
        text = log.read_text()
        assert text.count("process has finished cleanly") == 2, text
        assert "Error" not in text, text


@pytest.mark.ros
@pytest.mark.slow
def test_ros2_launch_passes_its_arguments_on(probe, ros2_launch, tmp_path):
    """Without autostart, in the simulator's time, with another camera, and started again after it was killed."""
    profile = tmp_path / "mine.yaml"
    profile.write_text("/**:\n  ros__parameters:\n    image_timeout: 7.0\n")
    _, log = ros2_launch(
        "loc3r.launch.py",
        f"params_file:={profile}",
        "namespace:=green",
        "autostart:=False",
        "use_sim_time:=True",
        "use_respawn:=True",
        "image_topic:=/camera/image_raw",
    )
    wait_until(lambda: "/green/loc3r" in full_names(probe), "the node", 60)
    asked = probe.call(ListLabels, "/green/list_labels")
    assert not asked.success
    assert "The node is unconfigured" in asked.message
    values = probe.call(GetParameters, "/green/loc3r/get_parameters", names=["image_timeout", "use_sim_time"]).values
    assert (values[0].double_value, values[1].bool_value) == (7.0, True)
    number = re.search(r"process started with pid \[(\d+)\]", log.read_text())[1]
    assert "image:=/camera/image_raw" in Path(f"/proc/{number}/cmdline").read_text().split("\0")
    subprocess.run(["kill", "-9", number], check=True)
    wait_until(lambda: log.read_text().count("process started with pid") == 2, "the second start")
