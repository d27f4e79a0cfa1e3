"""Robots nobody has to own: sample and frame sources made of numpy and Pillow, each a pure function of time and seed.

    near_peak.py     NearPeakStream: the synthetic needle stream (samples, frames, the expert's chunks)
    needle_world.py  where the needle is: distance to the interface, lateral offset of the mark
    a_scan.py        what the sensor at the tip reads there
    scene.py         what the camera sees there
    expert.py        what an expert would command there
    oct_replay.py    OctReplay: recorded OCT volumes as a sample stream

Worlds in which actions have effects, on a virtual clock:

    world.py         World: what all of them are
    scenario.py      Scenario, get_scenario: them by name, with an expert and a judge
    insertion/       needle insertion into layered silicone
    rendering.py     Eyes: cameras of MuJoCo's

Import from the modules; this one stays light.
"""
