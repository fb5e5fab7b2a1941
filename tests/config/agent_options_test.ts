import assert from "node:assert/strict";
import fc from "fast-check";
import { parseAgentOptions } from "../../lib/config/agent_options.ts";
import {
  assertRefused,
  CERTIFICATE_PEM,
  PRIVATE_KEY_PEM,
  refusalOf,
  runOptions,
  ScratchDirectory,
} from "./support.ts";

const TOKEN = "QZQZQZQZQZQZQZQZ";
const SERVER_URL = "wss://relay.example.com/connect";
const ENV = { SERVER_URL, TOKEN };
/** A target that needs no file. */
const PLAIN = ["-plain-target", "-sa-token-path="];

function run(argv: readonly string[], env: Record<string, string> = ENV) {
  return runOptions(parseAgentOptions(argv, env));
}

Deno.test("parseAgentOptions gives the documented defaults", () => {
  assert.deepEqual(run(PLAIN), {
    serverUrl: SERVER_URL,
    token: TOKEN,
    serverTls: {},
    target: { hostname: "kubernetes.default.svc", port: 443 },
    maxRetryMs: 60_000,
    connections: 1,
    maxConns: 1024,
    dialTimeoutMs: 10_000,
    poolSize: 256,
    poolIdleTimeoutMs: 30_000,
    maxHeaderBytes: 65_536,
    healthAddr: { hostname: "127.0.0.1", port: 8081 },
    graceMs: 30_000,
    logLevel: "info",
    logFormat: "auto",
    warnings: [],
  });
});

Deno.test("an agent's health listener is on all interfaces in a pod, and on loopback elsewhere", () => {
  const inPod = { ...ENV, KUBERNETES_SERVICE_HOST: "10.96.0.1" };
  assert.deepEqual(run(PLAIN, inPod).healthAddr, { hostname: "", port: 8081 });
  assert.deepEqual(run(PLAIN).healthAddr, { hostname: "127.0.0.1", port: 8081 });
  const given = run([...PLAIN, "--health-addr", ":9000"]);
  assert.deepEqual(given.healthAddr, { hostname: "", port: 9000 });
  assert.equal(run([...PLAIN, "--health-addr="]).healthAddr, undefined);
});

Deno.test("an agent asks for /connect where --server has no path", () => {
  const cases = [
    ["wss://relay.example.com", "wss://relay.example.com/connect"],
    ["wss://relay.example.com/", "wss://relay.example.com/connect"],
    ["wss://relay.example.com:8443", "wss://relay.example.com:8443/connect"],
    ["wss://relay.example.com?x=1", "wss://relay.example.com/connect?x=1"],
    ["wss://relay.example.com/connect", "wss://relay.example.com/connect"],
    ["wss://relay.example.com/behind/connect", "wss://relay.example.com/behind/connect"],
  ] as const;
  for (const [server, expected] of cases) {
    assert.equal(run([...PLAIN, "--server", server], { TOKEN }).serverUrl, expected);
  }
});

Deno.test("a token in quotes, behind Bearer, or with a carriage return says so, and is not shown", () => {
  const cases: [string, string][] = [
    [`"${TOKEN}"`, "is in double quotes; leave them out, because nothing takes them off here"],
    [`'${TOKEN}'`, "is in single quotes; leave them out, because nothing takes them off here"],
    [
      `\u201c${TOKEN}\u201d`,
      "is in typographic quotes; leave them out, because nothing takes " +
      "them off here",
    ],
    [`"${TOKEN}" # ours`, "begins with a quote; leave quotes out"],
    [`${TOKEN}'`, "ends with a quote; leave quotes out"],
    [`${TOKEN} # ours`, 'holds " #": a comment cannot stand behind it'],
    [`Bearer ${TOKEN}`, 'begins with "Bearer"; give the token alone'],
    [`bearer: ${TOKEN}`, 'begins with "bearer"; give the token alone'],
    [`Authorization: Bearer ${TOKEN}`, 'begins with "Authorization:"; give the token alone'],
    [`Basic ${TOKEN}`, 'begins with "Basic"; give the token alone'],
    [`${TOKEN}\r${TOKEN}`, "holds a carriage return (CR); leave it out"],
  ];
  for (const [text, message] of cases) {
    assertRefused(
      () => run(PLAIN, { SERVER_URL, TOKEN: text }),
      `Environment variable TOKEN ${message}`,
    );
    assertRefused(
      () => run([...PLAIN, "--token", text], { SERVER_URL }),
      `Option --token ${message}`,
    );
  }
  for (const text of ["bearer-of-news", "basically", "Tokens4all"]) {
    assert.equal(run(PLAIN, { SERVER_URL, TOKEN: text }).token, text);
  }
});

Deno.test("blanks and carriage returns at the ends of any variable are left out, with a warning", () => {
  const cr = "ends with a carriage return (CR), as a file with Windows line ends leaves it";
  const env = {
    ...ENV,
    TOKEN: `${TOKEN}\r`,
    TARGET: "10.0.0.1:6443 ",
    LOG_LEVEL: "debug\r",
    HEALTH_ADDR: " :8085",
    PLAIN_TARGET: "true\r",
  };
  const options = run(["--sa-token-path="], env);
  assert.equal(options.token, TOKEN);
  assert.deepEqual(options.target, { hostname: "10.0.0.1", port: 6443 });
  assert.equal(options.logLevel, "debug");
  assert.deepEqual(options.healthAddr, { hostname: "", port: 8085 });
  assert.deepEqual(options.warnings, [
    `Environment variable TOKEN ${cr}; it is left out`,
    "Environment variable TARGET ends with a blank; it is left out",
    `Environment variable PLAIN_TARGET ${cr}; it is left out`,
    "Environment variable HEALTH_ADDR begins with a blank; it is left out",
    `Environment variable LOG_LEVEL ${cr}; it is left out`,
  ]);
});

Deno.test("a variable that is not text is refused, without the runtime's own message", () => {
  const env = new Proxy({ ...ENV } as Record<string, string>, {
    get(target, name: string) {
      if (name === "TOKEN") throw new Error(`environment variable was not valid unicode: ${TOKEN}`);
      return target[name];
    },
  });
  assertRefused(
    () => run(PLAIN, env),
    "Environment variable TOKEN is not UTF-8; if a file holds its value, save that as UTF-8",
  );
});

Deno.test("parseAgentOptions reads every option, from the command line or the environment", () => {
  using scratch = new ScratchDirectory();
  const caPath = scratch.write("ca.crt", CERTIFICATE_PEM);
  const certPath = scratch.write("tls.crt", CERTIFICATE_PEM);
  const keyPath = scratch.write("tls.key", PRIVATE_KEY_PEM);
  const saTokenPath = scratch.write("token", "service-account");
  const given = {
    "server": "ws://127.0.0.1:8443/connect",
    "token": TOKEN,
    "target": "[::1]:6443",
    "sa-token-path": saTokenPath,
    "ca-cert": caPath,
    "insecure": "false",
    "plain-target": "false",
    "allow-insecure-server": "true",
    "server-ca-cert": caPath,
    "client-cert": certPath,
    "client-key": keyPath,
    "max-retry": "5s",
    "connections": "3",
    "max-conns": "7",
    "health-addr": "127.0.0.1:0",
    "log-level": "warn",
    "log-format": "text",
    "grace": "1s",
    "dial-timeout": "250ms",
    "pool-idle-timeout": "2m",
    "pool-size": "0",
    "max-header-bytes": "1048576",
  };
  const expected = (origins: readonly [string, string]) => ({
    serverUrl: given.server,
    token: TOKEN,
    serverTls: {
      caPath,
      caPem: CERTIFICATE_PEM,
      certPath,
      certPem: CERTIFICATE_PEM,
      keyPath,
      keyPem: PRIVATE_KEY_PEM,
    },
    target: { hostname: "::1", port: 6443 },
    targetTls: { isInsecure: false, caPath, caPem: CERTIFICATE_PEM },
    saTokenPath,
    maxRetryMs: 5_000,
    connections: 3,
    maxConns: 7,
    dialTimeoutMs: 250,
    poolSize: 0,
    poolIdleTimeoutMs: 120_000,
    maxHeaderBytes: 1_048_576,
    healthAddr: { hostname: "127.0.0.1", port: 0 },
    graceMs: 1_000,
    logLevel: "warn",
    logFormat: "text",
    warnings: [
      `${origins[0]} begins with ws://: the token can be read on the way`,
      `${origins[1]} has no effect with ws://`,
    ],
  });
  const entries = Object.entries(given);
  assert.deepEqual(
    run(entries.map(([name, value]) => `-${name}=${value}`), {}),
    expected(["Option --server", "Option --client-cert"]),
  );
  const env = entries.map(([name, value]) => [
    name === "server" ? "SERVER_URL" : name.toUpperCase().replaceAll("-", "_"),
    value,
  ]);
  assert.deepEqual(
    run([], Object.fromEntries(env)),
    expected(["Environment variable SERVER_URL", "Environment variable CLIENT_CERT"]),
  );
});

Deno.test("parseAgentOptions freezes its result", () => {
  const options = run(PLAIN);
  for (const part of [options, options.target, options.serverTls, options.warnings]) {
    assert.ok(Object.isFrozen(part));
  }
});

Deno.test("parseAgentOptions takes an empty path or address as none", () => {
  const { saTokenPath, healthAddr } = run(PLAIN, { ...ENV, HEALTH_ADDR: "" });
  assert.deepEqual({ saTokenPath, healthAddr }, { saTokenPath: undefined, healthAddr: undefined });
  assert.deepEqual(run(["-sa-token-path=", "-ca-cert="]).targetTls, { isInsecure: false });
});

Deno.test("parseAgentOptions reads no CA for a target that is not verified", () => {
  const noFile = ["-sa-token-path=", "-ca-cert=/nowhere/ca.crt"];
  assert.equal(run([...noFile, "-plain-target"]).targetTls, undefined);
  assert.equal(run([...noFile, "-plain-target", "-insecure"]).targetTls, undefined);
  assert.deepEqual(run([...noFile, "-insecure"]).targetTls, { isInsecure: true });
});

Deno.test("parseAgentOptions warns of what is not safe or will not work yet", () => {
  using scratch = new ScratchDirectory();
  const missing = `${scratch.path}/token`;
  assert.deepEqual(run(["-insecure", "-sa-token-path", missing]).warnings, [
    "Option --insecure: the target's certificate is not verified",
    `Option --sa-token-path names "${missing}", which cannot be read yet: ` +
    "there is no such file; requests fail until it can",
  ]);
  assert.deepEqual(run(["-plain-target", "-insecure", "-sa-token-path="]).warnings, []);
});

Deno.test("parseAgentOptions drops spaces and a line break around the token", () => {
  const { token, warnings } = run(PLAIN, { ...ENV, TOKEN: ` ${TOKEN} \n` });
  assert.equal(token, TOKEN);
  assert.deepEqual(warnings, ["Environment variable TOKEN ends with a blank; it is left out"]);
  assert.equal(run([...PLAIN, "-token", "two words"]).token, "two words");
});

Deno.test("parseAgentOptions demands server and token", () => {
  assertRefused(
    () => run(PLAIN, { TOKEN }),
    "Option --server is required: give --server URL or the environment variable SERVER_URL",
  );
  assertRefused(
    () => run(PLAIN, { SERVER_URL }),
    "Option --token is required: give --token TOKEN or --token-file FILE, or the environment variable TOKEN",
  );
});

Deno.test("parseAgentOptions refuses ws:// unless that is allowed", () => {
  const url = "ws://relay.example.com/connect?token=QZQZ";
  const rest = "begins with ws://, which shows the token to everybody on the way; " +
    "use wss://, or for tests add --allow-insecure-server";
  assertRefused(() => run([...PLAIN, "-server", url]), `Option --server ${rest}`);
  assertRefused(
    () => run(PLAIN, { ...ENV, SERVER_URL: url }),
    `Environment variable SERVER_URL ${rest}`,
  );
  assert.equal(run([...PLAIN, "-server", url, "-allow-insecure-server"]).serverUrl, url);
});

Deno.test("parseAgentOptions refuses what is no URL of a relay", () => {
  const begin = "Option --server";
  const cases: [string, string][] = [
    [
      "relay.example.com",
      `${begin} must be a WebSocket URL such as ${SERVER_URL}, but is "relay.example.com"`,
    ],
    [
      "wss://relay:99999/",
      `${begin} must be a WebSocket URL such as ${SERVER_URL}, but is "wss://relay:99999/"`,
    ],
    [
      "https://relay.example.com/connect?token=QZQZ",
      `${begin} must begin with wss:// or ws://, but is "https://relay.example.com/connect?…"`,
    ],
    ["localhost:8443", `${begin} must begin with wss:// or ws://, but is "localhost:8443"`],
    [
      "wss://user:QZQZ@relay.example.com/",
      `${begin} must not hold a user name or password; the agent shows its --token`,
    ],
    ["wss://relay/#QZ", `${begin} must not have a part behind "#", but is "wss://relay/#QZ"`],
  ];
  for (const [url, message] of cases) {
    assertRefused(() => run([...PLAIN, "-server", url]), message);
  }
});

Deno.test("parseAgentOptions refuses a target without a port", () => {
  assertRefused(
    () => run([...PLAIN, "-target", "kubernetes.default.svc"]),
    "Option --target must be HOST:PORT such as kubernetes.default.svc:443, 10.0.0.1:6443 or " +
      '[fd00::1]:6443, but is "kubernetes.default.svc"',
  );
});

Deno.test("parseAgentOptions wants client certificate and key together", () => {
  assertRefused(
    () => run([...PLAIN, "-client-cert", "x"]),
    "Option --client-cert needs --client-key as well",
  );
  assertRefused(
    () => run(PLAIN, { ...ENV, CLIENT_KEY: "x" }),
    "Environment variable CLIENT_KEY needs --client-cert as well",
  );
});

Deno.test("parseAgentOptions refuses certificates that cannot be read", () => {
  using scratch = new ScratchDirectory();
  const cert = scratch.write("tls.crt", CERTIFICATE_PEM);
  const key = scratch.write("tls.key", PRIVATE_KEY_PEM);
  const none = `${scratch.path}/none.pem`;
  const missing = `names "${none}", which cannot be read: there is no such file`;
  const cases: [string[], string][] = [
    [[...PLAIN, "-server-ca-cert", none], `Option --server-ca-cert ${missing}`],
    [[...PLAIN, "-client-cert", none, "-client-key", key], `Option --client-cert ${missing}`],
    [[...PLAIN, "-client-cert", cert, "-client-key", none], `Option --client-key ${missing}`],
    [
      [...PLAIN, "-client-cert", key, "-client-key", cert],
      `Option --client-cert names "${key}", which holds no certificate: ` +
      "it must have a line -----BEGIN CERTIFICATE-----",
    ],
    [
      ["-ca-cert", none],
      `Option --ca-cert ${missing}; ` +
      "give the target's CA with --ca-cert, or --plain-target for a target without TLS",
    ],
  ];
  for (const [argv, message] of cases) assertRefused(() => run(argv), message);
});

Deno.test("parseAgentOptions refuses the default CA where there is none, and says what to do", {
  ignore: existsOnThisMachine("/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"),
}, () => {
  assertRefused(
    () => run([]),
    'Default of option --ca-cert names "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt", ' +
      "which cannot be read: there is no such file; " +
      "give the target's CA with --ca-cert, or --plain-target for a target without TLS",
  );
});

Deno.test("parseAgentOptions refuses values out of range", () => {
  const duration = "must be a duration with its unit (30s, 1m30s, 500ms) of";
  const cases: [string[], string][] = [
    [
      ["-max-retry", "0"],
      `Option --max-retry ${duration} at least 1ms and at most 596h, but is "0"`,
    ],
    [
      ["-dial-timeout", "10"],
      `Option --dial-timeout ${duration} at least 1ms and at most 596h, but is "10"`,
    ],
    [
      ["-pool-idle-timeout", "0s"],
      `Option --pool-idle-timeout ${duration} at least 1ms and at most 596h, but is "0s"`,
    ],
    [
      ["-pool-size", "-1"],
      'Option --pool-size must be a whole number from 0 to 65536, but is "-1"',
    ],
    [
      ["-max-conns", "0"],
      'Option --max-conns must be a whole number from 1 to 1000000, but is "0"',
    ],
    [["-insecure=perhaps"], 'Option --insecure must be true or false, but is "perhaps"'],
  ];
  for (const [argv, message] of cases) assertRefused(() => run([...PLAIN, ...argv]), message);
});

Deno.test("parseAgentOptions never shows the token, right or wrong", () => {
  assertRefused(
    () => run(PLAIN, { ...ENV, TOKEN: `${TOKEN}\u00e9` }),
    "Environment variable TOKEN must be printable ASCII with no space at either end",
  );
  const token = fc.string({ unit: fc.constantFrom("Q", "Z", " ", "é", "-", "="), maxLength: 12 });
  const argvOf = fc.constantFrom<(token: string) => string[]>(
    (token) => ["-token", `QZ${token}`, "-max-conns=0"],
    (token) => [`-token=QZ${token}`, "-health-addr", "nowhere"],
    (token) => [`-tokenQZ${token}`],
    (token) => [`-token=x`, `QZ${token}`],
    (token) => [`-tokne=QZ${token}`],
    (token) => [`-token=QZ${token}\u00e9`],
    (token) => [`-token=QZ${token}`, "-ca-cert=/nowhere.crt"],
  );
  fc.assert(fc.property(token, argvOf, (token, argvOf) => {
    const message = refusalOf(() => run(argvOf(token), { SERVER_URL }));
    assert.doesNotMatch(message, /QZ/);
  }));
});

function existsOnThisMachine(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}

Deno.test("with --targets, the options of --target have no defaults", () => {
  using scratch = new ScratchDirectory();
  const text = "targets: [{ name: web, address: 'web.svc:80' }]\n";
  const path = scratch.write("targets.yaml", text);
  const { target, targetTls, saTokenPath, targets, warnings } = run(["--targets", path]);
  assert.deepEqual({ target, targetTls, saTokenPath, warnings }, {
    target: undefined,
    targetTls: undefined,
    saTokenPath: undefined,
    warnings: [],
  });
  const entry = { name: "web", address: { hostname: "web.svc", port: 80 }, kind: "http" };
  assert.deepEqual(targets, { path, text, entries: [entry] });
  // What is given counts.
  const tokenPath = scratch.write("token", "t");
  const beside = run(["--targets", path, "--target", "api.svc:443", "--sa-token-path", tokenPath]);
  assert.deepEqual(beside.target, { hostname: "api.svc", port: 443 });
  assert.deepEqual(beside.targetTls, { isInsecure: false });
  assert.equal(beside.saTokenPath, tokenPath);
  assert.equal(run(["--targets", path], { ...ENV, TARGET: "api.svc:443" }).saTokenPath, undefined);
});

Deno.test("an option about the target of --target is refused where there is none", () => {
  using scratch = new ScratchDirectory();
  const path = scratch.write("targets.yaml", "targets: []\n");
  for (
    const option of [
      "--sa-token-path=/t",
      "--ca-cert=/t",
      "--tls-server-name=a",
      "--insecure",
      "--plain-target",
    ]
  ) {
    assertRefused(
      () => run(["--targets", path, option]),
      `Option ${option.split("=")[0]} needs --target: each target in the file of --targets has ` +
        "settings of its own",
    );
  }
});

Deno.test("a targets file is read at start: what is wrong with it, and what may not work", () => {
  using scratch = new ScratchDirectory();
  assertRefused(
    () => run(["--targets", "/nowhere/targets.yaml"]),
    'Option --targets names "/nowhere/targets.yaml", which cannot be read: there is no such file',
  );
  const wrong = scratch.write("wrong.yaml", "targets: [{ name: A, address: 'a:1' }]\n");
  assertRefused(
    () => run(["--targets", wrong]),
    `Targets file ${JSON.stringify(wrong)}, entry 1 ("A"): name: must be 1 to 63 of the ` +
      'characters "a" to "z", "0" to "9" and "-"',
  );
  const path = scratch.write(
    "targets.yaml",
    "targets: [{ name: a, address: 'a:1', tls: { insecure: true }, credential: { file: /nowhere/t } }]",
  );
  const { warnings } = run(["--targets", path]);
  const place = `Targets file ${JSON.stringify(path)}, entry 1 ("a")`;
  assert.deepEqual(warnings, [
    `${place}: the target's certificate is not verified`,
    `${place}: credential: file: "/nowhere/t" cannot be read yet: there is no such file; requests ` +
    "fail until it can",
  ]);
  const empty = scratch.write("empty.yaml", "targets: []\n");
  assert.deepEqual(run(["--targets", empty]).warnings, [
    `Targets file ${JSON.stringify(empty)} has no targets: every request is refused`,
  ]);
});

Deno.test("a hostname is claimed for a target with paths, and for none that is behind it", () => {
  using scratch = new ScratchDirectory();
  const path = scratch.write(
    "targets.yaml",
    "targets: [{ name: web, address: 'web.svc:80' }, " +
      "{ name: app, paths: [{ value: /, target: web }] }]\n",
  );
  const claim = (hostname: string) => run(["--targets", path, "--hostname", hostname]);
  assert.deepEqual(claim("a.example").hostname, [{ hostname: "a.example" }]);
  assert.equal(claim("a.example=app").hostname?.[0]?.target, "app");
  assertRefused(
    () => claim("a.example=web"),
    'Option --hostname has a.example for the target "web", which the agent does not have',
  );
});

Deno.test("--hostname may be given several times, and its target must be clear at start", () => {
  const given = [...PLAIN, "--hostname", "A.example", "--hostname=b.example"];
  assert.deepEqual(run(given).hostname, [{ hostname: "a.example" }, { hostname: "b.example" }]);
  // Not HOSTNAME, which is the container's own name everywhere.
  assert.equal(run(PLAIN, { ...ENV, HOSTNAME: "pod-1" }).hostname, undefined);
  assert.deepEqual(run(PLAIN, { ...ENV, HOSTNAMES: "c" }).hostname, [{ hostname: "c" }]);
  assertRefused(
    () => run([...PLAIN, "--hostname", "a=web"]),
    'Option --hostname has a for the target "web", which the agent does not have',
  );
});
