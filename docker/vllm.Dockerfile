# A VLM's checkpoint or adapters in vLLM: --target one, or ray for several machines. See docs/how-to/docker.md.
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

FROM vllm/vllm-openai:v0.30.0 AS one
ENV DO_NOT_TRACK=1 \
    GANGLION_CACHE=/cache/ganglion \
    HF_HUB_DISABLE_TELEMETRY=1 \
    HF_HUB_OFFLINE=1 \
    OMP_NUM_THREADS=1 \
    PATH=$PATH:/opt/ganglion/bin \
    PYTHONUNBUFFERED=1 \
    VLLM_NO_USAGE_STATS=1
# Ganglion has an environment of its own and starts the image's vLLM, whose packages stay as they are.
# hadolint ignore=DL3013 # the pins are in pyproject.toml
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    python3 -m venv --without-pip /opt/ganglion \
    && python3 -m pip --python /opt/ganglion/bin/python install --no-cache-dir "$(echo /wheels/*.whl)[serve]" \
    && install -d -o 2000 -g 0 /cache
# The image's own user `vllm`: torch asks for its name, and its caches go to its home.
USER 2000:0
STOPSIGNAL SIGINT
EXPOSE 8100
# HTTPS, as the server's with the files below; the certificate is the server's own, and no secret is sent.
HEALTHCHECK --interval=10s --timeout=5s --start-period=600s --retries=3 CMD ["python3", "-c", \
    "import http.client as h, ssl, sys; c = h.HTTPSConnection('127.0.0.1', 8100, timeout=4, context=ssl._create_unverified_context()); c.request('GET', '/health'); sys.exit(c.getresponse().status != 200)"]
# 0.0.0.0 is the container's; beyond this machine it wants the three files in /etc/ganglion.
ENTRYPOINT ["ganglion"]
CMD ["serve", "vlm", "/bundle", "--backend", "vllm", "--port", "8100", "--bind.host", "0.0.0.0", \
     "--bind.certificate", "/etc/ganglion/tls.crt", "--bind.key", "/etc/ganglion/tls.key", \
     "--bind.token_file", "/etc/ganglion/token"]

# vLLM 0.30 does not bring Ray, which its engine for several machines needs. Not ray[cgraph]: that is for an older engine
# of vLLM's, and brings CuPy for another CUDA.
FROM one AS ray
USER 0:0
RUN python3 -m pip install --no-cache-dir ray==2.60.0
USER 2000:0
