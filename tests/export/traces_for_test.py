"""Tracing is nine tenths of a small export's time, and tests export the same shapes over and over.

What a trace depends on is its key here: classes, plain attributes and configurations of all modules, shapes of
parameters, contents of buffers, example inputs and names. Weights are no part of a trace.
"""

import contextlib
import hashlib

_KEPT = {}  # in each of pytest's processes, for all folders of tests
_PLAIN = (bool, int, float, str, tuple, list, type(None))


@contextlib.contextmanager
def kept_traces():
    """Within, a module like one that was traced before gets a copy of its graph."""
    from ganglion.export import onnx_file

    trace = onnx_file._trace

    def remembered(module, args, *names):
        key = _key(module, args, names)
        if key not in _KEPT:
            _KEPT[key] = trace(module, args, *names)
        return _KEPT[key].clone()

    onnx_file._trace = remembered
    try:
        yield
    finally:
        onnx_file._trace = trace


_ELSE = ("training", "_hf_peft_config_loaded")  # nothing is computed by these


def _key(module, args, names):
    told = hashlib.sha256(repr((_shapes(args), names)).encode())
    for name, inner in module.named_modules(remove_duplicate=False):
        plain = {k: v for k, v in vars(inner).items() if isinstance(v, _PLAIN) and k not in _ELSE}
        config = getattr(inner, "config", None)
        shapes = {k: tuple(v.shape) for k, v in inner._parameters.items() if v is not None}
        told.update(repr((name, type(inner).__qualname__, plain, shapes, _settings(config))).encode())
        for buffer in inner._buffers.values():
            told.update(b"" if buffer is None else buffer.detach().cpu().numpy().tobytes())
    alike = {}  # parameters that are one
    for name, parameter in module.named_parameters(remove_duplicate=False):
        alike.setdefault(id(parameter), []).append(name)
    told.update(repr(sorted(alike.values())).encode())
    return told.hexdigest()


def _settings(config):
    """Of a model's configuration, all but where it was read."""
    return {**config.to_dict(), "_name_or_path": ""} if hasattr(config, "to_dict") else config


def _shapes(args):
    return [_shapes(arg) if isinstance(arg, list | tuple) else (tuple(arg.shape), arg.dtype) for arg in args]
