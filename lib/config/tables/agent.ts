/** The agent's options. */
import { z } from "zod";
import { bareToken, TOKEN_EXPECTED, TOKEN_PATTERN } from "../entries/token_schemas.ts";
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
} from "../options/kinds.ts";
import type { CommandProgram, OptionTable, Program } from "../options/option_table.ts";
import { claims } from "../claims.ts";
import { proxyOrNone } from "../proxy.ts";
import { version } from "../version.ts";
import { exitCodes, graceOption, logTable, maxHeaderBytesOption } from "./shared.ts";

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
  schema: z.string().trim().pipe(bareToken).pipe(z.string().regex(TOKEN_PATTERN, TOKEN_EXPECTED)),
};

/** All options of the agent. */
export const agentTable = {
  server: {
    name: "server",
    env: "SERVER_URL",
    group: "Relay",
    kind: serverUrl,
    isRequired: true,
    description: "WebSocket URL of the relay's public listener: `wss://HOST[:PORT]/connect`",
  },
  token: {
    name: "token",
    env: "TOKEN",
    group: "Relay",
    kind: token,
    isSecret: true,
    description:
      "Token of this cluster in the relay's clusters file; better in the environment, because other users of the machine can see command lines; required unless there is `--token-file`",
  },
  tokenFile: {
    name: "token-file",
    env: "TOKEN_FILE",
    group: "Relay",
    kind: path,
    description:
      "File that holds the token instead; when it changes, the agent connects with the new token, and requests that are open finish",
  },
  serverCaCert: {
    name: "server-ca-cert",
    env: "SERVER_CA_CERT",
    group: "Relay",
    kind: path,
    description:
      "CA certificates in PEM that verify the relay's certificate; without it, public CAs",
    see: "certificates.md",
  },
  serverName: {
    name: "server-name",
    env: "SERVER_NAME",
    group: "Relay",
    kind: hostName,
    description:
      "Name that the relay's certificate must hold and that TLS asks for, if it differs from the host in `--server`",
  },
  clientCert: {
    name: "client-cert",
    env: "CLIENT_CERT",
    group: "Relay",
    kind: path,
    description: "Certificate chain in PEM that the agent shows to the relay; needs `--client-key`",
  },
  clientKey: {
    name: "client-key",
    env: "CLIENT_KEY",
    group: "Relay",
    kind: path,
    description:
      "Private key of that certificate in PEM, without a passphrase; needs `--client-cert`",
  },
  allowInsecureServer: {
    name: "allow-insecure-server",
    env: "ALLOW_INSECURE_SERVER",
    group: "Relay",
    kind: boolean,
    default: "false",
    description: "Allow `ws://`, which exposes the token to the network; for tests only",
  },
  proxy: {
    name: "proxy",
    env: "PROXY",
    group: "Relay",
    kind: proxyOrNone,
    isSecret: true,
    description:
      "HTTP proxy on the way to the relay, `http://` or `https://`, with credentials as `http://USER:PASSWORD@HOST:PORT`; without it, `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` count; `none` is no proxy, whatever they say",
    see: "configuration.md#through-a-proxy",
  },
  proxyFile: {
    name: "proxy-file",
    env: "PROXY_FILE",
    group: "Relay",
    kind: path,
    description:
      "File that holds the proxy's URL, or `none`, instead; when it changes, the agent uses the new proxy from its next connection on, and an open session stays",
  },
  proxyCaCert: {
    name: "proxy-ca-cert",
    env: "PROXY_CA_CERT",
    group: "Relay",
    kind: path,
    description:
      "CA certificates in PEM that verify the certificate of an `https://` proxy; without it, public CAs",
  },
  connections: {
    name: "connections",
    env: "CONNECTIONS",
    group: "Relay",
    kind: integer({ min: 1, max: 16 }),
    default: "1",
    description:
      "Sessions kept open at once; with several relays behind one name, 2 or more go to different relays, so that the cluster stays reachable when one relay is lost; needs relays that speak version 2",
    see: "high-availability.md#several-relays",
    chart: { name: "connections" },
  },
  target: {
    name: "target",
    env: "TARGET",
    group: "Target",
    kind: targetAddress,
    default: "kubernetes.default.svc:443",
    description:
      "The API server or HTTP service behind this agent; without `--targets`, the only address that it connects to",
  },
  targets: {
    name: "targets",
    env: "TARGETS",
    group: "Target",
    kind: path,
    description:
      "File of named targets, YAML or JSON, read again when it changes; with it, `--target`, `--sa-token-path` and `--ca-cert` have no defaults",
    see: "services.md#targets-of-an-agent",
  },
  hostname: {
    name: "hostname",
    env: "HOSTNAMES",
    group: "Target",
    kind: claims,
    placeholder: "HOSTNAME",
    isRepeatable: true,
    description:
      "Hostname that the agent asks the relay to publish its target at; the cluster's entry must list it; with several targets, `HOSTNAME=TARGET`",
    see: "services.md#hostnames-that-an-agent-claims",
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
    description: "CA certificates in PEM that verify the target's certificate, besides public CAs",
  },
  tlsServerName: {
    name: "tls-server-name",
    env: "TLS_SERVER_NAME",
    group: "Target",
    kind: hostName,
    description:
      "Name that the target's certificate must hold and that TLS asks for, if it differs from the host in `--target`",
  },
  insecure: {
    name: "insecure",
    env: "INSECURE",
    group: "Target",
    kind: boolean,
    default: "false",
    description:
      "Do not verify the target's certificate, for tests only; ignores `--ca-cert`, and breaks off responses without a length, because their end can't be told from a cut",
  },
  plainTarget: {
    name: "plain-target",
    env: "PLAIN_TARGET",
    group: "Target",
    kind: boolean,
    default: "false",
    description: "Speak plain HTTP with the target; ignores `--ca-cert` and `--insecure`",
  },
  healthAddr: {
    name: "health-addr",
    env: "HEALTH_ADDR",
    group: "Listeners",
    kind: listenAddress,
    default: ":8081",
    defaultOutsidePod: "127.0.0.1:8081",
    whenEmpty: "none",
    description:
      "Listen address for `/healthz`, `/readyz`, `/targets` and `/metrics`, always plain HTTP; port 0 takes a free one",
  },
  maxConns: {
    name: "max-conns",
    env: "MAX_CONNS",
    group: "Limits",
    kind: integer({ min: 1, max: 1_000_000 }),
    default: "1024",
    description: "Open requests in one session",
    chart: { name: "maxConns" },
  },
  maxHeaderBytes: maxHeaderBytesOption,
  poolSize: {
    name: "pool-size",
    env: "POOL_SIZE",
    group: "Limits",
    kind: integer({ min: 0, max: 65_536 }),
    default: "256",
    description: "Idle connections to the target kept for later requests; 0 keeps none",
    chart: { name: "poolSize" },
  },
  poolIdleTimeoutMs: {
    name: "pool-idle-timeout",
    env: "POOL_IDLE_TIMEOUT",
    group: "Timeouts",
    kind: duration({ min: "1ms" }),
    default: "30s",
    description: "Time that an idle connection to the target is kept",
    chart: { name: "poolIdleTimeout" },
  },
  dialTimeoutMs: {
    name: "dial-timeout",
    env: "DIAL_TIMEOUT",
    group: "Timeouts",
    kind: duration({ min: "1ms" }),
    default: "10s",
    description: "Time to connect to the target, TLS included",
    chart: { name: "dialTimeout" },
  },
  maxRetryMs: {
    name: "max-retry",
    env: "MAX_RETRY",
    group: "Timeouts",
    kind: duration({ min: "1ms" }),
    default: "60s",
    description: "Longest wait between two attempts to reach the relay",
    chart: { name: "maxRetryInterval", default: "60s" },
  },
  graceMs: graceOption,
  ...logTable,
} as const satisfies OptionTable;

/** `agent check` as its help text presents it. */
export const agentCheckProgram: CommandProgram<typeof agentTable> = {
  name: "agent check",
  word: "check",
  title: "Test the connections to relay and target with the agent's options, and say what is wrong",
  version,
  usage: "--server URL --token TOKEN [options]",
  summary: "Takes the agent's options and environment, and prints one line for each thing that " +
    "must work: names, connections, the proxy, TLS and the dates of certificates, a handshake " +
    "with the relay by --token, and a request to the target, GET /version, with the token in " +
    "--sa-token-path. A line begins with ok, with FAIL and what to do, or with skip where a check " +
    "before it has failed. The check ends within a minute, prints no credential, and leaves a " +
    "running agent alone: its handshake ends before the relay would give it requests.",
  options: agentTable,
  examples: [
    {
      title: "In a pod: with the options that the agent has, or will have",
      command: "TOKEN=… agent check --server wss://relay.example.com/connect",
    },
    {
      title: "On one machine: a plain HTTP service that needs no credential",
      command: "TOKEN=… agent check --server ws://localhost:8443/connect " +
        '--allow-insecure-server \\\n      --target localhost:3000 --plain-target --sa-token-path ""',
    },
  ],
  exitCodes: [
    { code: 0, meaning: "All is well" },
    { code: 1, meaning: "Something failed; its line says FAIL" },
    { code: 2, meaning: "Tried nothing: a wrong option or file" },
  ],
};

/** The agent as its help text presents it. */
export const agentProgram: Program<typeof agentTable> = {
  name: "agent",
  version,
  usage: "--server URL --token TOKEN [options]",
  commands: [agentCheckProgram],
  summary: "The inner side of culvert, a reverse tunnel. Runs beside a Kubernetes API server or " +
    "any other service, connects to a relay over WebSocket and waits. It sends the requests that " +
    "come through the tunnel to its target, each with a credential read from disk, which never " +
    "leaves the cluster. With a targets file it serves several services by name, TCP too.",
  options: agentTable,
  chart: "culvert-agent",
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
    {
      title: "Several services, each under a name of its own, and a hostname for one of them",
      command:
        "TOKEN=… agent --server wss://relay.example.com/connect --targets targets.yaml \\\n" +
        "      --hostname hello.example.com=web",
    },
  ],
  exitCodes,
};
