# The relay as an image. From the repository's root:
#
#   docker build -f deploy/docker/relay.Dockerfile -t culvert-relay .
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
COPY relay.ts ./
RUN deno bundle --platform deno --output /out/relay.js relay.ts

FROM docker.io/denoland/deno:distroless-${DENO_VERSION}
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="culvert-relay" \
      org.opencontainers.image.description="The public side of culvert, a reverse tunnel for HTTP: accepts agents' connections and callers' requests" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY LICENSE /LICENSE
COPY --from=build /out/relay.js /app/relay.js
# Numeric, so that Kubernetes can verify runAsNonRoot.
USER 65532:65532
WORKDIR /app
ENV NO_COLOR=1 DENO_NO_UPDATE_CHECK=1
# Agents; callers; probes and metrics when --health-addr names this port.
EXPOSE 8443 8080 8082
# Without --no-prompt, Deno would ask for a missing permission instead of refusing it.
ENTRYPOINT ["/bin/deno", "run", "--quiet", "--no-prompt", "--no-config", "--no-lock", "--no-remote", "--no-npm", \
            "--allow-net", "--allow-read", "--allow-write", "--allow-env", "--allow-run", "/app/relay.js"]
