# A policy, or a VLM's ONNX graphs, in Triton: --target gpu or cpu. See docs/how-to/docker.md.
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

# 26.09 is Triton 2.73. The image's own entry point stays: it ends in exec, so Ganglion gets the signals.
FROM nvcr.io/nvidia/tritonserver:26.09-py3 AS server
ENV DO_NOT_TRACK=1 \
    GANGLION_CACHE=/cache/ganglion \
    HF_HUB_DISABLE_TELEMETRY=1 \
    HF_HUB_OFFLINE=1 \
    OMP_NUM_THREADS=1 \
    PATH=/opt/ganglion/bin:$PATH \
    PYTHONUNBUFFERED=1
# Around the image's own python3, since Triton's python models, which run in that, import from here too. For them numpy
# stays below 2, see ganglion.serving.triton.install.
# hadolint ignore=DL3013 # the pins are in pyproject.toml
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    python3 -m venv --without-pip /opt/ganglion \
    && python3 -m pip --python /opt/ganglion/bin/python install --no-cache-dir \
         "$(echo /wheels/*.whl)[serve]" numpy==1.26.4 \
    && install -d -o 1000 -g 1000 /cache
# The image's own user.
USER 1000:1000
STOPSIGNAL SIGINT
WORKDIR /cache
EXPOSE 8001
# Triton's HTTP listens on the container's own loopback alone.
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 CMD ["python3", "-c", \
    "import http.client as h, sys; c = h.HTTPConnection('127.0.0.1', 8000, timeout=4); c.request('GET', '/v2/health/ready'); sys.exit(c.getresponse().status != 200)"]
# 0.0.0.0 is the container's; beyond this machine it wants the three files in /etc/ganglion.
CMD ["ganglion", "serve", "policy", "/bundle", "--bind.host", "0.0.0.0", "--grpc_port", "8001", \
     "--bind.certificate", "/etc/ganglion/tls.crt", "--bind.key", "/etc/ganglion/tls.key", \
     "--bind.token_file", "/etc/ganglion/token"]

FROM server AS gpu

# The same server, which runs without a GPU too; NVIDIA publishes no smaller image with the ONNX Runtime backend in it.
FROM server AS cpu
ENV CUDA_VISIBLE_DEVICES=""
