#!/usr/bin/env bash
# Makes the environment of optimum's exporter: tests/optimum/environment.sh FOLDER
# optimum-onnx 0.1.0 takes transformers below 4.58, Ganglion's own environment has transformers 5: one of them must
# stand apart. torch comes first, so that on a CPU machine nothing later replaces its CPU build; onnx and onnxruntime
# are those of the main environment, which runs what is written here.
set -euo pipefail
"${PYTHON:-python3.11}" -m venv "$1"
pip=("$1/bin/python" -m pip install --quiet --disable-pip-version-check)
"${pip[@]}" torch==2.13.0
"${pip[@]}" "optimum-onnx[onnxruntime]==0.1.0" optimum==2.1.0 transformers==4.57.6 onnx==1.23.2 onnxruntime==1.31.1 \
  numpy==2.4.6 protobuf==7.36.2 huggingface-hub==0.36.2 tokenizers==0.22.2 safetensors==0.8.0
