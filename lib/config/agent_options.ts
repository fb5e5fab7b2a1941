/** The agent's options: the command line, the environment and the files they name. */
import { z } from "zod";
import type { ListenAddress, TargetAddress } from "./options/address.ts";
import { TOKEN_EXPECTED, TOKEN_PATTERN } from "./entries/token_schemas.ts";
import { ConfigError } from "./config_error.ts";
import { readCertificateFile, readPrivateKeyFile, whyUnreadable } from "./files.ts";
import { deepFreeze } from "./freeze.ts";
import {
  boolean,
  duration,
  hostName,
  integer,
  type Kind,
  listenAddress,
  parsedBy,
  path,
  targetAddress,
} from "./options/kinds.ts";
import type { OptionTable, Program } from "./options/option_table.ts";
import {
  type Environment,
  type Parsed,
  parseOptions,
  type ReadOptions,
} from "./options/options.ts";
import { type Proxy, proxyFromEnvironment, proxyOrNone } from "./proxy.ts";
import {
  exitCodes,
  graceOption,
  type LogFormat,
  type LogLevel,
  logOptions,
  maxHeaderBytesOption,
} from "./shared_options.ts";
import { version } from "./version.ts";

/** What the agent runs with; frozen. */
export interface AgentOptions {
  /** `wss://` or, when that was allowed, `ws://`; without credentials and fragment. */
  readonly serverUrl: string;
  /** Shown to the relay. A secret. */
  readonly token: string;
  /** TLS with the relay; has no use when `serverUrl` is `ws://`. */
  readonly serverTls: ServerTls;
  /** The HTTP proxy on the way to the relay; undefined is none. */
  readonly proxy?: RelayProxy | undefined;
  /** All that the agent dials, whatever a relay asks. */
  readonly target: TargetAddress;
  /** TLS with the target; undefined is plain TCP. */
  readonly targetTls?: TargetTls | undefined;
  /** File of the credential that each request gets; read for each request, undefined injects none. */
  readonly saTokenPath?: string | undefined;
  /** Longest wait between two attempts to reach the relay. */
  readonly maxRetryMs: number;
  /** Sessions that are kept up at once. */
  readonly connections: number;
  /** Limit on the streams of one session that are open at once. */
  readonly maxConns: number;
  /** Time for a connection to the target to be made, TLS included. */
  readonly dialTimeoutMs: number;
  /** Idle connections to the target that are kept; 0 keeps none. */
  readonly poolSize: number;
  /** Time that an idle connection is kept. */
  readonly poolIdleTimeoutMs: number;
  /** Limit on the head of a request or response. */
  readonly maxHeaderBytes: number;
  /** Listener for probes and metrics; undefined is none. */
  readonly healthAddr?: ListenAddress | undefined;
  /** Time for open streams to finish when the agent stops; 0 is none. */
  readonly graceMs: number;
  readonly logLevel: LogLevel;
  readonly logFormat: LogFormat;
  /** One line each, to be logged at start. */
  readonly warnings: readonly string[];
}

/** How the agent verifies the relay and shows who it is; PEM text as it was at start. */
export interface ServerTls {
  /** What the relay's certificate must hold, and the name asked for; undefined is the URL's host. */
  readonly serverName?: string | undefined;
  /** CA of the relay's certificate; without it, the public ones that Deno brings count. */
  readonly caPath?: string | undefined;
  readonly caPem?: string | undefined;
  /** The agent's own certificate and key: all four or none. */
  readonly certPath?: string | undefined;
  readonly certPem?: string | undefined;
  readonly keyPath?: string | undefined;
  readonly keyPem?: string | undefined;
}

/** The proxy, and how the agent verifies it if it is reached by TLS. */
export interface RelayProxy extends Proxy {
  /** CA of the proxy's certificate; without it, the public ones that Deno brings count. */
  readonly caPath?: string | undefined;
  readonly caPem?: string | undefined;
}

/** How the agent verifies the target; PEM text as it was at start. */
export interface TargetTls {
  /** True when the target's certificate is not verified; there is no CA then. */
  readonly isInsecure: boolean;
  /** What the target's certificate must hold, and the name asked for; undefined is the target's. */
  readonly serverName?: string | undefined;
  /** CA of the target's certificate, besides the public ones that Deno brings. */
  readonly caPath?: string | undefined;
  readonly caPem?: string | undefined;
}

const SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount";

const serverUrl: Kind<URL> = {
  placeholder: "URL",
  schema: parsedBy(
    (text) => URL.parse(text) ?? undefined,
    "must be a WebSocket URL such as wss://relay.example.com/connect",
  ).pipe(
    z.instanceof(URL)
      .refine((url) => ["ws:", "wss:"].includes(url.protocol), {
        error: "must begin with wss:// or ws://",
        abort: true,
      })
      .refine((url) => url.username === "" && url.password === "", {
        error: "must not hold a user name or password; the agent shows its --token",
        abort: true,
      })
      .refine((url) => !url.href.includes("#"), { error: 'must not have a part behind "#"' }),
  ),
};

const token: Kind<string> = {
  placeholder: "TOKEN",
  // Spaces at the ends of a header's value are no part of it.
  schema: z.string().trim().regex(TOKEN_PATTERN, TOKEN_EXPECTED),
};

const table = {
  server: {
    name: "server",
    env: "SERVER_URL",
    group: "Relay",
    kind: serverUrl,
    isRequired: true,
    description: "WebSocket URL of the relay's public listener: wss://HOST[:PORT]/connect",
  },
  token: {
    name: "token",
    env: "TOKEN",
    group: "Relay",
    kind: token,
    isRequired: true,
    isSecret: true,
    description: "Token of this cluster in the relay's clusters file; better in the environment, " +
      "because other users of the machine can see command lines",
  },
  serverCaCert: {
    name: "server-ca-cert",
    env: "SERVER_CA_CERT",
    group: "Relay",
    kind: path,
    description: "CA certificates in PEM that the relay's certificate is verified with; without " +
      "it, public CAs",
  },
  serverName: {
    name: "server-name",
    env: "SERVER_NAME",
    group: "Relay",
    kind: hostName,
    description: "Name that the relay's certificate must hold and that TLS asks for, where it is " +
      "another than the host in --server",
  },
  clientCert: {
    name: "client-cert",
    env: "CLIENT_CERT",
    group: "Relay",
    kind: path,
    description: "Certificate chain in PEM that the agent shows to the relay; needs --client-key",
  },
  clientKey: {
    name: "client-key",
    env: "CLIENT_KEY",
    group: "Relay",
    kind: path,
    description: "Its private key in PEM, without a passphrase; needs --client-cert",
  },
  allowInsecureServer: {
    name: "allow-insecure-server",
    env: "ALLOW_INSECURE_SERVER",
    group: "Relay",
    kind: boolean,
    default: "false",
    description: "Allow ws://, which shows the token to everybody on the way; for tests only",
  },
  proxy: {
    name: "proxy",
    env: "PROXY",
    group: "Relay",
    kind: proxyOrNone,
    isSecret: true,
    description: "HTTP proxy on the way to the relay, http:// or https://, with credentials as " +
      "http://USER:PASSWORD@HOST:PORT; without it, HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and " +
      'NO_PROXY count; "none" is no proxy, whatever they say',
  },
  proxyCaCert: {
    name: "proxy-ca-cert",
    env: "PROXY_CA_CERT",
    group: "Relay",
    kind: path,
    description: "CA certificates in PEM that the certificate of an https:// proxy is verified " +
      "with; without it, public CAs",
  },
  connections: {
    name: "connections",
    env: "CONNECTIONS",
    group: "Relay",
    kind: integer({ min: 1, max: 16 }),
    default: "1",
    description: "Sessions that are kept up at once; with several relays behind one name, 2 or " +
      "more end on more than one, and a lost relay costs nothing",
  },
  target: {
    name: "target",
    env: "TARGET",
    group: "Target",
    kind: targetAddress,
    default: "kubernetes.default.svc:443",
    description: "The API server or HTTP service behind this agent; it dials nothing else",
  },
  saTokenPath: {
    name: "sa-token-path",
    env: "SA_TOKEN_PATH",
    group: "Target",
    kind: path,
    default: `${SERVICE_ACCOUNT}/token`,
    whenEmpty: "no credential",
    description:
      "File of the token that each request to the target gets; read again when it changes",
  },
  caCert: {
    name: "ca-cert",
    env: "CA_CERT",
    group: "Target",
    kind: path,
    default: `${SERVICE_ACCOUNT}/ca.crt`,
    whenEmpty: "public CAs alone",
    description: "CA certificates in PEM that the target's certificate is verified with",
  },
  tlsServerName: {
    name: "tls-server-name",
    env: "TLS_SERVER_NAME",
    group: "Target",
    kind: hostName,
    description: "Name that the target's certificate must hold and that TLS asks for, where it " +
      "is another than the host in --target",
  },
  insecure: {
    name: "insecure",
    env: "INSECURE",
    group: "Target",
    kind: boolean,
    default: "false",
    description: "Do not verify the target's certificate, for tests only; ignores --ca-cert, and " +
      "breaks off answers that have no length, as their end can't be told from a cut",
  },
  plainTarget: {
    name: "plain-target",
    env: "PLAIN_TARGET",
    group: "Target",
    kind: boolean,
    default: "false",
    description: "Speak plain HTTP with the target; ignores --ca-cert and --insecure",
  },
  healthAddr: {
    name: "health-addr",
    env: "HEALTH_ADDR",
    group: "Listeners",
    kind: listenAddress,
    default: ":8081",
    whenEmpty: "none",
    description: "Listen address of /healthz, /readyz and /metrics; port 0 takes a free one",
  },
  maxConns: {
    name: "max-conns",
    env: "MAX_CONNS",
    group: "Limits",
    kind: integer({ min: 1, max: 1_000_000 }),
    default: "1024",
    description: "Requests open at once in one session",
  },
  maxHeaderBytes: maxHeaderBytesOption,
  poolSize: {
    name: "pool-size",
    env: "POOL_SIZE",
    group: "Limits",
    kind: integer({ min: 0, max: 65_536 }),
    default: "256",
    description: "Idle connections to the target that are kept for the next requests; 0 keeps none",
  },
  poolIdleTimeoutMs: {
    name: "pool-idle-timeout",
    env: "POOL_IDLE_TIMEOUT",
    group: "Timeouts",
    kind: duration({ min: "1ms" }),
    default: "30s",
    description: "Time that an idle connection to the target is kept",
  },
  dialTimeoutMs: {
    name: "dial-timeout",
    env: "DIAL_TIMEOUT",
    group: "Timeouts",
    kind: duration({ min: "1ms" }),
    default: "10s",
    description: "Time for a connection to the target to be made, TLS included",
  },
  maxRetryMs: {
    name: "max-retry",
    env: "MAX_RETRY",
    group: "Timeouts",
    kind: duration({ min: "1ms" }),
    default: "60s",
    description: "Longest wait between two attempts to reach the relay",
  },
  graceMs: graceOption,
  ...logOptions,
} as const satisfies OptionTable;

const program: Program<typeof table> = {
  name: "agent",
  version,
  usage: "--server URL --token TOKEN [options]",
  summary: "The inner side of culvert, a reverse tunnel. Runs beside a Kubernetes API server or " +
    "any other HTTP service, dials out to a relay over WebSocket and waits. It sends the requests " +
    "that come through the tunnel to its one target, each with a credential read from disk, " +
    "which never leaves the cluster.",
  options: table,
  examples: [
    {
      title: "In a pod: the pod's own service account asks the cluster's API server",
      command: "TOKEN=… agent --server wss://relay.example.com/connect",
    },
    {
      title: "The same, where the relay demands client certificates",
      command: "TOKEN=… agent --server wss://relay.example.com/connect --client-cert tls.crt " +
        "--client-key tls.key",
    },
    {
      title: "Through an HTTP proxy that asks for credentials",
      command: "TOKEN=… PROXY=http://USER:PASSWORD@proxy.example.com:3128 \\\n      " +
        "agent --server wss://relay.example.com/connect",
    },
    {
      title: "On one machine: a plain HTTP service that needs no credential",
      command: "TOKEN=… agent --server ws://localhost:8443/connect --allow-insecure-server " +
        '\\\n      --target localhost:3000 --plain-target --sa-token-path ""',
    },
  ],
  exitCodes,
};

/**
 * Reads the agent's options and its certificates; the file of the target's credential is not read,
 * since it may appear and change later.
 *
 * @param argv the arguments after the program's name
 * @throws {ConfigError} for whatever the agent cannot run with; the message is one line
 */
export function parseAgentOptions(argv: readonly string[], env: Environment): Parsed<AgentOptions> {
  const parsed = parseOptions(program, argv, env);
  return parsed.kind === "run"
    ? { kind: "run", options: deepFreeze(build(parsed.options, env)) }
    : parsed;
}

type Read = ReadOptions<typeof table>;

function build(read: Read, env: Environment): AgentOptions {
  const { values } = read;
  refusePlainServer(read);
  const proxy = readProxy(read, env);
  const targetTls = readTargetTls(read);
  return {
    serverUrl: values.server.href,
    token: values.token,
    serverTls: readServerTls(read),
    ...(proxy && { proxy }),
    target: values.target,
    ...(targetTls && { targetTls }),
    ...(values.saTokenPath !== undefined && { saTokenPath: values.saTokenPath }),
    maxRetryMs: values.maxRetryMs,
    connections: values.connections,
    maxConns: values.maxConns,
    dialTimeoutMs: values.dialTimeoutMs,
    poolSize: values.poolSize,
    poolIdleTimeoutMs: values.poolIdleTimeoutMs,
    maxHeaderBytes: values.maxHeaderBytes,
    ...(values.healthAddr && { healthAddr: values.healthAddr }),
    graceMs: values.graceMs,
    logLevel: values.logLevel,
    logFormat: values.logFormat,
    warnings: warningsAbout(read),
  };
}

function isPlain(server: URL): boolean {
  return server.protocol === "ws:";
}

function refusePlainServer({ values, origins }: Read): void {
  if (!isPlain(values.server) || values.allowInsecureServer) return;
  throw new ConfigError(
    `${origins.server} begins with ws://, which shows the token to everybody on the way; ` +
      "use wss://, or for tests add --allow-insecure-server",
  );
}

function readServerTls({ values, origins }: Read): ServerTls {
  const { serverCaCert: caPath, clientCert: certPath, clientKey: keyPath } = values;
  if (certPath !== undefined && keyPath === undefined) {
    throw new ConfigError(`${origins.clientCert} needs --client-key as well`);
  }
  if (keyPath !== undefined && certPath === undefined) {
    throw new ConfigError(`${origins.clientKey} needs --client-cert as well`);
  }
  const ca = caPath !== undefined && {
    caPath,
    caPem: readCertificateFile({ origin: origins.serverCaCert, path: caPath }),
  };
  const own = certPath !== undefined && keyPath !== undefined && {
    certPath,
    certPem: readCertificateFile({ origin: origins.clientCert, path: certPath }),
    keyPath,
    keyPem: readPrivateKeyFile({ origin: origins.clientKey, path: keyPath }),
  };
  const { serverName } = values;
  return { ...(serverName !== undefined && { serverName }), ...ca, ...own };
}

function readProxy({ values, origins }: Read, env: Environment): RelayProxy | undefined {
  const proxy = values.proxy ?? proxyFromEnvironment(env, values.server);
  if (proxy === undefined || proxy === "none") return undefined;
  const caPath = values.proxyCaCert;
  if (caPath === undefined || !proxy.isTls) return proxy;
  return {
    ...proxy,
    caPath,
    caPem: readCertificateFile({ origin: origins.proxyCaCert, path: caPath }),
  };
}

function readTargetTls({ values, origins }: Read): TargetTls | undefined {
  if (values.plainTarget) return undefined;
  const { tlsServerName: serverName, caCert: caPath } = values;
  const name = serverName !== undefined && { serverName };
  if (values.insecure) return { isInsecure: true, ...name };
  if (caPath === undefined) return { isInsecure: false, ...name };
  const caPem = readCertificateFile({
    origin: origins.caCert,
    path: caPath,
    remedy: "give the target's CA with --ca-cert, or --plain-target for a target without TLS",
  });
  return { isInsecure: false, ...name, caPath, caPem };
}

function warningsAbout({ values, origins }: Read): string[] {
  const warnings: string[] = [];
  if (isPlain(values.server)) {
    warnings.push(`${origins.server} begins with ws://: the token can be read on the way`);
    if (values.clientCert !== undefined) {
      warnings.push(`${origins.clientCert} has no effect with ws://`);
    }
    if (values.serverName !== undefined) {
      warnings.push(`${origins.serverName} has no effect with ws://`);
    }
  }
  if (values.insecure && !values.plainTarget) {
    warnings.push(`${origins.insecure}: the target's certificate is not verified`);
  }
  const reason = values.saTokenPath === undefined ? undefined : whyUnreadable(values.saTokenPath);
  if (reason !== undefined) {
    warnings.push(
      `${origins.saTokenPath} names ${JSON.stringify(values.saTokenPath)}, which cannot be read ` +
        `yet: ${reason}; requests fail until it can`,
    );
  }
  return warnings;
}
