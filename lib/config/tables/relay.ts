/** The relay's options. The edge reads them too, where there is no module of Node's. */
import {
  addressRanges,
  boolean,
  choice,
  duration,
  fileDirOrJson,
  integer,
  type Kind,
  listenAddress,
  parsedBy,
  path,
} from "../options/kinds.ts";
import type { OptionTable } from "../options/option_table.ts";
import { adminTable } from "./admin.ts";
import { callerTable } from "./callers.ts";
import {
  idleTimeoutOption,
  maxBodyBytesOption,
  maxStreamsOption,
  responseTimeoutOption,
  scopeLimitTable,
} from "./limits.ts";
import { directoryTable, workersOption } from "./several_relays.ts";
import { graceOption, logTable, maxHeaderBytesOption } from "./shared.ts";

const ownHost: Kind<string> = {
  placeholder: "NAME",
  schema: parsedBy((text) => {
    const name = text.toLowerCase();
    return /^[a-z0-9_-]+(?:\.[a-z0-9_-]+)*$/.test(name) ? name : undefined;
  }, "must be a name such as relay.example.com, without a port"),
};

/** All options of the relay. */
export const relayTable = {
  addr: {
    name: "addr",
    env: "ADDR",
    group: "Listeners",
    kind: listenAddress,
    default: ":8443",
    description:
      "Public listen address, for agents: `/connect` and `/healthz`; port 0 takes a free one",
  },
  internalAddr: {
    name: "internal-addr",
    env: "INTERNAL_ADDR",
    group: "Listeners",
    kind: listenAddress,
    default: ":8080",
    description:
      "Internal listen address, for callers, probes and metrics: `/tunnel/{id}/`, `/healthz`, `/readyz`, `/metrics`; never expose it",
  },
  healthAddr: {
    name: "health-addr",
    env: "HEALTH_ADDR",
    group: "Listeners",
    kind: listenAddress,
    description:
      "Listen address for probes and metrics alone, always plain HTTP: `/healthz`, `/readyz` and `/metrics`, for a kubelet or a Prometheus without a client certificate",
  },
  webAddr: {
    name: "web-addr",
    env: "WEB_ADDR",
    group: "Listeners",
    kind: listenAddress,
    description:
      "Listen address for services at their hostnames, for browsers; off unless given. Without certificates it must be on loopback, or behind `--trusted-proxies`",
    see: "services.md#the-web-listener",
  },
  webCerts: {
    name: "web-certs",
    env: "WEB_CERTS",
    group: "Listeners",
    kind: path,
    placeholder: "DIR",
    description:
      "Folder with the certificates of `--web-addr`: pairs `NAME.crt` and `NAME.key`, or folders with `tls.crt` and `tls.key` as Kubernetes mounts Secrets. Each client gets the certificate for the name that it asks for; changed files are reloaded",
    see: "services.md#certificates",
  },
  webRelayHost: {
    name: "web-relay-host",
    env: "WEB_RELAY_HOST",
    group: "Listeners",
    kind: ownHost,
    description:
      "The relay's own name on the web listener, at which it serves `/connect` and `/healthz`; no service can have it",
    see: "services.md#the-web-listener",
  },
  trustedProxies: {
    name: "trusted-proxies",
    env: "TRUSTED_PROXIES",
    group: "Listeners",
    kind: addressRanges,
    description:
      "Addresses of the proxies in front of the internal, web and admin listeners, such as `10.0.0.0/8,192.0.2.1`: the relay believes their `X-Forwarded-For` and `X-Forwarded-Proto`, for limits, logs, the audit log and the target",
    see: "recipes.md#behind-a-proxy",
    chart: { name: "trustedProxies" },
  },
  proxyProtocol: {
    name: "proxy-protocol",
    env: "PROXY_PROTOCOL",
    group: "Listeners",
    kind: boolean,
    default: "false",
    description:
      "Require a header of the PROXY protocol, version 1 or 2, on each connection from a trusted proxy; needs `--trusted-proxies`",
    see: "recipes.md#behind-a-proxy",
    chart: { name: "proxyProtocol" },
  },
  clusters: {
    name: "clusters",
    env: "CLUSTERS",
    group: "Clusters",
    kind: fileDirOrJson,
    isRequired: true,
    isSecret: true,
    description:
      'Clusters that agents may serve, as the path of a JSON file, of a directory of `*.json` files, or as JSON: an array of `{"id", "token", "targetAddr"}`; files are read again when they change. `"tokenSha256"` may stand for the token, or `"tokens"` with several and their `"expires"`; `"certificateName"` binds a client certificate, `"impersonation"` says what happens to requests with `Impersonate-*` headers, and `"responseTimeout"` replaces `--response-timeout`',
    see: "configuration.md#clusters",
    isEdgeSetting: true,
  },
  services: {
    name: "services",
    env: "SERVICES",
    group: "Services",
    kind: fileDirOrJson,
    description:
      "What is published at hostnames, and who may use it, as the path of a YAML or JSON file, of a directory of such files, or as JSON: an object with `services`, `policies` and `providers`; files are read again when they change",
    see: "services.md",
    isEdgeSetting: true,
  },
  sessionKeys: {
    name: "session-keys",
    env: "SESSION_KEYS",
    group: "Services",
    kind: path,
    description:
      "File of the keys that encrypt the cookies of people who sign in, one key of 32 bytes in base64 a line: the first one encrypts, all of them decrypt; read again when it changes. Without it, the relay creates a key at start, and sign-ins end with the process; required with `--directory` where people sign in",
    see: "people.md#signing-in",
  },
  assertionKeys: {
    name: "assertion-keys",
    env: "ASSERTION_KEYS",
    group: "Services",
    kind: path,
    description:
      "PEM file of the private keys (EC on P-256) that sign who callers are, for applications and agents: the first one signs, all are published at `/.culvert/jwks.json`; read again when it changes. Without it the relay creates one at start; required with `--directory` where anything is signed",
    see: "people.md#identity-for-applications",
  },
  ...callerTable,
  tlsCert: {
    name: "tls-cert",
    env: "TLS_CERT",
    group: "TLS",
    kind: path,
    description: "Certificate chain in PEM; turns on TLS on both listeners; needs `--tls-key`",
    see: "certificates.md",
  },
  tlsKey: {
    name: "tls-key",
    env: "TLS_KEY",
    group: "TLS",
    kind: path,
    description: "Private key in PEM, without a passphrase; needs `--tls-cert`",
  },
  tlsClientCa: {
    name: "tls-client-ca",
    env: "TLS_CLIENT_CA",
    group: "TLS",
    kind: path,
    description:
      "CA certificates in PEM; agents and callers must then show a certificate that one of these signed; needs `--tls-cert` and `--tls-key`",
  },
  callerCa: {
    name: "caller-ca",
    env: "CALLER_CA",
    group: "TLS",
    kind: path,
    description:
      "CA certificates in PEM for callers alone, and for other relays; `--tls-client-ca` then applies to agents only; needs `--tls-cert` and `--tls-key`",
  },
  workers: workersOption,
  ...directoryTable,
  ...adminTable,
  ...scopeLimitTable,
  maxStreams: maxStreamsOption,
  maxConnections: {
    name: "max-connections",
    env: "MAX_CONNECTIONS",
    group: "Limits",
    kind: integer({ min: 0, max: 1_000_000 }),
    default: "16384",
    description: "Connections open at once at each listener; more are reset; 0 is no limit",
    chart: { name: "maxConnections" },
  },
  maxConnectionsPerAddress: {
    name: "max-connections-per-address",
    env: "MAX_CONNECTIONS_PER_ADDRESS",
    group: "Limits",
    kind: integer({ min: 0, max: 1_000_000 }),
    default: "1024",
    description:
      "Connections of one address to `--addr`, those of agents' sessions left out, and to `--web-addr` and `--admin-addr` without `--trusted-proxies`; more are reset; 0 is no limit",
    chart: { name: "maxConnectionsPerAddress" },
  },
  maxHeaderBytes: maxHeaderBytesOption,
  maxBodyBytes: maxBodyBytesOption,
  responseTimeoutMs: responseTimeoutOption,
  headerTimeoutMs: {
    name: "header-timeout",
    env: "HEADER_TIMEOUT",
    group: "Timeouts",
    kind: duration({ min: "1ms" }),
    default: "30s",
    description: "Time for a caller or agent to send a request's head",
    chart: { name: "headerTimeout" },
  },
  idleTimeoutMs: idleTimeoutOption,
  drainDelayMs: {
    name: "drain-delay",
    env: "DRAIN_DELAY",
    group: "Timeouts",
    kind: duration({ min: "0" }),
    default: "0s",
    description:
      "After SIGTERM or SIGINT, time in which the relay still takes requests while `/readyz` says 503, for balancers to notice; `--grace` begins after it",
    see: "high-availability.md#shutting-down",
  },
  graceMs: graceOption,
  auditLog: {
    name: "audit-log",
    env: "AUDIT_LOG",
    group: "Logs",
    kind: path,
    placeholder: "FILE|-",
    description:
      "A record of each request and who sent it, one line of JSON each; `-` is standard output",
    see: "observability.md#audit-log",
    chart: { name: "auditLog" },
  },
  auditFail: {
    name: "audit-fail",
    env: "AUDIT_FAIL",
    group: "Logs",
    kind: choice("POLICY", ["open", "closed"]),
    default: "closed",
    description:
      "What happens to requests that the audit log can't record: `closed` refuses them, `open` lets them through",
    chart: { name: "auditFail" },
  },
  ...logTable,
} as const satisfies OptionTable;
