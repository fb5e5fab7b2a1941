import assert from "node:assert/strict";
import { parseRelayOptions } from "../../lib/config/relay_options.ts";
import {
  assertRefused,
  CERTIFICATE_PEM,
  PRIVATE_KEY_PEM,
  refusalOf,
  runOptions,
  ScratchDirectory,
} from "./support.ts";

const TOKEN = "QZQZQZQZQZQZQZQZ";
const ENTRY = { id: "prod", token: TOKEN, targetAddr: "127.0.0.1:6443" };
const JSON_TEXT = JSON.stringify([ENTRY]);
const CLUSTERS = [{
  id: "prod",
  tokens: [{ name: "default", token: TOKEN }],
  targetAddr: "127.0.0.1:6443",
  impersonation: "refuse",
}];

/** Callers of another machine would need a credential; most tests are not about that. */
const ENV = { CLUSTERS: JSON_TEXT, INTERNAL_ADDR: "127.0.0.1:8080" };

function run(argv: readonly string[], env: Record<string, string> = ENV) {
  return runOptions(parseRelayOptions(argv, env));
}

Deno.test("parseRelayOptions reads the addresses of trusted proxies", () => {
  const { trustedProxies, proxyProtocol } = run([
    "--trusted-proxies",
    "10.0.0.0/8,fd00::/8",
    "--proxy-protocol",
  ]);
  assert.equal(trustedProxies?.has("10.1.2.3"), true);
  assert.equal(trustedProxies?.has("192.0.2.1"), false);
  assert.equal(proxyProtocol, true);
});

Deno.test("parseRelayOptions gives the documented defaults", () => {
  assert.deepEqual(run([]), {
    addr: { hostname: "", port: 8443 },
    internalAddr: { hostname: "127.0.0.1", port: 8080 },
    clusters: CLUSTERS,
    callers: { mode: "open", hosts: [] },
    limits: { requestsPerSecond: 0, openRequests: 0, bytesPerSecond: 0 },
    clusterLimits: { requestsPerSecond: 0, openRequests: 0, bytesPerSecond: 0 },
    proxyProtocol: false,
    responseTimeoutMs: 300_000,
    headerTimeoutMs: 30_000,
    idleTimeoutMs: 300_000,
    drainDelayMs: 0,
    graceMs: 30_000,
    maxHeaderBytes: 65_536,
    maxBodyBytes: 0,
    maxStreams: 1024,
    maxConnections: 16384,
    maxConnectionsPerAddress: 1024,
    workers: 1,
    auditFail: "closed",
    logLevel: "info",
    logFormat: "auto",
    warnings: [],
  });
});

Deno.test("parseRelayOptions reads every option, from the command line or the environment", () => {
  using scratch = new ScratchDirectory();
  const clustersPath = scratch.write("clusters.json", JSON_TEXT);
  const certPath = scratch.write("tls.crt", CERTIFICATE_PEM);
  const keyPath = scratch.write("tls.key", PRIVATE_KEY_PEM);
  const clientCaPath = scratch.write("ca.crt", CERTIFICATE_PEM);
  const callerCaPath = scratch.write("callers.crt", CERTIFICATE_PEM);
  const given = {
    "addr": "127.0.0.1:0",
    "internal-addr": "[::1]:9090",
    "clusters": clustersPath,
    "rate-limit": "12.5",
    "callers": "Known",
    "hosts": "Relay.example.com,relay",
    "cluster-rate-limit": "2.5",
    "max-requests": "7",
    "cluster-max-requests": "3",
    "bandwidth": "1000000",
    "cluster-bandwidth": "1000",
    "header-timeout": "10s",
    "idle-timeout": "1m",
    "tls-cert": certPath,
    "tls-key": keyPath,
    "tls-client-ca": clientCaPath,
    "caller-ca": callerCaPath,
    "audit-log": "audit.log",
    "audit-fail": "OPEN",
    "log-level": "DEBUG",
    "log-format": "json",
    "drain-delay": "5s",
    "grace": "0",
    "response-timeout": "1m30s",
    "max-header-bytes": "1024",
    "max-body-bytes": "5000000000",
    "max-streams": "1",
    "max-connections": "500",
    "max-connections-per-address": "5",
    "workers": "4",
  };
  const expected = {
    addr: { hostname: "127.0.0.1", port: 0 },
    internalAddr: { hostname: "::1", port: 9090 },
    clusters: CLUSTERS,
    clustersSource: {
      path: clustersPath,
      files: [{ path: clustersPath, text: JSON_TEXT }],
    },
    callers: { mode: "known", hosts: ["relay.example.com", "relay"] },
    limits: { requestsPerSecond: 12.5, openRequests: 7, bytesPerSecond: 1_000_000 },
    clusterLimits: { requestsPerSecond: 2.5, openRequests: 3, bytesPerSecond: 1_000 },
    tls: {
      certPath,
      certPem: CERTIFICATE_PEM,
      keyPath,
      keyPem: PRIVATE_KEY_PEM,
      clientCaPath,
      clientCaPem: CERTIFICATE_PEM,
      callerCaPath,
      callerCaPem: CERTIFICATE_PEM,
    },
    proxyProtocol: false,
    responseTimeoutMs: 90_000,
    headerTimeoutMs: 10_000,
    idleTimeoutMs: 60_000,
    drainDelayMs: 5_000,
    graceMs: 0,
    maxHeaderBytes: 1024,
    maxBodyBytes: 5_000_000_000,
    maxStreams: 1,
    maxConnections: 500,
    maxConnectionsPerAddress: 5,
    workers: 4,
    auditLog: "audit.log",
    auditFail: "open",
    logLevel: "debug",
    logFormat: "json",
    warnings: [],
  };
  const entries = Object.entries(given);
  assert.deepEqual(run(entries.flatMap(([name, value]) => [`-${name}`, value]), {}), expected);
  const env = entries.map(([name, value]) => [name.toUpperCase().replaceAll("-", "_"), value]);
  assert.deepEqual(run([], Object.fromEntries(env)), expected);
});

Deno.test("parseRelayOptions takes clusters as JSON on the command line and in the environment", () => {
  const { INTERNAL_ADDR } = ENV;
  assert.deepEqual(run(["-clusters", JSON_TEXT], { INTERNAL_ADDR }).clusters, CLUSTERS);
  assert.deepEqual(run([], { ...ENV, CLUSTERS: `\n  ${JSON_TEXT}\n` }).clusters, CLUSTERS);
  assert.deepEqual(
    run(["-clusters", JSON_TEXT], { ...ENV, CLUSTERS: "/nowhere.json" }).clusters,
    CLUSTERS,
  );
});

Deno.test("parseRelayOptions takes TLS without client certificates", () => {
  using scratch = new ScratchDirectory();
  const certPath = scratch.write("tls.crt", CERTIFICATE_PEM);
  const keyPath = scratch.write("tls.key", PRIVATE_KEY_PEM);
  assert.deepEqual(run(["-tls-cert", certPath, "-tls-key", keyPath]).tls, {
    certPath,
    certPem: CERTIFICATE_PEM,
    keyPath,
    keyPem: PRIVATE_KEY_PEM,
  });
});

Deno.test("parseRelayOptions freezes its result down to the last entry", () => {
  const options = run([]);
  for (const part of [options, options.addr, options.clusters, options.clusters[0]]) {
    assert.ok(Object.isFrozen(part));
  }
  assert.ok(Object.isFrozen(options.warnings));
});

Deno.test("parseRelayOptions passes on the warnings about clusters", () => {
  const clusters = JSON.stringify([{ ...ENTRY, token: "dev-token" }]);
  const about = 'entry 1 ("prod"): token: is shorter than 16 characters and can be guessed';
  assert.deepEqual(run(["-clusters", clusters]).warnings, [`Option --clusters, ${about}`]);
  using scratch = new ScratchDirectory();
  const path = scratch.write("x.json", clusters);
  assert.deepEqual(run([], { ...ENV, CLUSTERS: path }).warnings, [
    `Clusters file "${path}", ${about}`,
  ]);
});

Deno.test("parseRelayOptions takes a directory of clusters, as Kubernetes mounts one", () => {
  using scratch = new ScratchDirectory();
  Deno.mkdirSync(`${scratch.path}/..2026`);
  scratch.write("..2026/b.json", JSON_TEXT);
  scratch.write("..2026/a.json", JSON.stringify({ ...ENTRY, id: "test", token: `${TOKEN}-2` }));
  Deno.symlinkSync("..2026", `${scratch.path}/..data`);
  for (const name of ["a.json", "b.json"]) {
    Deno.symlinkSync(`..data/${name}`, `${scratch.path}/${name}`);
  }
  const { clusters, clustersSource, warnings } = run(["-clusters", `${scratch.path}/`]);
  assert.deepEqual(clusters.map(({ id }) => id), ["test", "prod"], "in the order of the names");
  assert.deepEqual(clustersSource?.files.map(({ path }) => path), [
    `${scratch.path}/a.json`,
    `${scratch.path}/b.json`,
  ]);
  assert.deepEqual(warnings, []);
});

Deno.test("parseRelayOptions refuses certificateName unless agents must show a certificate", () => {
  using scratch = new ScratchDirectory();
  const clusters = JSON.stringify([{ ...ENTRY, certificateName: "agent.prod" }]);
  const tls = [
    ...["-tls-cert", scratch.write("tls.crt", CERTIFICATE_PEM)],
    ...["-tls-key", scratch.write("tls.key", PRIVATE_KEY_PEM)],
  ];
  for (const args of [[], tls]) {
    assertRefused(
      () => run(["-clusters", clusters, ...args], {}),
      'Option --clusters, entry 1 ("prod"): certificateName: needs --tls-client-ca, without which ' +
        "agents show no certificate",
    );
  }
  const mutual = [...tls, "-tls-client-ca", scratch.write("ca.crt", CERTIFICATE_PEM)];
  const options = run(["-clusters", clusters, ...mutual], {});
  assert.deepEqual(options.clusters[0]?.certificateNames, ["agent.prod"]);
});

Deno.test("parseRelayOptions demands clusters", () => {
  assertRefused(
    () => parseRelayOptions([], {}),
    "Option --clusters is required: give --clusters FILE|DIR|JSON or the environment variable " +
      "CLUSTERS",
  );
});

Deno.test("parseRelayOptions refuses a mistyped option with the nearest name", () => {
  assertRefused(
    () => parseRelayOptions(["--clutsers", "x.json"], {}),
    "Unknown option --clutsers; did you mean --clusters? Run relay --help",
  );
});

Deno.test("parseRelayOptions refuses clusters that cannot be read", () => {
  using scratch = new ScratchDirectory();
  const [empty, nested] = [`${scratch.path}/empty`, `${scratch.path}/nested`];
  Deno.mkdirSync(empty);
  scratch.write("empty/.hidden.json", JSON_TEXT);
  scratch.write("empty/readme.txt", "");
  Deno.mkdirSync(`${nested}/x.json`, { recursive: true });
  const dangling = `${scratch.path}/dangling`;
  Deno.mkdirSync(dangling);
  Deno.symlinkSync("..data/x.json", `${dangling}/x.json`);
  const wrong = scratch.write("x.json", JSON.stringify([ENTRY, { ...ENTRY, token: "" }]));
  const cases: [string, string][] = [
    [
      `${scratch.path}/none.json`,
      `Option --clusters names "${scratch.path}/none.json", ` +
      "which cannot be read: there is no such file",
    ],
    [
      dangling,
      `Option --clusters names "${dangling}/x.json", which cannot be read: there is no such file`,
    ],
    [empty, `Clusters directory "${empty}" has no *.json file`],
    [
      nested,
      `Option --clusters names "${nested}/x.json", which cannot be read: it is a directory`,
    ],
    [
      `${wrong}/x.json`,
      `Option --clusters names "${wrong}/x.json", which cannot be read: there is no such file`,
    ],
    [wrong, `Clusters file "${wrong}", entry 2 ("prod"): token: must be a non-empty string`],
    [
      "[",
      "Option --clusters: it is not JSON at line 1, column 2; it must be a JSON array of clusters",
    ],
    [`{"prod": "${TOKEN}"}`, "Option --clusters: must be a JSON array of clusters"],
  ];
  for (const [clusters, message] of cases) {
    assertRefused(() => parseRelayOptions(["-clusters", clusters], {}), message);
  }
});

Deno.test("parseRelayOptions shows no clusters that were given in a form it does not know", () => {
  const notJson = 'must be the path of a JSON file, or JSON that begins with "["';
  const quotes = "quotes; leave them out, because nothing takes them off here";
  const noFile = "names a file, which cannot be read: there is no such file";
  const cases: [string, string][] = [
    [`'${JSON_TEXT}'`, `is in single ${quotes}`],
    [JSON.stringify(JSON_TEXT), `is in double ${quotes}`],
    [`- id: prod\n  token: ${TOKEN}`, notJson],
    [`prod=${TOKEN}`, noFile],
    [btoa(JSON_TEXT).slice(0, 200), noFile],
    ["x".repeat(5_000), "names a file, which cannot be read: the name is too long"],
  ];
  for (const [CLUSTERS, message] of cases) {
    assertRefused(
      () => parseRelayOptions([], { CLUSTERS }),
      `Environment variable CLUSTERS ${message}`,
    );
  }
});

Deno.test("parseRelayOptions never shows a token when the shell split the JSON", () => {
  const split = `-clusters [{"id": "prod", "token": "${TOKEN}"}]`.split(" ");
  assert.ok(!refusalOf(() => parseRelayOptions(split, {})).includes(TOKEN));
});

Deno.test("parseRelayOptions wants certificate and key together, and both for a client CA", () => {
  const cases: [string[], string][] = [
    [["--proxy-protocol"], "Option --proxy-protocol needs --trusted-proxies as well"],
    [
      ["--trusted-proxies", "10.1.2.3/8"],
      "Option --trusted-proxies must be IP addresses or ranges such as 10.0.0.0/8, separated by " +
      "commas; the bits of a range's address beyond its length must be 0, " +
      'but is "10.1.2.3/8"',
    ],
    [["-tls-cert", "x"], "Option --tls-cert needs --tls-key as well"],
    [["-tls-key", "x"], "Option --tls-key needs --tls-cert as well"],
    [["-caller-ca", "x"], "Option --caller-ca needs --tls-cert and --tls-key as well"],
    [["-tls-client-ca", "x"], "Option --tls-client-ca needs --tls-cert and --tls-key as well"],
    [["-tls-client-ca", "x", "-tls-cert", "x"], "Option --tls-cert needs --tls-key as well"],
  ];
  for (const [argv, message] of cases) assertRefused(() => run(argv), message);
  assertRefused(
    () => run([], { CLUSTERS: JSON_TEXT, TLS_KEY: "x" }),
    "Environment variable TLS_KEY needs --tls-cert as well",
  );
});

Deno.test("parseRelayOptions refuses TLS files that are not what they should be", () => {
  using scratch = new ScratchDirectory();
  const cert = scratch.write("tls.crt", CERTIFICATE_PEM);
  const key = scratch.write("tls.key", PRIVATE_KEY_PEM);
  const der = scratch.write("der.crt", "\u0030\u0082");
  const encrypted = scratch.write(
    "e.key",
    PRIVATE_KEY_PEM.replaceAll("PRIVATE", "ENCRYPTED PRIVATE"),
  );
  const legacy = scratch.write(
    "l.key",
    "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n-----END RSA PRIVATE KEY-----\n",
  );
  const none = `${scratch.path}/none.pem`;
  const missing = "which cannot be read: there is no such file";
  const notPem = "which is not PEM: it must have a line that begins with -----BEGIN";
  const noCertificate =
    "which holds no certificate: it must have a line -----BEGIN CERTIFICATE-----";
  const noKey = "which holds no private key: it must have a line -----BEGIN PRIVATE KEY-----";
  const withPassphrase = "which is encrypted: it must be a key without a passphrase";
  const cases: [[string, string, string], string][] = [
    [[none, key, cert], `Option --tls-cert names "${none}", ${missing}`],
    [[cert, none, cert], `Option --tls-key names "${none}", ${missing}`],
    [[cert, key, none], `Option --tls-client-ca names "${none}", ${missing}`],
    [[der, key, cert], `Option --tls-cert names "${der}", ${notPem}`],
    [[cert, der, cert], `Option --tls-key names "${der}", ${notPem}`],
    [[cert, key, der], `Option --tls-client-ca names "${der}", ${notPem}`],
    [[key, key, cert], `Option --tls-cert names "${key}", ${noCertificate}`],
    [[cert, cert, cert], `Option --tls-key names "${cert}", ${noKey}`],
    [[cert, encrypted, cert], `Option --tls-key names "${encrypted}", ${withPassphrase}`],
    [[cert, legacy, cert], `Option --tls-key names "${legacy}", ${withPassphrase}`],
  ];
  for (const [[certPath, keyPath, caPath], message] of cases) {
    const argv = ["-tls-cert", certPath, "-tls-key", keyPath, "-tls-client-ca", caPath];
    assertRefused(() => run(argv), message);
  }
});

Deno.test("parseRelayOptions shows no key that was given in place of its file", () => {
  using scratch = new ScratchDirectory();
  const certPath = scratch.write("tls.crt", CERTIFICATE_PEM);
  const env = { CLUSTERS: JSON_TEXT, TLS_CERT: certPath };
  assertRefused(
    () => run([], { ...env, TLS_KEY: PRIVATE_KEY_PEM }),
    "Environment variable TLS_KEY must be the path of a file, not the file's contents",
  );
  assertRefused(
    () => run([], { ...env, TLS_KEY: btoa(PRIVATE_KEY_PEM) }),
    "Environment variable TLS_KEY names a file, which cannot be read: there is no such file",
  );
});

Deno.test("parseRelayOptions refuses one address for two listeners, unless the port is free", () => {
  assertRefused(
    () => run(["-addr", ":8080"], { CLUSTERS: JSON_TEXT }),
    'Options --addr and --internal-addr are both ":8080"; each needs its own port',
  );
  assertRefused(
    () => run(["-health-addr", ":8443"]),
    'Options --addr and --health-addr are both ":8443"; each needs its own port',
  );
  assert.equal(run(["-addr", ":0", "-internal-addr", ":0", "-callers", "open"]).addr.port, 0);
  assert.equal(run([]).healthAddr, undefined);
  assert.deepEqual(run([], { ...ENV, HEALTH_ADDR: ":8082" }).healthAddr, {
    hostname: "",
    port: 8082,
  });
  assert.equal(
    run(["-addr", "127.0.0.1:8080", "-internal-addr", "127.0.0.2:8080"]).addr.port,
    8080,
  );
});

Deno.test("parseRelayOptions refuses values out of range", () => {
  const duration = "must be a duration with its unit (30s, 1m30s, 500ms) of at most 596h, or 0";
  const cases: [string[], string][] = [
    [["-rate-limit", "-1"], 'Option --rate-limit must be a number of at least 0, but is "-1"'],
    [["-grace", "30"], `Option --grace ${duration}, but is "30"`],
    [["-response-timeout", "never"], `Option --response-timeout ${duration}, but is "never"`],
    [
      ["-max-header-bytes", "1023"],
      'Option --max-header-bytes must be a whole number from 1024 to 1048576, but is "1023"',
    ],
    [
      ["-max-body-bytes", "1MB"],
      'Option --max-body-bytes must be a whole number of at least 0, but is "1MB"',
    ],
    [
      ["-max-streams", "0"],
      'Option --max-streams must be a whole number from 1 to 1000000, but is "0"',
    ],
    [
      ["-log-level", "trace"],
      'Option --log-level must be one of debug, info, warn, error, but is "trace"',
    ],
    [
      ["-log-format", "xml"],
      'Option --log-format must be one of text, json, auto, but is "xml"',
    ],
  ];
  for (const [argv, message] of cases) assertRefused(() => run(argv), message);
});
