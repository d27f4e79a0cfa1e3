# Ganglion's own images: --target train, bridge or demo. How to build and run them: docs/how-to/docker.md.
# Pinned by exact tag. No digest: none was read from a pulled image, and one that was not must not be written down.
FROM python:3.11.15-slim-bookworm AS python
# hadolint ignore=DL3064 # TOKENIZERS_PARALLELISM is no token
ENV DO_NOT_TRACK=1 \
    GRADIO_ANALYTICS_ENABLED=False \
    HF_HUB_DISABLE_TELEMETRY=1 \
    OMP_NUM_THREADS=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PYTHONUNBUFFERED=1 \
    TOKENIZERS_PARALLELISM=false

FROM python AS wheel
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
RUN pip wheel --no-deps --wheel-dir /wheels .

# SIGINT, because Ganglion says then how to go on, and because a process 1 without a handler ignores SIGTERM.
FROM python AS base
ENV GANGLION_CACHE=/cache/ganglion \
    HF_HOME=/cache/huggingface
RUN useradd --uid 1000 --create-home ganglion && install -d -o ganglion -g ganglion /runs /cache
STOPSIGNAL SIGINT
WORKDIR /runs
ENTRYPOINT ["ganglion"]

# torch first and exactly pinned, as in the Makefile; from the index it is the CUDA build and brings its libraries.
FROM base AS train
RUN pip install torch==2.13.0
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    pip install "$(echo /wheels/*.whl)[train,export]"
USER 1000:1000
# A job that ends: its exit code says how it went.
HEALTHCHECK NONE
CMD ["train", "sft", "--help"]

# The robot's side: no torch, no transformers, no ONNX Runtime.
FROM base AS bridge
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    pip install "$(echo /wheels/*.whl)"
USER 1000:1000
# A check that ends: its exit code says how it went.
HEALTHCHECK NONE
CMD ["doctor"]

FROM base AS demo
RUN pip install torch==2.13.0
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    pip install "$(echo /wheels/*.whl)[all]"
USER 1000:1000
# A job that ends: its exit code says how it went.
HEALTHCHECK NONE
CMD ["quickstart", "--out", "/runs/quickstart"]
