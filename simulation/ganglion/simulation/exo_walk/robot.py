"""What the exoskeleton has: a forward camera, joint and foot sensors at 650 Hz, four assisted joints at 50 Hz."""

from __future__ import annotations

from ganglion.core.specs import ActionSpec, CameraSpec, ChannelGroup, RobotSpec, SensorSpec, StateSpec

GROUPS = (
    ChannelGroup("angle", 4, "rad"),
    ChannelGroup("velocity", 4, "rad/s"),
    ChannelGroup("interaction_torque", 4, "N m"),
    ChannelGroup("foot_force", 4, "N"),
)
JOINTS = ("hip_left", "knee_left", "hip_right", "knee_right")  # the order of angles, velocities, torques and actions
SOLES = ("heel_left", "ball_left", "heel_right", "ball_right")  # the order of foot forces
MAX_TORQUE_NM, MAX_RATE_NM_S = 25.0, 250.0


def exo_walk_robot() -> RobotSpec:
    """The hip and knee exoskeleton: flexion is positive in angles, velocities and torques."""
    return RobotSpec(
        name="exo_walk",
        cameras=(CameraSpec("forward", height=112, width=112, rate_hz=10.0),),
        sensors=(SensorSpec("exo", GROUPS, rate_hz=650.0),),
        state=StateSpec(names=("trunk_pitch", "assistance"), units=("rad", "percent"), rate_hz=50.0),
        actions=ActionSpec(
            names=JOINTS,
            units=("N m",) * 4,
            low=(-MAX_TORQUE_NM,) * 4,
            high=(MAX_TORQUE_NM,) * 4,
            max_rate=(MAX_RATE_NM_S,) * 4,
            rate_hz=50.0,
        ),
    )
