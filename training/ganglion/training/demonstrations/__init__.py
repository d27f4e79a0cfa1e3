"""Demonstrations: multi-rate episodes on disk, and what a policy learns from them, cut by time as it is read.

episode.py          Episode: streams of a recording, each at its own rate with its own timestamps
storage.py          one episode as a folder of plain arrays, written whole or not at all, read through memory maps
episode_set.py      EpisodeSet: a folder of episodes of one robot, and the split of its sessions
cutting.py          the sensor window, state, action chunk and camera view of one moment
recordings.py       demonstrations of any kind on their way into a set
rlds/               RLDS TFRecords as such
oct_needle_pose.py  OCT volumes as such
lerobot/            LeRobotDataset v3.0 as such, and sets of demonstrations as one
images.py           frames decoded to be looked at
measures.py         what a set holds, measured episode by episode
summary.py          these figures put together
faults.py           what is wrong with a set, or shared by two
integrity.py        whether a set is what was written
"""
