import assert from "node:assert/strict";
import { parseAgentOptions } from "../../../lib/config/agent_options.ts";
import {
  type Environment,
  type Parsed,
  parseOptions,
} from "../../../lib/config/options/options.ts";
import { parseRelayOptions } from "../../../lib/config/relay_options.ts";
import { choice } from "../../../lib/config/options/kinds.ts";
import { version } from "../../../lib/config/version.ts";

type Parse = (argv: readonly string[], env: Environment) => Parsed<unknown>;

function helpOf(parse: Parse): string {
  const parsed = parse(["--help"], {});
  assert.ok(parsed.kind === "help");
  return parsed.text;
}

/** The help text's options by name, each with all that is said about it in one line. */
function describedOptions(help: string): Map<string, string> {
  const entries = help.split(/\n(?= {2}--)/).map((entry) => entry.replaceAll(/\s+/g, " ").trim());
  return new Map(entries.flatMap((entry) => {
    const name = /^--([\w-]+) /.exec(entry)?.[1];
    return name === undefined ? [] : [[name, entry] as const];
  }));
}

const RELAY_ENVIRONMENT = {
  "addr": "ADDR",
  "internal-addr": "INTERNAL_ADDR",
  "health-addr": "HEALTH_ADDR",
  "web-addr": "WEB_ADDR",
  "web-certs": "WEB_CERTS",
  "web-relay-host": "WEB_RELAY_HOST",
  "trusted-proxies": "TRUSTED_PROXIES",
  "proxy-protocol": "PROXY_PROTOCOL",
  "clusters": "CLUSTERS",
  "services": "SERVICES",
  "session-keys": "SESSION_KEYS",
  "assertion-keys": "ASSERTION_KEYS",
  "callers": "CALLERS",
  "hosts": "HOSTS",
  "caller-tokens": "CALLER_TOKENS",
  "caller-certificates": "CALLER_CERTIFICATES",
  "caller-jwt-issuer": "CALLER_JWT_ISSUER",
  "caller-jwt-audience": "CALLER_JWT_AUDIENCE",
  "caller-jwks-url": "CALLER_JWKS_URL",
  "caller-jwt-rules": "CALLER_JWT_RULES",
  "tls-cert": "TLS_CERT",
  "tls-key": "TLS_KEY",
  "tls-client-ca": "TLS_CLIENT_CA",
  "caller-ca": "CALLER_CA",
  "workers": "WORKERS",
  "directory": "DIRECTORY",
  "advertise": "ADVERTISE",
  "relay-token": "RELAY_TOKEN",
  "relay-token-file": "RELAY_TOKEN_FILE",
  "relay-ca": "RELAY_CA",
  "admin-addr": "ADMIN_ADDR",
  "admin-tokens": "ADMIN_TOKENS",
  "admin-hosts": "ADMIN_HOSTS",
  "state": "STATE",
  "rate-limit": "RATE_LIMIT",
  "cluster-rate-limit": "CLUSTER_RATE_LIMIT",
  "max-requests": "MAX_REQUESTS",
  "cluster-max-requests": "CLUSTER_MAX_REQUESTS",
  "bandwidth": "BANDWIDTH",
  "cluster-bandwidth": "CLUSTER_BANDWIDTH",
  "max-streams": "MAX_STREAMS",
  "max-connections": "MAX_CONNECTIONS",
  "max-connections-per-address": "MAX_CONNECTIONS_PER_ADDRESS",
  "max-header-bytes": "MAX_HEADER_BYTES",
  "max-body-bytes": "MAX_BODY_BYTES",
  "response-timeout": "RESPONSE_TIMEOUT",
  "header-timeout": "HEADER_TIMEOUT",
  "idle-timeout": "IDLE_TIMEOUT",
  "drain-delay": "DRAIN_DELAY",
  "grace": "GRACE",
  "audit-log": "AUDIT_LOG",
  "audit-fail": "AUDIT_FAIL",
  "log-level": "LOG_LEVEL",
  "log-format": "LOG_FORMAT",
};

const AGENT_ENVIRONMENT = {
  "server": "SERVER_URL",
  "token": "TOKEN",
  "token-file": "TOKEN_FILE",
  "server-ca-cert": "SERVER_CA_CERT",
  "server-name": "SERVER_NAME",
  "client-cert": "CLIENT_CERT",
  "client-key": "CLIENT_KEY",
  "allow-insecure-server": "ALLOW_INSECURE_SERVER",
  "proxy": "PROXY",
  "proxy-file": "PROXY_FILE",
  "proxy-ca-cert": "PROXY_CA_CERT",
  "connections": "CONNECTIONS",
  "target": "TARGET",
  "targets": "TARGETS",
  "hostname": "HOSTNAMES",
  "sa-token-path": "SA_TOKEN_PATH",
  "ca-cert": "CA_CERT",
  "tls-server-name": "TLS_SERVER_NAME",
  "insecure": "INSECURE",
  "plain-target": "PLAIN_TARGET",
  "health-addr": "HEALTH_ADDR",
  "max-conns": "MAX_CONNS",
  "max-header-bytes": "MAX_HEADER_BYTES",
  "pool-size": "POOL_SIZE",
  "pool-idle-timeout": "POOL_IDLE_TIMEOUT",
  "dial-timeout": "DIAL_TIMEOUT",
  "max-retry": "MAX_RETRY",
  "grace": "GRACE",
  "log-level": "LOG_LEVEL",
  "log-format": "LOG_FORMAT",
};

const PROGRAMS: [string, Parse, Readonly<Record<string, string>>][] = [
  ["relay", parseRelayOptions, RELAY_ENVIRONMENT],
  ["agent", parseAgentOptions, AGENT_ENVIRONMENT],
];

for (const [name, parse, environment] of PROGRAMS) {
  Deno.test(`${name} --help tells each option with its environment variable`, () => {
    const described = describedOptions(helpOf(parse));
    described.delete("version");
    assert.deepEqual([...described.keys()], Object.keys(environment));
    for (const [option, variable] of Object.entries(environment)) {
      assert.match(described.get(option) ?? "", new RegExp(`\\(env ${variable}[;)]`), option);
    }
  });

  Deno.test(`${name} --help stays within 80 columns, without spaces at a line's end`, () => {
    for (const line of helpOf(parse).split("\n")) {
      assert.ok(line.length <= 80, `${line.length} columns: ${line}`);
      assert.doesNotMatch(line, /\s$|\u00a0/);
    }
  });

  Deno.test(`${name} --help has each option's description below it`, () => {
    const lines = helpOf(parse).split("\n");
    const below = lines.filter((_, index) => /^ {2}-/.test(lines[index - 1] ?? ""));
    assert.ok(below.length > Object.keys(environment).length);
    for (const line of below) assert.match(line, /^ {6}\S/);
  });

  Deno.test(`${name} --help has a usage line, examples and exit codes`, () => {
    const help = helpOf(parse);
    assert.ok(help.startsWith(`Usage: ${name} --`));
    assert.match(help, new RegExp(`\\nExamples:\\n  # .+\\n  .*${name} --`));
    assert.match(help, /\nExit codes:\n {2}0 {2}.+\n {2}1 {2}.+\n {2}2 {2}.+$/);
  });

  Deno.test(`${name} --help gives examples with options that exist`, () => {
    const examples = /\nExamples:\n(.*?)\n\n/s.exec(helpOf(parse))?.[1] ?? "";
    const used = [...examples.matchAll(/ --([\w-]+)/g)].map(([, option = ""]) => option);
    assert.ok(used.length > 0);
    for (const option of used) assert.ok(option in environment, option);
  });

  Deno.test(`${name} --version tells the version in deno.json`, () => {
    const config = JSON.parse(
      Deno.readTextFileSync(new URL("../../../deno.json", import.meta.url)),
    );
    assert.equal(version, config.version);
    assert.deepEqual(parse(["--version"], {}), {
      kind: "version",
      text: `culvert ${name} ${config.version}`,
    });
  });
}

Deno.test("--help tells defaults as they are documented", () => {
  const defaults = (parse: Parse) =>
    [...describedOptions(helpOf(parse))].flatMap(([name, entry]) => {
      const text = /[(;] ?default ([^;)]+)/.exec(entry)?.[1];
      return text === undefined ? [] : [`${name} ${text}`];
    });
  assert.deepEqual(defaults(parseRelayOptions), [
    "addr :8443",
    "internal-addr :8080",
    "workers 1",
    "rate-limit 0",
    "cluster-rate-limit 0",
    "max-requests 0",
    "cluster-max-requests 0",
    "bandwidth 0",
    "cluster-bandwidth 0",
    "max-streams 1024",
    "max-connections 16384",
    "max-connections-per-address 1024",
    "max-header-bytes 65536",
    "max-body-bytes 0",
    "response-timeout 5m",
    "header-timeout 30s",
    "idle-timeout 5m",
    "drain-delay 0s",
    "grace 30s",
    "audit-fail closed",
    "log-level info",
    "log-format auto",
  ]);
  assert.deepEqual(defaults(parseAgentOptions), [
    "connections 1",
    "target kubernetes.default.svc:443",
    "sa-token-path /var/run/secrets/kubernetes.io/serviceaccount/token",
    "ca-cert /var/run/secrets/kubernetes.io/serviceaccount/ca.crt",
    "health-addr :8081 in a pod, 127.0.0.1:8081 elsewhere",
    "max-conns 1024",
    "max-header-bytes 65536",
    "pool-size 256",
    "pool-idle-timeout 30s",
    "dial-timeout 10s",
    "max-retry 60s",
    "grace 30s",
    "log-level info",
    "log-format auto",
  ]);
});

Deno.test("--help lays out groups, wraps descriptions and keeps facts together", () => {
  const colour = {
    name: "colour",
    env: "COLOUR",
    group: "Looks",
    kind: choice("WORD", ["red", "blue"]),
    default: "red",
    description: "Colour of the thing, which may be any colour as long as it is red or blue",
  } as const;
  const program = {
    name: "paint",
    version: "1.0.0",
    usage: "[options]",
    summary: "Paints.",
    options: { colour },
    examples: [{ title: "Paint", command: "paint --colour red" }],
    exitCodes: [{ code: 0, meaning: "Painted" }],
  };
  const parsed = parseOptions(program, ["-h"], {});
  assert.ok(parsed.kind === "help");
  const [usage, summary, , ...sections] = parsed.text.split("\n\n");
  assert.equal(usage, "Usage: paint [options]");
  assert.equal(summary, "Paints.");
  assert.deepEqual(sections, [
    [
      "Looks:",
      "  --colour WORD",
      "      Colour of the thing, which may be any colour as long as it is red or blue",
      "      (env COLOUR; default red)",
    ].join("\n"),
    "Help:\n  -h, --help\n      Print this text and exit\n  --version\n      Print the version and exit",
    "Examples:\n  # Paint\n  paint --colour red",
    "Exit codes:\n  0  Painted",
  ]);
});

Deno.test("--help continues long commands as a shell reads them, and keeps options with their values", () => {
  const program = {
    name: "paint",
    version: "1.0.0",
    usage: "THING [options]\n--all [options]",
    summary: "Paints.",
    options: {},
    examples: [{
      title: "Everything",
      command:
        "paint --all --with brush-of-a-dozen-hairs --colour the-colour-of-the-evening-sky -v",
    }],
    exitCodes: [{ code: 0, meaning: "Painted" }],
  };
  const parsed = parseOptions(program, ["-h"], {});
  assert.ok(parsed.kind === "help");
  assert.ok(parsed.text.startsWith("Usage: paint THING [options]\n       paint --all [options]\n"));
  const lines = [
    "  paint --all --with brush-of-a-dozen-hairs \\",
    "      --colour the-colour-of-the-evening-sky -v",
  ];
  assert.ok(parsed.text.includes(`  # Everything\n${lines.join("\n")}\n`), parsed.text);
});
