"""Training of the sensor-fusion policy by imitation.

config.py        PolicyTrainConfig: what `ganglion train policy` can be told
source.py        Batch, Source: what any data has to offer
synthetic.py     NeedleSource: the synthetic needle, rendered and sampled as it goes
oct_volumes.py   OctSource: recorded OCT volumes with the needle's pose
backbone.py      frozen VLM: camera frames -> VL features, once
statistics.py    norm.json from training data
optimization.py  optimizer, schedule, one step, checkpoints
scoring.py       error per dimension beside that of predicting the mean
run_folder.py    whose folder it is, what a finished run leaves
run.py           run, train_policy
"""
