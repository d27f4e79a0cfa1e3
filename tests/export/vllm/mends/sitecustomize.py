"""Lets torchvision be imported beside a CPU build of torch; Python runs this file at its start if it is on PYTHONPATH.

The Linux wheel of torchvision is a CUDA build. Its compiled part can't be loaded here, and without it the import fails:
torchvision adds a shape rule to two operators (nms, qnms) that only that part defines. vLLM's Qwen-VL processors need
no more than that the import works. Defined before it, the two exist, and nothing ever calls them. vLLM looks at model
classes in a process of its own, so that a mend inside the test's script would not reach all of it.
"""

import importlib.abc
import sys

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


_KEPT = []  # definitions go when their library does


class _BeforeTorchvision(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            import torch

            if torch.version.cuda is None:
                _KEPT.append(torch.library.Library("torchvision", "DEF"))
                for schema in _SCHEMAS:
                    _KEPT[0].define(schema)


sys.meta_path.insert(0, _BeforeTorchvision())
