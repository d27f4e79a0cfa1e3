"""A bundle in Triton: the server found or installed, its model repository, and what it is started with.

policy_model.py   the python-backend model `policy`: a PolicyHost around the very session of the in-process host
onnx_backend.py   what stands for Triton's onnxruntime backend where a server comes without it
repository.py     the repository that is served
install.py        where a tritonserver is, and an environment for one from a wheel
launch.py         the command, and when it is ready
"""
