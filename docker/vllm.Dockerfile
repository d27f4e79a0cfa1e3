# vLLM around a bundle's vlm/, a checkpoint. Nothing of Ganglion is in it. See docs/how-to/docker.md.
# Pinned by exact tag. No digest: none was read from a pulled image, and one that was not must not be written down.
FROM vllm/vllm-openai:v0.30.0
ENV DO_NOT_TRACK=1 \
    HF_HUB_DISABLE_TELEMETRY=1 \
    HF_HUB_OFFLINE=1 \
    OMP_NUM_THREADS=1 \
    VLLM_NO_USAGE_STATS=1
# The image's own user `vllm`: torch asks for its name, and its caches go to its home.
USER 2000:0
STOPSIGNAL SIGTERM
EXPOSE 8100
HEALTHCHECK --interval=10s --timeout=5s --start-period=600s --retries=3 CMD ["python3", "-c", \
    "import http.client as h, sys; c = h.HTTPConnection('127.0.0.1', 8100, timeout=4); c.request('GET', '/health'); sys.exit(c.getresponse().status != 200)"]
# 0.0.0.0 is the container's: what the host publishes is bound to 127.0.0.1. Further flags go after the image's name.
ENTRYPOINT ["vllm", "serve", "/bundle/vlm", "--host", "0.0.0.0", "--port", "8100", "--served-model-name", "ganglion"]
CMD []
