"""RLDS data sets as TensorFlow Datasets writes them, read without TensorFlow.

tfrecord.py  a file to records, both checksums of each verified
example.py   a record (tf.train.Example) to arrays and bytes
features.py  features.json: what the records hold
layout.py    which feature is the action, the state, the instruction, a camera
episodes.py  records to episodes
source.py    the files of a split, and the options
"""
