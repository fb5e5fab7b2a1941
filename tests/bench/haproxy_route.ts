/**
 * HAProxy's reverse HTTP (`rhttp@`, experimental): HTTP/2 between its ends, one thread each. Like
 * culvert it understands HTTP, and speaks TLS to the target itself.
 */
import {
  type Peer,
  type PeerPorts,
  programPath,
  startPeer,
  versionOf,
  writeConfig,
} from "./peer_route.ts";
import type { RouteContext } from "./route.ts";

/** The first version with reverse HTTP. */
const leastVersion = [2, 9] as const;

/** Requests at a time on one connection between the ends; the default of 100 would queue some. */
const streams = 2_000;

const common = `global
  nbthread 1
  expose-experimental-directives
  tune.h2.fe.max-concurrent-streams ${streams}
  tune.h2.be.max-concurrent-streams ${streams}
defaults
  mode http
  timeout connect 10s
  timeout client 10m
  timeout server 10m
`;

/** The callers' side, where the device's connection is kept; a field says which target is meant. */
function edgeConfig({ control, plain, tls }: PeerPorts): string {
  return `${common}frontend plain
  bind 127.0.0.1:${plain}
  http-request set-header x-target plain
  use_backend reversed
frontend tls
  bind 127.0.0.1:${tls}
  http-request set-header x-target tls
  use_backend reversed
frontend private
  bind 127.0.0.1:${control} proto h2
  tcp-request session attach-srv reversed/device
backend reversed
  server device rhttp@
`;
}

/** The targets' side. */
function deviceConfig({ control }: PeerPorts, { target }: RouteContext): string {
  const { plainPort, tlsPort, certificate } = target;
  return `${common}backend edge
  server edge 127.0.0.1:${control} proto h2
frontend reversed
  bind rhttp@edge/edge
  use_backend tls if { hdr(x-target) tls }
  default_backend plain
backend plain
  server target 127.0.0.1:${plainPort}
backend tls
  server target 127.0.0.1:${tlsPort} ssl sni str(localhost) verify required ca-file ${certificate.caPath}
`;
}

/** HAProxy. */
export const haproxy: Peer = {
  name: "haproxy",
  source: "HAProxy 2.9 or later, built with USE_OPENSSL=1",
  version: async () => {
    const version = await versionOf("haproxy", ["-v"], /HAProxy version (\S+)/i);
    const [major = 0, minor = 0] = version?.split(".").map(Number.parseFloat) ?? [];
    const [leastMajor, leastMinor] = leastVersion;
    const isNew = major > leastMajor || (major === leastMajor && minor >= leastMinor);
    return isNew ? version : undefined;
  },
  start: (context) =>
    startPeer("haproxy", {
      endsTls: true,
      server: async (ports, folder) => {
        const path = await writeConfig(folder, "edge.cfg", edgeConfig(ports));
        return [programPath("haproxy"), "-db", "-q", "-f", path];
      },
      client: async (ports, folder) => {
        const path = await writeConfig(folder, "device.cfg", deviceConfig(ports, context));
        return [programPath("haproxy"), "-db", "-q", "-f", path];
      },
    }, context),
};
