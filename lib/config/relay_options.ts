/** The relay's options: the command line, the environment and the files they name. */
import type { ClusterEntry } from "../domain/cluster.ts";
import type { LimitValues } from "../domain/limits.ts";
import { formatAddress, type ListenAddress } from "./options/address.ts";
import { argocdSecretProgram } from "./commands/argocd_options.ts";
import { type CallerOptions, callerOptions, readCallers } from "./caller_options.ts";
import { type Clusters, type ClustersContext, readClusters } from "./entries/clusters.ts";
import { isClustersFile, readClustersFiles } from "./entries/clusters_files.ts";
import { ConfigError } from "./config_error.ts";
import {
  type DirectoryOptions,
  directoryTable,
  readDirectoryOptions,
} from "./directory_options.ts";
import { type FileText, readCertificateFile, readPrivateKeyFile, readTextFiles } from "./files.ts";
import { deepFreeze } from "./freeze.ts";
import { kubeconfigProgram } from "./commands/kubeconfig_options.ts";
import {
  choice,
  duration,
  integer,
  type Kind,
  listenAddress,
  parsedBy,
  path,
} from "./options/kinds.ts";
import {
  idleTimeoutOption,
  limitOptions,
  limitsOf,
  maxBodyBytesOption,
  responseTimeoutOption,
} from "./limit_options.ts";
import type { OptionTable, Program } from "./options/option_table.ts";
import {
  type Environment,
  type Parsed,
  parseOptions,
  type ReadOptions,
} from "./options/options.ts";
import {
  exitCodes,
  graceOption,
  type LogFormat,
  type LogLevel,
  logOptions,
  maxHeaderBytesOption,
} from "./shared_options.ts";
import { tokenProgram } from "./commands/token_options.ts";
import { version } from "./version.ts";

/** What the relay runs with; frozen. */
export interface RelayOptions {
  /** Listener for agents. */
  readonly addr: ListenAddress;
  /** Listener for callers, probes and metrics. */
  readonly internalAddr: ListenAddress;
  /** Listener for probes and metrics alone, always plain HTTP; undefined is none. */
  readonly healthAddr?: ListenAddress | undefined;
  readonly clusters: readonly ClusterEntry[];
  /** Where `clusters` came from; undefined when they were given as JSON. */
  readonly clustersSource?: ClustersSource | undefined;
  readonly callers: CallerOptions;
  /** What callers may ask of all clusters together; 0 is no limit. */
  readonly limits: LimitValues;
  /** The same for each cluster that has no `limits` of its own. */
  readonly clusterLimits: LimitValues;
  /** TLS on both listeners; undefined is plain HTTP. */
  readonly tls?: RelayTls | undefined;
  /** How this relay works with others; undefined is alone. */
  readonly directory?: DirectoryOptions | undefined;
  /** Connections of one listener that are open at once; 0 is no limit. */
  readonly maxConnections: number;
  /** Those of one address to the public listener that are no session; 0 is no limit. */
  readonly maxConnectionsPerAddress: number;
  /** Time from a request's end to its response's head, in milliseconds; 0 is no limit. */
  readonly responseTimeoutMs: number;
  /** Time for a request's head, in milliseconds. */
  readonly headerTimeoutMs: number;
  /** Time that a body which should move may stand still, in milliseconds; 0 is no limit. */
  readonly idleTimeoutMs: number;
  /** Time in which requests are still taken when the relay stops; 0 is none. */
  readonly drainDelayMs: number;
  /** Time for open streams to finish after that; 0 is none. */
  readonly graceMs: number;
  /** Limit on the head of a request or response. */
  readonly maxHeaderBytes: number;
  /** Limit on a request's body; 0 is none. */
  readonly maxBodyBytes: number;
  /** Limit on the streams of one session that are open at once. */
  readonly maxStreams: number;
  /** The audit log: a file's path, or `-` for standard output; undefined is none. */
  readonly auditLog?: string | undefined;
  /** Whether requests go on that can't be recorded. */
  readonly auditFail: "open" | "closed";
  readonly logLevel: LogLevel;
  readonly logFormat: LogFormat;
  /** One line each, to be logged at start. */
  readonly warnings: readonly string[];
}

/** A file of clusters or a directory with such files, and what was read there at start. */
export interface ClustersSource {
  readonly path: string;
  readonly files: readonly FileText[];
}

/** Files of the relay's TLS, with their PEM text as it was at start. */
export interface RelayTls {
  readonly certPath: string;
  readonly certPem: string;
  readonly keyPath: string;
  readonly keyPem: string;
  /** With these, agents must show a client certificate, and callers, unless they have their own CA. */
  readonly clientCaPath?: string | undefined;
  readonly clientCaPem?: string | undefined;
  /** The CA of callers' certificates. */
  readonly callerCaPath?: string | undefined;
  readonly callerCaPem?: string | undefined;
}

const clustersKind: Kind<string> = {
  placeholder: "FILE|DIR|JSON",
  schema: parsedBy((text) => text, ""),
};

const table = {
  addr: {
    name: "addr",
    env: "ADDR",
    group: "Listeners",
    kind: listenAddress,
    default: ":8443",
    description:
      "Public listen address, for agents: /connect and /healthz; port 0 takes a free one",
  },
  internalAddr: {
    name: "internal-addr",
    env: "INTERNAL_ADDR",
    group: "Listeners",
    kind: listenAddress,
    default: ":8080",
    description:
      "Internal listen address, for callers: /tunnel/{id}/, /healthz, /readyz, /metrics; " +
      "never expose it",
  },
  healthAddr: {
    name: "health-addr",
    env: "HEALTH_ADDR",
    group: "Listeners",
    kind: listenAddress,
    description:
      "Listen address of /healthz, /readyz and /metrics alone, in plain HTTP whatever --tls-cert " +
      "says; port 0 takes a free one",
  },
  clusters: {
    name: "clusters",
    env: "CLUSTERS",
    group: "Clusters",
    kind: clustersKind,
    isRequired: true,
    isSecret: true,
    description:
      "Clusters that agents may serve, as the path of a JSON file, of a directory of *.json " +
      'files, or as JSON: an array of {"id", "token", "targetAddr"}; files are read again when ' +
      'they change. "tokenSha256" may stand for the token, or "tokens" with several and their ' +
      '"expires"; "certificateName" binds a client certificate, and "impersonation": "forward" ' +
      "lets callers' Impersonate-* headers through",
  },
  ...callerOptions,
  tlsCert: {
    name: "tls-cert",
    env: "TLS_CERT",
    group: "TLS",
    kind: path,
    description: "Certificate chain in PEM; turns on TLS on both listeners; needs --tls-key",
  },
  tlsKey: {
    name: "tls-key",
    env: "TLS_KEY",
    group: "TLS",
    kind: path,
    description: "Private key in PEM, without a passphrase; needs --tls-cert",
  },
  tlsClientCa: {
    name: "tls-client-ca",
    env: "TLS_CLIENT_CA",
    group: "TLS",
    kind: path,
    description:
      "CA certificates in PEM; agents and callers must then show a certificate that one " +
      "of these signed; needs --tls-cert and --tls-key",
  },
  callerCa: {
    name: "caller-ca",
    env: "CALLER_CA",
    group: "TLS",
    kind: path,
    description:
      "CA certificates in PEM for callers alone, and for other relays: --tls-client-ca is agents' " +
      "then, and neither's certificates count for the other; needs --tls-cert and --tls-key",
  },
  ...directoryTable,
  ...limitOptions,
  maxConnections: {
    name: "max-connections",
    env: "MAX_CONNECTIONS",
    group: "Limits",
    kind: integer({ min: 0, max: 1_000_000 }),
    default: "16384",
    description: "Connections open at once at each listener; more are reset; 0 is no limit",
  },
  maxConnectionsPerAddress: {
    name: "max-connections-per-address",
    env: "MAX_CONNECTIONS_PER_ADDRESS",
    group: "Limits",
    kind: integer({ min: 0, max: 1_000_000 }),
    default: "1024",
    description: "Connections of one address to --addr that are no agent's session yet; more are " +
      "reset; 0 is no limit",
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
  },
  idleTimeoutMs: idleTimeoutOption,
  drainDelayMs: {
    name: "drain-delay",
    env: "DRAIN_DELAY",
    group: "Timeouts",
    kind: duration({ min: "0" }),
    default: "0s",
    description:
      "After SIGTERM or SIGINT, time in which requests are still taken while /readyz says 503, " +
      "for balancers to notice; --grace begins behind it",
  },
  graceMs: graceOption,
  auditLog: {
    name: "audit-log",
    env: "AUDIT_LOG",
    group: "Logs",
    kind: path,
    placeholder: "FILE|-",
    description: "A record of each request and who asked for it, one line of JSON each; - is " +
      "standard output",
  },
  auditFail: {
    name: "audit-fail",
    env: "AUDIT_FAIL",
    group: "Logs",
    kind: choice("POLICY", ["open", "closed"]),
    default: "closed",
    description: "What happens to requests that the audit log can't record: closed refuses " +
      "them, open lets them go on",
  },
  ...logOptions,
} as const satisfies OptionTable;

const program: Program<typeof table> = {
  name: "relay",
  version,
  usage: "--clusters FILE|DIR|JSON [options]",
  commands: [kubeconfigProgram, argocdSecretProgram, tokenProgram],
  summary:
    "The public side of culvert, a reverse tunnel. Agents beside a Kubernetes API server or " +
    "any other HTTP service dial in over WebSocket and wait; callers reach the service through " +
    "the relay at http://RELAY-INTERNAL/tunnel/{id}/PATH. The relay drops the caller's " +
    "credentials, and the agent puts in its own.",
  options: table,
  examples: [
    {
      title: "Serve the clusters in a file to callers on this machine",
      command: "relay --clusters clusters.json --internal-addr 127.0.0.1:8080",
    },
    {
      title: "To callers that have a token",
      command: "relay --clusters clusters.json --caller-tokens callers.json",
    },
    {
      title: "One cluster, from the environment",
      command:
        `CLUSTERS='[{"id":"dev","token":"…","targetAddr":"127.0.0.1:6443"}]' relay --callers open`,
    },
    {
      title: "In production: TLS, and certificates from agents and callers",
      command: "relay --clusters clusters.json --tls-cert tls.crt --tls-key tls.key " +
        "--tls-client-ca ca.crt",
    },
  ],
  exitCodes,
};

/**
 * Reads the relay's options, its clusters and its TLS files.
 *
 * @param argv the arguments after the program's name
 * @throws {ConfigError} for whatever the relay cannot run with; the message is one line
 */
export function parseRelayOptions(argv: readonly string[], env: Environment): Parsed<RelayOptions> {
  const parsed = parseOptions(program, argv, env);
  return parsed.kind === "run"
    ? { kind: "run", options: deepFreeze(build(parsed.options)) }
    : parsed;
}

type Read = ReadOptions<typeof table>;

function build(read: Read): RelayOptions {
  const { values } = read;
  refuseSharedAddresses(values);
  const tls = readTls(read);
  const { clusters, clustersSource, warnings } = readClustersOption(read);
  const { callers, warnings: callerWarnings } = readCallers(read, {
    address: values.internalAddr,
    origin: read.origins.internalAddr,
    demandsCertificate: (values.callerCa ?? values.tlsClientCa) !== undefined,
  });
  const directory = readDirectoryOptions(read, tls !== undefined);
  return {
    addr: values.addr,
    internalAddr: values.internalAddr,
    ...(values.healthAddr && { healthAddr: values.healthAddr }),
    clusters,
    ...(clustersSource && { clustersSource }),
    callers,
    ...limitsOf(values),
    ...(tls && { tls }),
    ...(directory && { directory }),
    maxConnections: values.maxConnections,
    maxConnectionsPerAddress: values.maxConnectionsPerAddress,
    responseTimeoutMs: values.responseTimeoutMs,
    drainDelayMs: values.drainDelayMs,
    headerTimeoutMs: values.headerTimeoutMs,
    idleTimeoutMs: values.idleTimeoutMs,
    graceMs: values.graceMs,
    maxHeaderBytes: values.maxHeaderBytes,
    maxBodyBytes: values.maxBodyBytes,
    maxStreams: values.maxStreams,
    ...(values.auditLog !== undefined && { auditLog: values.auditLog }),
    auditFail: values.auditFail,
    logLevel: values.logLevel,
    logFormat: values.logFormat,
    warnings: [...warnings, ...callerWarnings],
  };
}

/** Two listeners on one port would fail later, as an address in use by somebody. */
function refuseSharedAddresses({ addr, internalAddr, healthAddr }: Read["values"]): void {
  const optionOf = new Map<string, string>();
  const listeners = {
    "--addr": addr,
    "--internal-addr": internalAddr,
    "--health-addr": healthAddr,
  };
  for (const [option, listener] of Object.entries(listeners)) {
    if (listener === undefined || listener.port === 0) continue;
    const address = formatAddress(listener);
    const other = optionOf.get(address);
    if (other !== undefined) {
      throw new ConfigError(
        `Options ${other} and ${option} are both ${JSON.stringify(address)}; ` +
          "each needs its own port",
      );
    }
    optionOf.set(address, option);
  }
}

function readClustersOption(
  { values, origins }: Read,
): Clusters & { clustersSource?: ClustersSource } {
  const text = values.clusters;
  const origin = origins.clusters;
  const context: ClustersContext = { demandsCertificate: values.tlsClientCa !== undefined };
  if (/^\s*[[{]/.test(text)) return readClusters(text, origin, context);
  if (/["\n\r\0]/.test(text)) {
    throw new ConfigError(
      `${origin} must be the path of a JSON file, or JSON that begins with "["`,
    );
  }
  const files = readTextFiles({ origin, path: text }, isClustersFile);
  return { ...readClustersFiles(text, files, context), clustersSource: { path: text, files } };
}

function readTls({ values, origins }: Read): RelayTls | undefined {
  const { tlsCert: certPath, tlsKey: keyPath, tlsClientCa: clientCaPath, callerCa } = values;
  const fields = ["tlsCert", "tlsKey", "tlsClientCa", "callerCa"] as const;
  const given = fields.find((field) => values[field] !== undefined);
  if (given === undefined) return undefined;
  if (certPath === undefined || keyPath === undefined) {
    const missing = [...(certPath ? [] : ["--tls-cert"]), ...(keyPath ? [] : ["--tls-key"])];
    throw new ConfigError(`${origins[given]} needs ${missing.join(" and ")} as well`);
  }
  const clientCa = clientCaPath !== undefined && {
    clientCaPath,
    clientCaPem: readCertificateFile({ origin: origins.tlsClientCa, path: clientCaPath }),
  };
  return {
    certPath,
    certPem: readCertificateFile({ origin: origins.tlsCert, path: certPath }),
    keyPath,
    keyPem: readPrivateKeyFile({ origin: origins.tlsKey, path: keyPath }),
    ...clientCa,
    ...callerCa !== undefined && {
      callerCaPath: callerCa,
      callerCaPem: readCertificateFile({ origin: origins.callerCa, path: callerCa }),
    },
  };
}
