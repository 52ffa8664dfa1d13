# The image of Ray's nodes, of the exporter and of Prefect's worker and flow runs. Build it at the repository's root:
#   docker build -f infra/docker/raytrain.Dockerfile --target ray     -t raytrain:0.1.0-gpu .
#   docker build -f infra/docker/raytrain.Dockerfile --target prefect -t raytrain:0.1.0-prefect .
# PyTorch's own wheels bring CUDA; the driver is the host's. For a small image without a GPU give the index of its CPU
# wheels: --build-arg TORCH_INDEX=URL, and tag it -cpu.
FROM python:3.11.13-slim-bookworm AS base
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
    RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0 DO_NOT_TRACK=1 RAYTRAIN_ROOT=/opt/raytrain
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# g++ for torch.compile; rsync, ssh, procps and wget for the cluster launcher and for Ray's probes.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends g++ openssh-client procps rsync wget \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 10001 raytrain \
 && useradd --uid 10001 --gid 10001 --create-home raytrain \
 && install -d -o 10001 -g 10001 /tmp/ray
WORKDIR /opt/raytrain
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY raytrain ./raytrain
COPY recipes ./recipes

FROM base AS ray
ARG TORCH_INDEX
RUN if [ -n "$TORCH_INDEX" ]; then pip install --index-url "$TORCH_INDEX" torch==2.13.0; fi \
 && pip install --constraint constraints.txt '.[engine]'
USER 10001:10001
CMD ["raytrain", "--help"]

FROM base AS prefect
ARG TORCH_INDEX
RUN if [ -n "$TORCH_INDEX" ]; then pip install --index-url "$TORCH_INDEX" torch==2.13.0; fi \
 && pip install --constraint constraints.txt '.[flows]' prefect-kubernetes==0.8.0
COPY flows ./flows
COPY prefect.yaml ./
USER 10001:10001
CMD ["prefect", "version"]
