"""Training of the sensor-fusion policy by imitation.

config.py        PolicyTrainConfig: what `ganglion train policy` can be told
batch.py         Batch, and how far off a network is on it
source.py        Source: what any data has to offer

synthetic.py     NeedleSource: the synthetic needle, rendered and sampled as it goes
backbone.py      frozen VLM: its camera frames -> VL features, once
oct_volumes.py   OctSource: recorded OCT volumes with the needle's pose
recorded.py      RecordedSource: sets of recorded episodes
robots.py        one robot for several sets
moments.py       Moments: which there are, by the side of the split
order.py         Order: which comes when
cutting.py       Moment: one cut out of its episode
collate.py       moments -> Batch
statistics.py    norm.json from training data
sources.py       which source and backbone a run asks for

learner.py       Learner: what learns
schedule.py      Schedule: learning rates
optimization.py  parameter groups, one step
checkpoint.py    Progress; going on exactly where a run stopped
loop.py          train: all the steps
scoring.py       error per dimension beside that of the mean and of the last action
keep_moments.py  real moments for the policy's folder
curves.py        loss and rates as a picture
card.py          model card
run_folder.py    what a finished run leaves
run.py           run, train_policy
"""
