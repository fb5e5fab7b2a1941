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

const ENV = {
  CLUSTERS: '[{"id": "prod", "token": "QZQZQZQZQZQZQZQZ", "targetAddr": "127.0.0.1:6443"}]',
  INTERNAL_ADDR: "127.0.0.1:8080",
};
const DIRECTORY = "redis://user:password-of-redis@127.0.0.1:6379/1";
const TOKEN = "WXWXWXWXWXWXWXWX";
const WHOLE = ["--directory", DIRECTORY, "--advertise", "http://10.0.0.5:8080/"];

function run(argv: readonly string[], env: Record<string, string> = {}) {
  return runOptions(parseRelayOptions(argv, { ...ENV, ...env }));
}

Deno.test("parseRelayOptions reads what it takes to work with other relays", () => {
  using scratch = new ScratchDirectory();
  assert.equal(run([]).directory, undefined);
  const whole = { url: DIRECTORY, advertise: "http://10.0.0.5:8080", tokens: [TOKEN] };
  assert.deepEqual(run(WHOLE, { RELAY_TOKEN: TOKEN }).directory, whole);
  const env = { DIRECTORY, ADVERTISE: "http://10.0.0.5:8080", RELAY_TOKEN: TOKEN };
  assert.deepEqual(run([], env).directory, whole);
  const caPath = scratch.write("ca.crt", CERTIFICATE_PEM);
  assert.deepEqual(run([], { ...env, RELAY_CA: caPath }).directory, {
    ...whole,
    caPath,
    caPem: CERTIFICATE_PEM,
  });
});

Deno.test("parseRelayOptions takes an advertised IPv6 address with brackets or without", () => {
  const advertised = (url: string) =>
    run(["--directory", DIRECTORY, "--advertise", url], { RELAY_TOKEN: TOKEN }).directory
      ?.advertise;
  assert.equal(advertised("http://fd00::a:5:8080"), "http://[fd00::a:5]:8080");
  assert.equal(advertised("http://[fd00::a:5]:8080"), "http://[fd00::a:5]:8080");
  assert.equal(advertised("http://abc:8080"), "http://abc:8080");
});

Deno.test("parseRelayOptions makes a pod's DNS name of its address and its namespace's domain", () => {
  const advertised = (url: string) =>
    run(["--directory", DIRECTORY, "--advertise", url], { RELAY_TOKEN: TOKEN }).directory
      ?.advertise;
  const domain = "culvert.pod.cluster.local";
  assert.equal(advertised(`http://10.0.0.5.${domain}:8080`), `http://10-0-0-5.${domain}:8080`);
  assert.equal(advertised(`http://fd00::a:5.${domain}:8080`), `http://fd00--a-5.${domain}:8080`);
  assert.equal(advertised("http://10.0.0.5.a.pod:0"), "http://10-0-0-5.a.pod:0");
  for (const other of ["10-0-0-5.a.pod", "relay-1.a.pod.cluster.local", "10.0.0.5"]) {
    assert.equal(advertised(`http://${other}:8080`), `http://${other}:8080`);
  }
});

Deno.test("parseRelayOptions refuses options of several relays that don't go together", () => {
  using scratch = new ScratchDirectory();
  const certPath = scratch.write("tls.crt", CERTIFICATE_PEM);
  const keyPath = scratch.write("tls.key", PRIVATE_KEY_PEM);
  const needs = "as well";
  const cases: [string[], string][] = [
    [
      ["--directory", DIRECTORY],
      `Option --directory needs --advertise and --relay-token ${needs}`,
    ],
    [WHOLE, `Option --directory needs --relay-token ${needs}`],
    [
      ["--directory", DIRECTORY, "--relay-token", TOKEN],
      `Option --directory needs --advertise ${needs}`,
    ],
    [["--advertise", "http://10.0.0.5:8080"], `Option --advertise needs --directory ${needs}`],
    [["--relay-token", TOKEN], `Option --relay-token needs --directory ${needs}`],
    [["--relay-token-file", "f"], `Option --relay-token-file needs --directory ${needs}`],
    [
      [...WHOLE, "--relay-token", TOKEN, "--relay-token-file", keyPath],
      "Option --relay-token-file can't go with --relay-token; give one of them",
    ],
    [["--relay-ca", "ca.crt"], `Option --relay-ca needs --directory ${needs}`],
    [
      [...WHOLE, "--relay-token", TOKEN, "--tls-cert", certPath, "--tls-key", keyPath],
      "Option --advertise must begin with https://, as this relay listens with TLS",
    ],
    [
      ["--directory", DIRECTORY, "--advertise", "https://a:1", "--relay-token", TOKEN],
      "Option --advertise must begin with http://, as this relay listens without TLS",
    ],
  ];
  for (const [argv, message] of cases) assertRefused(() => run(argv), message);
});

Deno.test("parseRelayOptions refuses a directory, an address or a token that can't be one", () => {
  const directory = "must be redis://[USER:PASSWORD@]HOST:PORT[/NUMBER], " +
    "redis+sentinel://[USER:PASSWORD@]HOST:PORT,…/PRIMARY[/NUMBER] or " +
    "redis+cluster://[USER:PASSWORD@]HOST:PORT,…, with rediss in place of redis for TLS";
  for (
    const url of [
      "127.0.0.1:6379",
      "http://127.0.0.1:6379",
      "redis://",
      "redis://h/db",
      "redis://h1:6379,h2:6379",
      "redis://h?x=password-of-redis",
      "rediss://h#1",
      "sentinel://h/mymaster",
      "redis-sentinel://h/mymaster",
      "redis+replica://h",
    ]
  ) {
    // Its value may hold a password, and is in no message.
    assertRefused(() => run(["--directory", url]), `Option --directory ${directory}`);
  }
  for (
    const [character, code] of [["#", "%23"], ["/", "%2F"], ["?", "%3F"], ["%", "%25"]] as const
  ) {
    assertRefused(
      () => run(["--directory", `redis://user:WXWX${character}WXWX@127.0.0.1:6379/1`]),
      `Option --directory must not have "${character}" before its "@": in a user name or ` +
        `password, write ${code} for it`,
    );
  }
  const advertise = "must be http://HOST:PORT or https://HOST:PORT and nothing after it";
  for (const url of ["10.0.0.5:8080", "ws://h:1", "http://h:1/path", "http://h:1?q"]) {
    const refusal = refusalOf(() => run(["--advertise", url]));
    assert.ok(refusal.startsWith(`Option --advertise ${advertise}, but is `), refusal);
  }
  const token = "must be 16 to 1024 characters of printable ASCII without spaces";
  for (const text of ["WXWXWXWXWXWXWXW", "WXWX WXWX WXWX WXWX", "W".repeat(1025), "ü".repeat(16)]) {
    assertRefused(() => run(["--relay-token", text]), `Option --relay-token ${token}`);
  }
});

Deno.test("parseRelayOptions says what Sentinels' and a Cluster's addresses must be", () => {
  const sentinel = "must be redis+sentinel://[USER:PASSWORD@]HOST:PORT,…/PRIMARY[/NUMBER] " +
    "(rediss+sentinel:// for TLS): Sentinels' addresses, and the name under which they monitor " +
    "the primary, followed by nothing but ?sentinel-user=USER and sentinel-password=PASSWORD";
  for (
    const rest of [
      "",
      "h:26379",
      "h:26379/",
      "h:26379/0/mymaster",
      "h:26379/my master",
      "h:26379/mymaster/zero",
      "h1:26379,/mymaster",
      "h1:26379,h2:0/mymaster",
      "h:99999/mymaster",
      "h:26379/mymaster#1",
      "h:26379/mymaster?password=WXWXWX",
      "h:26379/mymaster?sentinel-user=a&sentinel-user=b",
    ]
  ) {
    assertRefused(
      () => run(["--directory", `redis+sentinel://${rest}`]),
      `Option --directory ${sentinel}`,
    );
  }
  const cluster = "must be redis+cluster://[USER:PASSWORD@]HOST:PORT,… (rediss+cluster:// for " +
    "TLS): the addresses of one or more nodes, and nothing behind them";
  for (const rest of ["", "h1,,h2", "h:6379/1", "h:6379/mymaster", "h:6379?x", "h 2:6379"]) {
    assertRefused(
      () => run(["--directory", `rediss+cluster://${rest}`]),
      `Option --directory ${cluster}`,
    );
  }
});

Deno.test("parseRelayOptions reads the relays' tokens from a file, and shows none that is wrong", () => {
  using scratch = new ScratchDirectory();
  const path = scratch.write("relay.token", `${TOKEN}\n\nYZYZYZYZYZYZYZYZ\r\n`);
  const { directory } = run(WHOLE, { RELAY_TOKEN_FILE: path });
  assert.deepEqual(directory?.tokens, [TOKEN, "YZYZYZYZYZYZYZYZ"]);
  assert.equal(directory?.tokensFile?.path, path);
  const origin = "Environment variable RELAY_TOKEN_FILE";
  const expected = "16 to 1024 characters of printable ASCII without spaces";
  for (
    const [text, refusal] of [
      [`${TOKEN}\nWXWXWX\n`, `: line 2 must be ${expected}`],
      [" \n", " must hold 1 to 8 tokens, one a line, but holds 0"],
      [`${TOKEN}\n`.repeat(9), " must hold 1 to 8 tokens, one a line, but holds 9"],
    ] as const
  ) {
    const env = { RELAY_TOKEN_FILE: scratch.write("wrong.token", text) };
    assertRefused(() => run(WHOLE, env), `${origin}${refusal}`);
  }
});
