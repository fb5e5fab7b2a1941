# `access` as an image. From the repository's root:
#
#   docker build -f deploy/docker/access.Dockerfile -t culvert-access .
#
# The program is one file of JavaScript, run by Deno: it downloads nothing at start, writes nothing but
# the tokens of `access login`, and the final stage has no shell. A container's loopback is its own:
# listen on all interfaces of the container, as with --listen :5432, and publish the port on loopback.

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
COPY access.ts ./
RUN deno bundle --platform deno --output /out/access.js access.ts

FROM docker.io/denoland/deno:distroless-${DENO_VERSION}
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="culvert-access" \
      org.opencontainers.image.description="The user's side of culvert, a reverse tunnel: carries local connections to services behind a relay" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY LICENSE /LICENSE
COPY --from=build /out/access.js /app/access.js
# Numeric, so that Kubernetes can verify runAsNonRoot.
USER 65532:65532
WORKDIR /app
ENV NO_COLOR=1 DENO_NO_UPDATE_CHECK=1
# Without --no-prompt, Deno would ask for a missing permission instead of refusing it.
ENTRYPOINT ["/bin/deno", "run", "--quiet", "--no-prompt", "--no-config", "--no-lock", "--no-remote", "--no-npm", \
            "--allow-net", "--allow-read", "--allow-write", "--allow-env", "--allow-run", "--allow-sys=hostname", \
            "/app/access.js"]
