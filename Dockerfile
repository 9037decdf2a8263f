# docker build -t tracesim .
# docker run --rm --read-only --network none -v "$PWD:/work:ro" tracesim validate traces/*.jsonl

FROM python:3.14-slim-trixie AS build
ARG EXTRAS=zst
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY engine engine
COPY cli cli
# The environment has no pip of its own. Bytecode is made here: a read-only file system takes none later.
RUN python -m venv --without-pip /opt/tracesim \
    && pip --python /opt/tracesim/bin/python install --no-cache-dir --disable-pip-version-check --compile ".[$EXTRAS]"

FROM python:3.14-slim-trixie
COPY --from=build /opt/tracesim /opt/tracesim
ENV PATH=/opt/tracesim/bin:$PATH PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
WORKDIR /work
ENTRYPOINT ["tracesim"]
CMD ["--help"]
