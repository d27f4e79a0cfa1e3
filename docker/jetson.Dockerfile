# Serving on a Jetson: --target orin (JetPack 6) or thor (JetPack 7), linux/arm64. See docs/how-to/docker.md.
# Pinned by exact tag. No digest: none was read from a pulled image, and one that was not must not be written down.
FROM python:3.11.15-slim-bookworm AS wheel
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY core core
COPY model model
COPY simulation simulation
COPY training training
COPY export export
COPY serving serving
COPY robot_bridge robot_bridge
COPY demo demo
COPY recipes recipes
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

# JetPack 6: Ubuntu 22.04, CUDA 12.6. Its Python is 3.10, Ganglion's at least 3.11, which universe has as well.
FROM nvcr.io/nvidia/l4t-jetpack:r36.4.0 AS orin
ENV DO_NOT_TRACK=1 \
    HF_HUB_DISABLE_TELEMETRY=1 \
    HF_HUB_OFFLINE=1 \
    OMP_NUM_THREADS=1 \
    PATH=/opt/ganglion/bin:$PATH \
    PYTHONUNBUFFERED=1
# hadolint ignore=DL3008 # Ubuntu keeps only the newest build of a package, a pinned one would be gone with the next fix
RUN apt-get update && apt-get install -y --no-install-recommends python3.11 python3.11-venv \
    && rm -rf /var/lib/apt/lists/* \
    && python3.11 -m venv /opt/ganglion \
    && useradd --uid 1000 --create-home --groups video ganglion
# ONNX Runtime for CUDA 12.6 and Python 3.11 is published by nobody: give the path or URL of a wheel that you built, else
# it computes on the CPU.
ARG ONNXRUNTIME_GPU=""
# hadolint ignore=DL3013 # the pins are in pyproject.toml, and the argument names one file
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    pip install --no-cache-dir "$(echo /wheels/*.whl)[serve]" \
    && if [ -n "$ONNXRUNTIME_GPU" ]; then \
         pip uninstall -y onnxruntime && pip install --no-cache-dir --no-deps "$ONNXRUNTIME_GPU"; \
       fi
USER 1000:1000
STOPSIGNAL SIGINT
WORKDIR /home/ganglion
# A check that ends: its exit code says how it went.
HEALTHCHECK NONE
ENTRYPOINT ["ganglion"]
CMD ["doctor"]

# JetPack 7: Ubuntu 24.04, CUDA 13.0, and containers of any arm64 server (SBSA); onnxruntime-gpu from the index.
FROM nvcr.io/nvidia/cuda:13.0.0-cudnn-runtime-ubuntu24.04 AS thor
ENV DO_NOT_TRACK=1 \
    HF_HUB_DISABLE_TELEMETRY=1 \
    HF_HUB_OFFLINE=1 \
    OMP_NUM_THREADS=1 \
    PATH=/opt/ganglion/bin:$PATH \
    PYTHONUNBUFFERED=1
# Ubuntu 24.04 comes with a user of its own at 1000.
# hadolint ignore=DL3008 # Ubuntu keeps only the newest build of a package, a pinned one would be gone with the next fix
RUN apt-get update && apt-get install -y --no-install-recommends python3.12 python3.12-venv \
    && rm -rf /var/lib/apt/lists/* \
    && python3.12 -m venv /opt/ganglion \
    && userdel --remove ubuntu \
    && useradd --uid 1000 --create-home --groups video ganglion
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    pip install --no-cache-dir "$(echo /wheels/*.whl)[serve-gpu]"
USER 1000:1000
STOPSIGNAL SIGINT
WORKDIR /home/ganglion
# A check that ends: its exit code says how it went.
HEALTHCHECK NONE
ENTRYPOINT ["ganglion"]
CMD ["doctor"]
