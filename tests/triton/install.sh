#!/usr/bin/env bash
# Makes the environment of the real Triton server: tests/triton/install.sh FOLDER
# The wheel brings tritonserver 2.51 with its python backend, whose process needs numpy below 2: with numpy 2 outputs
# come back empty, without an error. Nothing here is needed beside what is named, so nothing else is installed.
set -euo pipefail
"${PYTHON:-python3.11}" -m venv "$1"
"$1/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
  nvidia-pytriton==0.7.0 numpy==1.26.4 onnxruntime==1.31.1 flatbuffers==25.12.19 packaging==26.3 protobuf==6.33.6
