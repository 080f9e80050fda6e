# KPIggyBank in a container: docker build -t kpiggybank .
FROM python:3.11-slim AS build
WORKDIR /src
COPY setup.py pyproject.toml README.md LICENSE ./
COPY kpiggybank kpiggybank
COPY twisted twisted
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .
# Without pip, as nothing is installed there later.
RUN python -m venv --without-pip /opt/kpiggybank \
    && python -m pip --python /opt/kpiggybank/bin/python install --no-cache-dir /wheels/*.whl

FROM python:3.11-slim
COPY --from=build /opt/kpiggybank /opt/kpiggybank
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin kpiggybank \
    && install --directory --owner=kpiggybank --mode=0700 /var/lib/kpiggybank
# The address is the container's own; `docker run --publish` says who reaches it.
ENV DB_BACKEND=sqlite DATA_DIR=/var/lib/kpiggybank HOST=0.0.0.0 PORT=3000 MODE=prod PYTHONUNBUFFERED=1
USER kpiggybank
WORKDIR /var/lib/kpiggybank
VOLUME /var/lib/kpiggybank
EXPOSE 3000
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["/opt/kpiggybank/bin/python", "-c", \
    "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['PORT']), timeout=4); c.request('GET', '/__lbheartbeat__'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["/opt/kpiggybank/bin/twistd", "--nodaemon", "--pidfile=", "kpiggybank"]
