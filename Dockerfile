# The image of all Python services: packages in one layer, the code last.

FROM python:3.11-slim-bookworm AS builder
WORKDIR /build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
COPY requirements.lock ./
# The lock holds uv with its hashes: pip installs that entry, uv installs the rest.
RUN --mount=type=cache,target=/root/.cache/pip \
    awk '/^uv==/ {on = 1} on {print} on && !/\\$/ {exit}' requirements.lock > uv.txt \
 && python -m pip install --quiet --require-hashes --target /uv -r uv.txt

# Only the run-time dependencies of pyproject.toml: a change elsewhere in it does not reinstall the
# packages.
FROM builder AS wanted
COPY pyproject.toml ./
RUN python -c 'import json, tomllib; \
wanted = tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"]; \
print("[project]\nname = \"wanted\"\nversion = \"0\"\ndependencies =", json.dumps(wanted))' \
    > /wanted.toml

FROM builder AS packages
COPY --from=wanted /wanted.toml ./pyproject.toml
# All packages have the version and a hash of the lock, also the build tools of source packages. A
# package outside the lock is refused. mypy belongs to a plugin that nothing loads.
RUN --mount=type=cache,target=/root/.cache/uv \
    python -m venv --without-pip /opt/venv \
 && echo mypy > excluded.txt \
 && /uv/bin/uv pip install --quiet --python /opt/venv/bin/python --link-mode copy \
    --require-hashes --compile-bytecode --excludes excluded.txt \
    --requirements pyproject.toml --constraints requirements.lock \
    --build-constraints requirements.lock

FROM python:3.11-slim-bookworm AS code
WORKDIR /app
COPY . .
# Bytecode is not checked against the source: this file system does not change.
RUN python -m compileall -q --invalidation-mode unchecked-hash . \
 && ln -s /state/var var && ln -s /state/data data \
 && printf '#!/opt/venv/bin/python\nfrom pipelines.cli.main import app\n\napp()\n' > /mlops \
 && chmod 755 /mlops

FROM python:3.11-slim-bookworm
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# New volumes take their owner from these folders. The base image's pip is not needed at run time.
RUN useradd --uid 1000 --no-create-home --home-dir /tmp loop \
 && mkdir -p /state/var /state/data /predictions /dvc-remote /artefacts \
 && chown -R 1000:1000 /state /predictions /dvc-remote /artefacts \
 && python -c 'import ensurepip, pip; print(*ensurepip.__path__, *pip.__path__, sep="\n")' \
    | xargs rm -rf \
 && rm -f /usr/local/bin/pip* /usr/bin/pip*
ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/app PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    HOME=/tmp MLOPS_HOME=/app
COPY --from=packages /opt/venv /opt/venv
COPY --from=code /mlops /opt/venv/bin/mlops
COPY --from=code /app /app
WORKDIR /app
USER 1000:1000
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-IS", "/app/pipelines/stack/healthy.py", "http://127.0.0.1:3000/livez"]
CMD ["mlops", "serve"]
ARG MLOPS_VERSION=unknown
ARG MLOPS_COMMIT=unknown
LABEL org.opencontainers.image.title="mlops-loop" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$MLOPS_VERSION" \
      org.opencontainers.image.revision="$MLOPS_COMMIT"
ENV MLOPS_COMMIT=$MLOPS_COMMIT
