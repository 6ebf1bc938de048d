"""The node with a real memory and small engines of random weights, whose pose prior reads the truth off the picture."""

import sys
from functools import partial

from rclpy.executors import MultiThreadedExecutor

from loc3r_ros.benchmarks._true_prior import PriorNoise, with_true_prior
from loc3r_ros.engines import EngineSet
from loc3r_ros.localizer import Localizer
from loc3r_ros.prompt.template import PromptTemplate
from loc3r_ros.ros.lifecycle import run
from loc3r_ros.ros.localizers import engine_folder, make_buffer
from loc3r_ros.ros.node import THREADS, Loc3rNode

NOISE = PriorNoise(0.02, 0.01, 0.0, 0.0, 0.0)


def load(parameters):
    folder = engine_folder(parameters)
    engines = with_true_prior(EngineSet.load(folder, threads=1), NOISE)
    return Localizer(engines, PromptTemplate.load(folder), make_buffer(parameters))


if __name__ == "__main__":
    sys.exit(run(partial(Loc3rNode, load), partial(MultiThreadedExecutor, num_threads=THREADS), None))
