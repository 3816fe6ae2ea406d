# The one image of every Python service: packages in a layer of their own, the code last.

FROM python:3.11-slim-bookworm AS builder
WORKDIR /build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
COPY requirements.lock ./
# uv is itself in the lock, with its hashes: pip installs that one entry, uv the rest.
RUN --mount=type=cache,target=/root/.cache/pip \
    awk '/^uv==/ {on = 1} on {print} on && !/\\$/ {exit}' requirements.lock > uv.txt \
 && python -m pip install --quiet --require-hashes --target /uv -r uv.txt

# What pyproject.toml asks for at run time, and nothing else of it: the packages are installed anew
# only when that changes.
FROM builder AS wanted
COPY pyproject.toml ./
RUN python -c 'import json, tomllib; \
wanted = tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"]; \
print("[project]\nname = \"wanted\"\nversion = \"0\"\ndependencies =", json.dumps(wanted))' \
    > /wanted.toml

FROM builder AS packages
COPY --from=wanted /wanted.toml ./pyproject.toml
# Every package in the version and with a hash that the lock names, also what builds the few that
# come as source; one that is not in the lock is refused. mypy is a plugin's, which nothing loads.
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
# Never checked against the source: this file system does not change.
RUN python -m compileall -q --invalidation-mode unchecked-hash . \
 && ln -s /state/var var && ln -s /state/data data \
 && printf '#!/opt/venv/bin/python\nfrom pipelines.cli.main import app\n\napp()\n' > /mlops \
 && chmod 755 /mlops

FROM python:3.11-slim-bookworm
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# New volumes take their owner from these folders. The base image's pip has no business at run time.
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
