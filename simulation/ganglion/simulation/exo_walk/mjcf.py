"""The world as MJCF: a planar walker with an exoskeleton on its legs, the ground it walks on, and what stands about.

Our own model. The root slides in x and z and tips about y; hips, knees and ankles are hinges about y. Only the soles
touch the ground: two spheres a foot, at heel and ball. Everything else is for the eye.
"""

from __future__ import annotations

import mujoco
import numpy as np

from ganglion.simulation.exo_walk.body import SOLE_RADIUS_M, Body, Segment
from ganglion.simulation.exo_walk.ground import STAIRS, Ground
from ganglion.simulation.exo_walk.walk import Color, Look, Walk
from ganglion.simulation.rendering import load_model

PHYSICS_HZ = 1300.0
_WIDTH_M, _BEHIND_M, _AHEAD_M, _DEEP_M = 2.4, 6.0, 40.0, 0.3
_TEXTURE_PX = 128


def compile_walk(walk: Walk, body: Body, ground: Ground) -> mujoco.MjModel:
    """The MuJoCo model of a walk."""
    look = walk.look
    xml = f"""<mujoco model="exo_walk">
  <compiler angle="radian"/>
  <option timestep="{1 / PHYSICS_HZ!r}" gravity="0 0 -9.81" cone="elliptic" impratio="10" integrator="Euler">
    <flag energy="enable"/>
  </option>
  <visual><global offwidth="640" offheight="480"/><map znear="0.01" fogstart="12" fogend="40"/>
    <rgba fog="{_rgb(look.haze)} 1" haze="{_rgb(look.haze)} 1"/>
    <headlight ambient="0.4 0.4 0.4" diffuse="0.2 0.2 0.2" specular="0 0 0"/><quality shadowsize="0"/></visual>
  <asset>
    <texture name="sky" type="skybox" builtin="gradient" rgb1="{_rgb(look.sky)}" rgb2="{_rgb(look.haze)}"
      width="64" height="64"/>
    <texture name="grain" type="2d" builtin="flat" width="{_TEXTURE_PX}" height="{_TEXTURE_PX}" rgb1="1 1 1"/>
    <material name="ground" texture="grain" texuniform="true" texrepeat="{1 / look.tile_m} {1 / look.tile_m}"/>
    <material name="riser" rgba="{_rgb(look.riser)} 1"/>
  </asset>
  <default><geom contype="0" conaffinity="0"/>
    <default class="ground"><geom type="box" conaffinity="1" material="ground" friction="{walk.friction} 0 0"
      solref="0.008 1" solimp="0.95 0.99 0.001"/></default>
    <default class="sole"><geom type="sphere" size="{SOLE_RADIUS_M}" contype="1" mass="0" rgba="0.1 0.1 0.1 1"
      friction="{walk.friction} 0 0" solref="0.008 1" solimp="0.95 0.99 0.001"/></default>
    <default class="exo"><geom type="capsule" mass="0" rgba="0.95 0.45 0.1 1"/></default></default>
  <worldbody>
    <light directional="true" castshadow="false" dir="{_sun(look)}" diffuse="{look.light} {look.light} {look.light}"/>
    {"".join(_ground(ground))}
    {"".join(_posts(walk, ground))}
    {_walker(walk, body)}
  </worldbody>
  <actuator>{_motors()}</actuator>
</mujoco>"""
    model: mujoco.MjModel = load_model(xml)
    _paint(model, look)
    return model


def _walker(walk: Walk, body: Body) -> str:
    trunk, look = body.trunk.center_m[1] / 0.626, walk.look
    down = np.deg2rad(look.camera_pitch_deg)
    camera = (
        f'<camera name="forward" pos="0.16 0 {look.camera_height * trunk}" fovy="{look.field_of_view_deg}"'
        f' xyaxes="0 -1 0 {np.sin(down)} 0 {np.cos(down)}"/>'
    )
    legs = "".join(_leg(side, y, body) for side, y in (("left", 0.09), ("right", -0.09)))
    return f"""<body name="trunk">
      <joint name="x" type="slide" axis="1 0 0"/><joint name="z" type="slide" axis="0 0 1"/>
      <joint name="trunk" type="hinge" axis="0 1 0"/>
      {_inertial(body.trunk)}{camera}
      <camera name="side" pos="0 -3.4 0.1" xyaxes="1 0 0 0 0.1 1" mode="track"/>
      <geom type="capsule" fromto="0 0 0.05 0 0 {trunk}" size="0.1" rgba="0.25 0.35 0.6 1" mass="0"/>
      <geom type="sphere" pos="0 0 {trunk + 0.22}" size="0.11" rgba="0.8 0.65 0.55 1" mass="0"/>
      {legs}</body>"""


def _leg(side: str, y: float, body: Body) -> str:
    thigh, shank, out = body.thigh_m, body.shank_m, 0.07 * np.sign(y)
    sole_z = SOLE_RADIUS_M - body.foot_height_m
    return f"""<body name="thigh_{side}" pos="0 {y} 0">
      <joint name="hip_{side}" axis="0 -1 0"/>{_inertial(body.thigh)}
      <geom type="capsule" fromto="0 0 0 0 0 {-thigh}" size="0.06" rgba="0.3 0.3 0.35 1" mass="0"/>
      <geom class="exo" fromto="0 {out} 0 0 {out} {-thigh}" size="0.02"/>
      <body name="shank_{side}" pos="0 0 {-thigh}">
        <joint name="knee_{side}" axis="0 1 0"/>{_inertial(body.shank)}
        <geom type="capsule" fromto="0 0 0 0 0 {-shank}" size="0.045" rgba="0.3 0.3 0.35 1" mass="0"/>
        <geom class="exo" fromto="0 {out} 0 0 {out} {-0.8 * shank}" size="0.018"/>
        <body name="foot_{side}" pos="0 0 {-shank}">
          <joint name="ankle_{side}" axis="0 -1 0"/>{_inertial(body.foot)}
          <geom type="capsule" fromto="{body.heel_m} 0 {sole_z} {body.ball_m} 0 {sole_z}" size="0.03" mass="0"
            rgba="0.15 0.15 0.15 1"/>
          <geom class="sole" name="heel_{side}" pos="{body.heel_m} 0 {sole_z}"/>
          <geom class="sole" name="ball_{side}" pos="{body.ball_m} 0 {sole_z}"/>
    </body></body></body>"""


def _inertial(part: Segment) -> str:
    x, z = part.center_m
    i = part.inertia_kgm2
    return f'<inertial mass="{part.mass_kg}" pos="{x} 0 {z}" diaginertia="{i} {i} {i}"/>'


def _motors() -> str:
    """The wearer's six joints, then the exoskeleton's four: each acts on the joint itself, in N m."""
    wearer = [f"{joint}_{side}" for side in ("left", "right") for joint in ("hip", "knee", "ankle")]
    device = [f"{joint}_{side}" for side in ("left", "right") for joint in ("hip", "knee")]
    named = [("wearer", joint) for joint in wearer] + [("exo", joint) for joint in device]
    return "".join(f'<motor name="{who}_{joint}" joint="{joint}"/>' for who, joint in named)


def _ground(ground: Ground) -> list[str]:
    start = ground.start_m
    bottom = min(0.0, ground.rise_m * STAIRS) - _DEEP_M
    pieces = [_slab(-_BEHIND_M, start, 0.0, bottom)]
    if ground.kind == "stairs":
        for tread in range(STAIRS):
            left, top = start + tread * ground.run_m, (tread + 1) * ground.rise_m
            right = left + ground.run_m if tread < STAIRS - 1 else left + _AHEAD_M
            pieces.append(_slab(left, right, top, bottom))
            pieces.append(_riser(left, max(top, top - ground.rise_m), abs(ground.rise_m)))
    elif ground.kind == "slope":
        cos, sin = np.cos(ground.slope_rad), np.sin(ground.slope_rad)
        x = start + _AHEAD_M / 2 * cos + _DEEP_M / 2 * sin
        z = _AHEAD_M / 2 * sin - _DEEP_M / 2 * cos
        pieces.append(
            f'<geom class="ground" pos="{x} 0 {z}" euler="0 {-ground.slope_rad} 0"'
            f' size="{_AHEAD_M / 2} {_WIDTH_M / 2} {_DEEP_M / 2}"/>'
        )
    else:
        pieces.append(_slab(start, start + _AHEAD_M, 0.0, bottom))
    far = 60.0
    pieces.append(f'<geom type="plane" pos="0 0 {bottom + 0.2}" size="{far} {far} 1" material="riser"/>')
    return pieces


def _slab(left: float, right: float, top: float, bottom: float) -> str:
    return (
        f'<geom class="ground" pos="{(left + right) / 2} 0 {(top + bottom) / 2}"'
        f' size="{(right - left) / 2} {_WIDTH_M / 2} {(top - bottom) / 2}"/>'
    )


def _riser(x: float, top: float, rise: float) -> str:
    """The upright face under a tread's edge, a hair in front of the slab; what it hides behind doesn't matter."""
    return (
        f'<geom type="box" material="riser" pos="{x} 0 {top - rise / 2 - 0.001}"'
        f' size="0.002 {_WIDTH_M / 2} {rise / 2 - 0.002}"/>'
    )


def _posts(walk: Walk, ground: Ground) -> list[str]:
    """Posts along both sides, and on stairs a strip along each edge, on some in a color."""
    look = walk.look
    rng = np.random.default_rng([walk.seed, 1])
    posts = []
    for x in np.arange(-1.0, 14.0, 1.3) + rng.uniform(-0.3, 0.3, 12):
        y = (_WIDTH_M / 2 - 0.1) * rng.choice([-1, 1])
        tall = rng.uniform(0.2, 0.9)
        posts.append(
            f'<geom type="cylinder" pos="{x} {y} {float(ground.height(x)) + tall / 2}" size="0.04 {tall / 2}"'
            f' rgba="{_rgb(look.posts)} 1"/>'
        )
    if ground.kind == "stairs":
        inset = 0.03 if ground.rise_m > 0 else -0.03
        for tread in range(STAIRS):
            color = look.posts if look.nosing else look.grain
            x, top = ground.start_m + tread * ground.run_m, max(tread * ground.rise_m, (tread + 1) * ground.rise_m)
            posts.append(
                f'<geom type="box" pos="{x + inset} 0 {top + 0.001}" size="0.02 {_WIDTH_M / 2} 0.001"'
                f' rgba="{_rgb(color)} 1"/>'
            )
    return posts


def _paint(model: mujoco.MjModel, look: Look) -> None:
    """Draw the ground's grain into the texture: from the walk's seed, not from the compiler's generator."""
    rng = np.random.default_rng(look.texture_seed)
    fine = rng.normal(0.0, 0.05, (_TEXTURE_PX, _TEXTURE_PX, 1))
    coarse = np.kron(rng.normal(0.0, 0.05, (16, 16)), np.ones((_TEXTURE_PX // 16, _TEXTURE_PX // 16)))[..., None]
    pixels = np.array(look.ground) + fine + coarse
    pixels[:3, :], pixels[:, :3] = np.array(look.grain), np.array(look.grain)
    texture = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_TEXTURE, "grain")
    start = int(model.tex_adr[texture])
    flat = np.clip(255 * pixels, 0, 255).astype(np.uint8).ravel()
    model.tex_data[start : start + len(flat)] = flat


def _sun(look: Look) -> str:
    azimuth, elevation = np.deg2rad(look.sun_azimuth_deg), np.deg2rad(look.sun_elevation_deg)
    x, y, z = -np.cos(elevation) * np.cos(azimuth), -np.cos(elevation) * np.sin(azimuth), -np.sin(elevation)
    return f"{x} {y} {z}"


def _rgb(color: Color) -> str:
    return " ".join(f"{part:.4f}" for part in color)
