"""Run by lerobot's own Python: FOLDER OUT.npz. Every row of a data set as LeRobotDataset gives it, frames by PyAV."""

import sys

import numpy as np
from lerobot.datasets.compute_stats import aggregate_stats, get_feature_stats
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.datasets.utils import dataset_to_policy_features

folder, out = sys.argv[1:]
dataset = LeRobotDataset("ganglion/test", root=folder, video_backend="pyav")
items = [dataset[index] for index in range(len(dataset))]
columns = {key: np.stack([np.asarray(item[key]) for item in items]) for key in items[0]}
aggregate_stats([dataset.meta.stats, dataset.meta.stats])  # checks the shape of each
first = np.asarray(columns["action"])[columns["episode_index"] == 0]
columns |= {f"statistics/{name}": value for name, value in get_feature_stats(first, axis=0, keepdims=False).items()}
columns["policy_inputs"] = np.array(sorted(dataset_to_policy_features(dataset.features)))

one_episode = LeRobotDataset("ganglion/test", root=folder, episodes=[1], video_backend="pyav")
columns["episode_1"] = np.array([one_episode[index]["index"].item() for index in range(len(one_episode))])
ahead = LeRobotDataset(
    "ganglion/test",
    root=folder,
    delta_timestamps={"action": [step / dataset.fps for step in range(4)]},
    video_backend="pyav",
)
columns["chunk"] = np.asarray(ahead[0]["action"])
np.savez(out, **columns)
print(f"lerobot read {len(dataset)} rows of {dataset.num_episodes} episodes, {', '.join(dataset.meta.camera_keys)}")
