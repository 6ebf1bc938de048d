"""The alignments of the last anchors: fitted to the odometry, or one after the other by the pose prior alone."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, replace

import numpy as np

from loc3r_ros import geometry
from loc3r_ros.alignment.anchors import Alignment
from loc3r_ros.alignment.dead_reckoning import OdometryNoise
from loc3r_ros.alignment.innovation import Innovation
from loc3r_ros.alignment.similarity import SCALE_SIGMA, Fit, fit_similarity
from loc3r_ros.alignment.trajectory import Jump, align, planar, prior_jump, reach
from loc3r_ros.interface import FloatArray, Trajectory

KNOWN_ALIGNMENTS = 8
GATE = 18.47
"""Chi-square at 99.9 % for four degrees of freedom."""
FEWEST_SHARED = 3
"""Keyframes without which two anchors are not fitted to each other."""
LINKING = 3
"""Keyframes with odometry that tie an anchor to it which was placed in the map without."""
FIRST_REST = 10_000_000_000
"""ns from one new anchor after a failure to the next; doubled each time that the new one fails, too, up to"""
LONGEST_REST = 640_000_000_000
"""ns. A memory that began anew at each failure of a bad pose prior would never know anything."""
DOUBT = 60_000_000_000
"""ns after a failure during which places that rest on the odometry are called doubtful."""


@dataclass(frozen=True)
class Link:
    """An anchor whose place both the map and the odometry know, so that each knows where the other lies."""

    in_map: Alignment
    in_odometry: Alignment


class Aligner:
    """The alignments of the last anchors; safe to use from several threads.

    Until there is odometry, anchors lie in the map: the first where the map begins, or where `adopt` puts it, each next
    where the pose prior saw it from the one before. With the first keyframes with odometry that changes: anchors lie
    in the odometry from then on, and `take_link` tells, once, what ties the two together.

    Attributes:
        failures: how often the pose prior went wrong so that the memory had to begin anew.
        last_failure: the last reason for that.
    """

    def __init__(self, noise: OdometryNoise | None = None) -> None:
        """Begin without an anchor.

        Args:
            noise: of the odometry; None is that of an ordinary robot.
        """
        self._noise = noise or OdometryNoise()
        self._lock = threading.Lock()
        self._innovation = Innovation()
        self._forget()

    def _forget(self) -> None:
        self._alignments: dict[int, Alignment] = {}
        self._trusted: dict[int, Alignment] = {}
        self._fitted: tuple[Trajectory, Alignment] | None = None
        self._link: Link | None = None
        self._guess: Alignment | None = None
        self._demand: int | None = None
        self._innovation.reset()
        self._rest, self._resting_until = FIRST_REST, 0
        self._failed_at: int | None = None
        self._watched_since = 0
        self.failures, self.last_failure = 0, ""

    @property
    def latest(self) -> Alignment | None:
        """The newest alignment."""
        with self._lock:
            return next(reversed(self._alignments.values()), None)

    def get(self, anchor_id: int) -> Alignment | None:
        """Return the alignment of an anchor; the last few are known."""
        with self._lock:
            return self._alignments.get(anchor_id)

    def known(self) -> tuple[Alignment, ...]:
        """Return the alignments of the last few anchors, oldest first."""
        with self._lock:
            return tuple(self._alignments.values())

    def reset(self) -> None:
        """Forget them."""
        with self._lock:
            self._forget()

    def adopt(self, *alignments: Alignment, since: int) -> None:
        """Take alignments of known anchors for true, in place of all others.

        Args:
            *alignments: oldest first.
            since: stamp (ns) from which on the camera is watched; what it did before does not matter any more.
        """
        with self._lock:
            self._watched_since = since
            self._alignments = {item.anchor_id: item for item in alignments}
            self._trusted, self._fitted, self._link = dict(self._alignments), None, None
            self._failed_at = None
            self._innovation.reset()

    def trust(self) -> None:
        """Hear that somebody said where the robot is: former failures matter no more."""
        with self._lock:
            self._failed_at = None

    def take_link(self) -> Link | None:
        """Return what ties the map to the odometry, where that has just become known."""
        with self._lock:
            link, self._link = self._link, None
            return link

    def take_demand(self) -> int | None:
        """Return the stamp (ns) from which on the memory must begin anew, where the pose prior just went wrong."""
        with self._lock:
            demand, self._demand = self._demand, None
            return demand

    def update(self, trajectory: Trajectory) -> Alignment:
        """Align anew and return the alignment.

        Where the pose prior went wrong the anchor stays where it was last known to be, with the reason and a covariance
        that covers the disagreement: the map is not bent. It stays until the prior agrees with that place again, or the
        memory begins anew, which `take_demand` asks for.
        """
        with self._lock:
            alignment = self._tested(trajectory, self._placed(trajectory))
            self._watch(trajectory, alignment)
            alignment = self._remembering(trajectory, alignment)
            self._alignments = _with(self._alignments, alignment)
            return alignment

    # --- where the anchor lies ----------------------------------------------------------------------------------------

    def _placed(self, trajectory: Trajectory) -> Alignment:
        count = int(np.isfinite(trajectory.odom_t_cameras[:, 0, 0]).sum())
        latest = next(reversed(self._trusted.values()), None)
        is_blind = latest is not None and not latest.has_odometry
        if not count:
            return self._by_prior(trajectory)
        if not is_blind:
            return self._by_odometry(trajectory)
        blind = self._by_prior(trajectory)
        if count < LINKING:
            return blind
        fitted = self._fit(trajectory)
        if fitted.reason:
            return replace(blind, reason=f"The map is not tied to the odometry yet: {fitted.reason}", since=None)
        self._link = Link(self._trusted[trajectory.anchor_id], fitted)
        self._trusted = _with({}, fitted)
        return fitted

    def _by_odometry(self, trajectory: Trajectory) -> Alignment:
        alignment = _held(self._trusted.get(trajectory.anchor_id), self._fit(trajectory), trajectory)
        if not alignment.reason:
            self._trusted = _with(self._trusted, alignment)
        return alignment

    def _fit(self, trajectory: Trajectory) -> Alignment:
        """Return the fit to the odometry; without a new keyframe it is the last one."""
        if self._fitted is None or not _has_same_keyframes(self._fitted[0], trajectory):
            self._fitted = trajectory, align(trajectory, self._noise)
        return self._fitted[1]

    def _by_prior(self, trajectory: Trajectory) -> Alignment:
        """Return where the anchor was placed; without odometry that never changes."""
        known = self._trusted.get(trajectory.anchor_id)
        if known is None:
            known = self._begun(trajectory)
            self._trusted = _with(self._trusted, known)
        jump = prior_jump(trajectory, self._watched_since)
        if jump is None:
            return known
        since = int(trajectory.stamps[jump.after])
        self._guess_after(jump, trajectory, known)
        return _doubtful(known, jump.text, since, jump.metres, jump.radians)

    def _begun(self, trajectory: Trajectory) -> Alignment:
        """Place an anchor by that of the one before, by the guess after a failure, or as the map's begin."""
        place = trajectory.position_sigma**2
        noise = np.diag([place, place, trajectory.heading_sigma**2])
        covariance = np.diag([0.0, 0.0, 0.0, SCALE_SIGMA**2])
        begin = Alignment(trajectory.anchor_id, np.zeros(3), 1.0, covariance, has_odometry=False)
        before = self._trusted.get(trajectory.anchor_id - 1) or self._alignments.get(trajectory.anchor_id - 1)
        guess = self._guess_for(trajectory)
        if guess is not None:
            return replace(guess, anchor_id=trajectory.anchor_id)
        if trajectory.previous_t_anchor is None:
            return begin
        if before is None:
            reason = "The place of the memory's former anchor is not known: the map began anew."
            covariance[:3, :3] = noise
            return replace(begin, reason=reason)
        covariance[:3, :3], covariance[3, 3] = noise, 0.0
        step = np.append(geometry.planar(trajectory.previous_t_anchor), 0.0)
        shared = _seen_from_both(trajectory)
        if shared is not None:
            step, covariance = shared.similarity, shared.covariance
        return replace(before.behind(step, covariance), anchor_id=trajectory.anchor_id, since=None)

    def _guess_for(self, trajectory: Trajectory) -> Alignment | None:
        """Return the guess where a new anchor lies behind a jump of the old one."""
        old = self._alignments.get(trajectory.anchor_id - 1)
        is_behind = old is not None and old.since is not None and trajectory.stamps[0] >= old.since
        if trajectory.previous_t_anchor is not None and not is_behind:
            return None
        guess, self._guess = self._guess, None
        return guess

    def _guess_after(self, jump: Jump, trajectory: Trajectory, known: Alignment) -> None:
        """Say where the next anchor is to lie: under the camera as it was before the jump, give or take its motion."""
        before, behind = (int(stamp) for stamp in trajectory.stamps[jump.after - 1 : jump.after + 1])
        camera, stamp = trajectory.anchor_t_cameras[jump.after - 1], before
        good = self._innovation.last_good(trajectory.anchor_id)
        if good is not None and before <= good[1] < behind:
            camera, stamp = good
        self._guess = _guessed(known, camera, *reach((behind - stamp) / 1e9))

    # --- is the newest frame where it should be? ----------------------------------------------------------------------

    def _tested(self, trajectory: Trajectory, alignment: Alignment) -> Alignment:
        if alignment.reason and alignment.since is not None:
            return alignment  # wrong already
        gap = self._innovation.test(trajectory, alignment)
        if gap is None:
            return alignment
        good = self._innovation.last_good(trajectory.anchor_id)
        if not alignment.has_odometry and good is not None:
            self._guess = _guessed(alignment, good[0], *reach((gap.since - good[1]) / 1e9))
        return _doubtful(alignment, gap.text, gap.since, gap.metres, gap.radians)

    def _remembering(self, trajectory: Trajectory, alignment: Alignment) -> Alignment:
        """Return the alignment, for a while after a failure with what that may mean: which of the two was wrong?"""
        seconds = 0.0 if self._failed_at is None else (_now(trajectory) - self._failed_at) / 1e9
        if alignment.reason or not alignment.has_odometry or self._failed_at is None or seconds > DOUBT / 1e9:
            return alignment
        reason = (
            f"{seconds:.0f} s ago the pose prior and the odometry parted, and the odometry was believed: if the robot "
            "was carried away, send an initialpose."
        )
        return replace(alignment, reason=reason)

    def _watch(self, trajectory: Trajectory, alignment: Alignment) -> None:
        """Ask for a new anchor where this one failed and the last failure is long enough ago."""
        now = _now(trajectory)
        if alignment.since is None:
            if now > self._resting_until + self._rest:
                self._rest = FIRST_REST
        elif now >= self._resting_until:
            self._demand, self._failed_at = alignment.since, now
            self.failures, self.last_failure = self.failures + 1, alignment.reason
            self._resting_until, self._rest = now + self._rest, min(2 * self._rest, LONGEST_REST)


def _seen_from_both(trajectory: Trajectory) -> Fit | None:
    """Return the fit of the cameras in the new anchor to those in the one before; None where they are too few."""
    if trajectory.previous_t_cameras is None:
        return None
    known = np.isfinite(trajectory.previous_t_cameras[:, 0, 0])
    if known.sum() < FEWEST_SHARED:
        return None
    now, before = (planar(cameras[known]) for cameras in (trajectory.anchor_t_cameras, trajectory.previous_t_cameras))
    place = math.sqrt(2.0) * trajectory.position_sigma
    return fit_similarity(now, before, np.array([place, place, math.sqrt(2.0) * trajectory.heading_sigma]))


def _now(trajectory: Trajectory) -> int:
    return max(trajectory.newest_stamp, int(trajectory.stamps[-1]))


def _has_same_keyframes(one: Trajectory, other: Trajectory) -> bool:
    return (
        one.anchor_id == other.anchor_id
        and np.array_equal(one.anchor_t_cameras, other.anchor_t_cameras)
        and np.array_equal(one.odom_t_cameras, other.odom_t_cameras, equal_nan=True)
    )


def _with(known: dict[int, Alignment], alignment: Alignment) -> dict[int, Alignment]:
    """Return the last few alignments, and that one as the newest."""
    others = [item for item in known.values() if item.anchor_id != alignment.anchor_id]
    return {item.anchor_id: item for item in (*others[1 - KNOWN_ALIGNMENTS :], alignment)}


def _doubtful(alignment: Alignment, reason: str, since: int, metres: float, radians: float) -> Alignment:
    """Return an alignment with a reason, and a covariance that covers a disagreement."""
    wider = np.diag([metres**2, metres**2, radians**2, 0.0])
    return replace(alignment, covariance=alignment.covariance + wider, reason=reason, since=since)


def _guessed(known: Alignment, anchor_t_camera: FloatArray, metres: float, radians: float) -> Alignment:
    """Return where an anchor lies that begins after a jump, under a camera that has moved by some metres and radians.

    Args:
        known: the anchor before.
        anchor_t_camera: (4, 4) the last place of the camera that is believed.
        metres: standard deviation of its motion since then.
        radians: the same of its turn.
    """
    covariance, anchor_t_next = known.covariance.copy(), geometry.planar(geometry.world_t_anchor(anchor_t_camera))
    pose, covariance[:3, :3] = known.apply(anchor_t_next, np.diag([metres**2, metres**2, radians**2]))
    covariance[:3, 3] = covariance[3, :3] = 0.0
    reason = (
        "The pose prior was lost, and there is no odometry: the map goes on, by guess, from where the camera was last. "
        "Send an initialpose."
    )
    return replace(known, target_t_anchor=pose, covariance=covariance, reason=reason, since=None)


def _held(trusted: Alignment | None, now: Alignment, trajectory: Trajectory) -> Alignment:
    """Return the new alignment of an anchor, or the trusted one with a reason where the new one contradicts it."""
    if trusted is None:
        return now
    shift = np.append(now.target_t_anchor - trusted.target_t_anchor, math.log(now.scale / trusted.scale))
    shift[2] = geometry.wrap_angle(shift[2])
    reason = now.reason
    if not reason and shift @ np.linalg.solve(trusted.covariance + now.covariance, shift) > GATE:
        reason = (
            f"The pose prior has changed its mind by {np.hypot(*shift[:2]):.2f} m and "
            f"{math.degrees(abs(shift[2])):.0f} degrees: places stay where they were."
        )
    if not reason:
        return now
    wider = np.maximum(np.diag(trusted.covariance), np.diag(now.covariance)) - np.diag(trusted.covariance)
    return replace(
        trusted,
        covariance=trusted.covariance + np.diag(wider),
        reason=reason,
        since=int(trajectory.stamps[len(trajectory.stamps) // 2]) if now.since is None else now.since,
        keyframe_count=now.keyframe_count,
        outlier_count=now.outlier_count,
    )
