"""LeRobotDataset v3.0: episodes written so that LeRobot opens them and we get back every reading, and read from anyone.

rows.py         which readings each row of the one table shows, though every stream has its own rate
layout.py       the features, paths and limits of the format
columns.py      the values of a feature as a column of Parquet, and back
video.py        frames as lossless video files, and back
statistics.py   what the format keeps of each feature's values
parts.py        an episode as the columns, videos and statistics that the format keeps of it
description.py  what meta/ says of all episodes
files.py        the numbered files of the format
exporting.py    a set of episodes -> a data set
dataset.py      the tables of a data set
native.py       data set written by exporting.py -> the very episodes
plain.py        anyone's data set -> episodes, and the robot they are of
importing.py    which of the two it is
"""
