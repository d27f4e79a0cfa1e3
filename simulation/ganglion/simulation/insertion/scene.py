"""The robot, the block and its marks as MuJoCo's XML; lengths in meters.

A mount with three slides and three hinges carries the needle, which feeds along its axis, and the wrist camera. The
needle does not collide with the block in MuJoCo: what the layers do to it is Tissue's business.
"""

from __future__ import annotations

from ganglion.simulation.insertion.case import Case

SUBSTEPS = 2
SAMPLE_RATE_HZ = 650
MOUNT_M = 0.070  # height of the mount at joint zero, above the block's nominal surface
NEEDLE_M = 0.050  # from mount to tip at feed 0: the tip is 20 mm above the nominal surface then
LARGEST_PX = 448  # that a camera's edge can have

_XML = """
<mujoco model="insertion">
 <compiler angle="radian"/>
 <option timestep="{timestep!r}" integrator="implicitfast" gravity="0 0 0"/>
 <visual><global offwidth="{largest}" offheight="{largest}"/><map znear="0.005" zfar="10"/><quality shadowsize="0"/>
  <headlight ambient=".3 .3 .3" diffuse=".1 .1 .1" specular="0 0 0"/></visual>
 <default><geom contype="0" conaffinity="0"/></default>
 <worldbody>
  <light pos="{light}" dir="{light_dir}" diffuse="{bright} {bright} {bright}" specular=".1 .1 .1"/>
  <geom type="plane" pos="0 0 -.03" size=".4 .4 .01" rgba="{table} 1"/>
  <body name="block" pos="0 0 {block_z}">
   <geom type="box" size=".032 .032 {block_half}" rgba="{block} 1"/>
   {marks}
  </body>
  <camera name="scene" pos="{scene_pos}" xyaxes=".707 .707 0 -.40 .40 .824" fovy="34"/>
  <body name="mount" pos="0 0 {mount}">
   <joint name="x" type="slide" axis="1 0 0" range="-.03 .03" damping="40" armature=".2"/>
   <joint name="y" type="slide" axis="0 1 0" range="-.03 .03" damping="40" armature=".2"/>
   <joint name="z" type="slide" axis="0 0 1" range="-.03 .01" damping="40" armature=".2"/>
   <joint name="rx" type="hinge" axis="1 0 0" range="-.3 .3" damping=".2" armature=".005"/>
   <joint name="ry" type="hinge" axis="0 1 0" range="-.3 .3" damping=".2" armature=".005"/>
   <joint name="rz" type="hinge" axis="0 0 1" range="-1 1" damping=".2" armature=".005"/>
   <geom type="cylinder" size=".006 .012" pos="0 0 .014" rgba=".2 .2 .25 1" mass=".3"/>
   <camera name="wrist" pos="{wrist_pos}" euler="{wrist_euler}" fovy="54"/>
   <body name="needle">
    <joint name="feed" type="slide" axis="0 0 -1" range="0 .03" damping="10" armature=".05"/>
    <geom type="cylinder" fromto="0 0 0 0 0 -{needle}" size=".0006" rgba=".85 .85 .9 1" mass=".01"/>
    <site name="tip" pos="0 0 -{needle}" size=".0005"/>
   </body>
  </body>
 </worldbody>
 <actuator>
  <position joint="x" kp="4000"/><position joint="y" kp="4000"/><position joint="z" kp="4000"/>
  <position joint="rx" kp="20"/><position joint="ry" kp="20"/><position joint="rz" kp="20"/>
  <position joint="feed" kp="3000"/>
 </actuator>
</mujoco>
"""
_MARK = """
   <geom type="box" size=".00375 .00375 .0002" pos="{x} {y} {half}" rgba="{rgb} 1"/>
   <geom type="cylinder" size=".0021 .0003" pos="{x} {y} {half}" rgba=".94 .94 .94 1"/>"""


def scene_xml(case: Case) -> str:
    """The scene of a case."""
    look = case.look
    half = (0.03 + case.surface_mm / 1e3) / 2
    marks = "".join(
        _MARK.format(x=mark.x_mm / 1e3, y=mark.y_mm / 1e3, half=half, rgb=_numbers(mark.rgb)) for mark in case.marks
    )
    off, turned = look.camera_off_m, look.camera_off_rad
    return _XML.format(
        timestep=1 / (SUBSTEPS * SAMPLE_RATE_HZ),
        largest=LARGEST_PX,
        light=_numbers(look.light),
        light_dir=_numbers(tuple(-value for value in look.light)),
        bright=look.brightness,
        table=_numbers(look.table),
        block=_numbers(look.block),
        block_z=half - 0.03,
        block_half=half,
        marks=marks,
        scene_pos=_numbers((0.11 + off[0], -0.11 + off[1], 0.11 + off[2])),
        mount=MOUNT_M,
        needle=NEEDLE_M,
        wrist_pos=_numbers((off[1], -0.03 + off[2], 0.02 + off[0])),
        wrist_euler=_numbers((0.40 + turned[0], turned[1], turned[2])),
    )


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(repr(float(value)) for value in values)
