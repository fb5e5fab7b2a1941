# The operator as an image. From the repository's root:
#
#   docker build -f deploy/docker/operator.Dockerfile -t culvert-operator .
#
# The program is one file of JavaScript, run by Deno: it downloads nothing at start and writes nothing,
# and the final stage has no shell. There is no HEALTHCHECK: use the probes of your platform.

# Both stages must have the same Deno: the one that the tests ran with.
ARG DENO_VERSION=2.9.6

FROM docker.io/denoland/deno:${DENO_VERSION} AS build
# "system" trusts the base image's own CAs, for networks whose proxy intercepts TLS.
ARG DENO_TLS_CA_STORE=mozilla
WORKDIR /src
# Dependencies first: this layer stays while deno.lock does.
COPY deno.json deno.lock ./
RUN deno install --frozen
COPY lib lib
COPY operator.ts ./
RUN deno bundle --platform deno --output /out/operator.js operator.ts

FROM docker.io/denoland/deno:distroless-${DENO_VERSION}
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="culvert-operator" \
      org.opencontainers.image.description="Kubernetes operator of culvert, a reverse tunnel: creates tunnels from Tunnel resources" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY LICENSE /LICENSE
COPY --from=build /out/operator.js /app/operator.js
# Numeric, so that Kubernetes can verify runAsNonRoot.
USER 65532:65532
WORKDIR /app
# On all interfaces: a container's loopback is its own.
# Two of glibc's arenas instead of eight for each core, which take memory and give little of it back.
ENV NO_COLOR=1 DENO_NO_UPDATE_CHECK=1 HEALTH_ADDR=:8083 MALLOC_ARENA_MAX=2
# Probes and metrics.
EXPOSE 8083
# V8 does not know a container's memory limit: its flags have it collect garbage before the heap is a
# quarter larger than what is in use.
# Without --no-prompt, Deno would ask for a missing permission instead of refusing it.
ENTRYPOINT ["/bin/deno", "run", "--quiet", "--no-prompt", "--no-config", "--no-lock", "--no-remote", "--no-npm", \
            "--v8-flags=--heap-growing-percent=25,--max-semi-space-size=4", \
            "--allow-net", "--allow-read", "--allow-env", "/app/operator.js"]
