"""A bundle in Triton: the server found or installed, its model repository, and what it is started with.

policy_model.py   the python-backend model `policy`: a PolicyHost around the very session of the in-process host
vlm_model.py      the python-backend model `vlm`, decoupled: vlm_host.py clients around a VlmEngine, vlm_wire.py tensors
onnx_backend.py   what stands for Triton's onnxruntime backend where a server comes without it
repository.py     the repository that a policy is served from; vlm_repository.py that of a VLM
install.py        where a tritonserver is, and an environment for one from a wheel
launch.py         the command, and when it is ready; run.py all of it until a signal
"""
