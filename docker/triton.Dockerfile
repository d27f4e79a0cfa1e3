# Triton around a bundle's triton/: --target gpu or cpu. Nothing of Ganglion is in it. See docs/how-to/docker.md.
# Pinned by exact tag. No digest: none was read from a pulled image, and one that was not must not be written down.
# 26.09 is Triton 2.73. The image's own entry point stays: it ends in exec, so Triton gets the signals.
FROM nvcr.io/nvidia/tritonserver:26.09-py3 AS server
ENV DO_NOT_TRACK=1 \
    OMP_NUM_THREADS=1
# The image's own user.
USER 1000:1000
# SIGKILL would leave segments in /dev/shm.
STOPSIGNAL SIGTERM
EXPOSE 8000 8001 8002
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 CMD ["python3", "-c", \
    "import http.client as h, sys; c = h.HTTPConnection('127.0.0.1', 8000, timeout=4); c.request('GET', '/v2/health/ready'); sys.exit(c.getresponse().status != 200)"]
CMD ["tritonserver", "--model-repository=/bundle/triton", "--http-port=8000", "--grpc-port=8001", \
     "--metrics-port=8002", "--exit-timeout-secs=30"]

FROM server AS gpu

# The same server, which runs without a GPU too; NVIDIA publishes no smaller image with the ONNX Runtime backend in it.
FROM server AS cpu
ENV CUDA_VISIBLE_DEVICES=""
