"""Where the joints of a walking or standing synthpedes person are.

Unit: height of the person. y runs from 0 (top of the head) to 1 (floor). Seen from the front or
the back, x > 0 is the person's left; seen from a side, x > 0 is where the person looks.
"""

from collections.abc import Mapping
from math import cos, pi, sin
from typing import NamedTuple

import numpy as np

Point = tuple[float, float]


class Body(NamedTuple):
    """Half widths of the body, and the size of the head relative to an average one."""

    shoulder: float
    waist: float
    hip: float
    depth: float  # of the trunk, seen from a side
    limb: float  # factor of the thickness of arms and legs
    head: float


class Joints(NamedTuple):
    """Chains of three joints, keyed "left" and "right" from front and back, "near" and "far"."""

    legs: dict[str, tuple[Point, Point, Point]]  # hip, knee, ankle
    arms: dict[str, tuple[Point, Point, Point]]  # shoulder, elbow, hand
    lean: float  # x by which the head is moved


class Gait(NamedTuple):
    """One moment of a walk."""

    swing: float  # in [-1, 1]: the left leg forward by this part of a full step
    lift: float  # in [0, 1]: how far the rear foot has left the floor
    arm_out: float  # radians between arm and body, seen from the front
    lean: float


_THIGH, _SHIN = 0.235, 0.225
_UPPER_ARM, _FOREARM = 0.145, 0.135
_SHOULDER_Y, _HIP_Y = 0.195, 0.49


def sample_gait(rng: np.random.Generator) -> Gait:
    """Draws a moment; one in four people stands. The number of draws is fixed."""
    phase, amplitude, walks, arm_out, lean = rng.random(5)
    swing = sin(2 * pi * phase) * (0.55 + 0.45 * amplitude)
    if walks < 0.25:
        swing *= 0.15
    return Gait(swing, abs(swing), 0.05 + 0.13 * arm_out, 0.02 * (lean - 0.5))


def body(person: Mapping[str, str]) -> Body:
    """Returns the measures of a person."""
    width = {"slim": 0.95, "average": 1.08, "heavy": 1.32}[person["build"]]
    head = {"short": 1.06, "average": 1.0, "tall": 0.94}[person["height"]]
    if person["gender"] == "man":
        return Body(0.108 * width, 0.088 * width, 0.086 * width, 0.068 * width, 1.08 * width, head)
    return Body(0.09 * width, 0.066 * width, 0.09 * width, 0.06 * width, 0.98 * width, head)


def facing_joints(gait: Gait, measures: Body, bent: str) -> Joints:
    """Returns the joints seen from the front or the back.

    Args:
      gait: the moment.
      measures: of the body.
      bent: the arm that holds something before the body: "left", "right" or "none".
    """
    legs, arms = {}, {}
    for side, sign in (("left", 1), ("right", -1)):
        raised = 0.035 * max(0.0, -sign * gait.swing)  # the rear leg looks shorter
        hip = (sign * measures.hip * 0.52, _HIP_Y)
        knee = (sign * (measures.hip * 0.56), _HIP_Y + _THIGH - raised * 0.3)
        legs[side] = (hip, knee, (sign * measures.hip * 0.56, 0.95 - raised))
        shoulder = (sign * measures.shoulder * 0.88, _SHOULDER_Y + 0.012)
        if side == bent:
            elbow = (shoulder[0] + sign * 0.028, _SHOULDER_Y + 0.135)
            hand = (shoulder[0] - sign * 0.03, _SHOULDER_Y + 0.145)
        else:
            out = gait.arm_out
            elbow = _ahead(shoulder, sign * out, _UPPER_ARM)
            shorter = 1 - 0.2 * max(0.0, sign * gait.swing)
            hand = _ahead(elbow, sign * out * 0.6, _FOREARM * shorter)
        arms[side] = (shoulder, elbow, hand)
    return Joints(legs, arms, gait.lean)


def side_joints(gait: Gait, near: str, bent: bool) -> Joints:
    """Returns the joints seen from a side.

    Args:
      gait: the moment.
      near: the side that the camera sees, "left" or "right".
      bent: whether the near arm holds something before the body.
    """
    swing = gait.swing if near == "left" else -gait.swing
    legs, arms = {}, {}
    for side, sign in (("near", 1), ("far", -1)):
        angle = 0.42 * sign * swing
        flex = 0.12 + (0.5 * gait.lift if angle < 0 else 0.05)
        knee = _ahead((0, _HIP_Y), angle + 0.5 * flex, _THIGH)
        ankle = _ahead(knee, angle - 0.6 * flex, _SHIN)
        legs[side] = ((0, _HIP_Y), knee, (ankle[0], min(0.95, ankle[1])))
        shoulder = (-0.005, _SHOULDER_Y + 0.005)
        if side == "near" and bent:
            elbow = _ahead(shoulder, -0.05, _UPPER_ARM)
            arms[side] = (shoulder, elbow, _ahead(elbow, 1.75, _FOREARM))
        else:
            elbow = _ahead(shoulder, -0.5 * sign * swing, _UPPER_ARM)
            arms[side] = (shoulder, elbow, _ahead(elbow, 0.22 - 0.5 * sign * swing, _FOREARM))
    return Joints(legs, arms, gait.lean)


def _ahead(start: Point, angle: float, length: float) -> Point:
    """The point `length` below start, turned by `angle` radians towards x > 0."""
    return start[0] + length * sin(angle), start[1] + length * cos(angle)
