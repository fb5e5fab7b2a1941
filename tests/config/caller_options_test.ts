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

const CLUSTERS = JSON.stringify([{ id: "prod", token: "Q".repeat(16), targetAddr: "t:1" }]);
const SECRET = "ZXZXZXZXZXZXZXZX";
const ENTRY = { name: "ci", token: SECRET, clusters: ["prod", "dev-*"] };
const EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const JWT = {
  "caller-jwt-issuer": "https://issuer.example",
  "caller-jwt-audience": "culvert",
  "caller-jwks-url": "https://issuer.example/keys",
  "caller-jwt-rules": '[{"claim":"sub","value":"*","clusters":["*"]}]',
};

/** The relay's options with these on the command line; the internal listener is on all interfaces. */
function run(given: Readonly<Record<string, string>>) {
  return runOptions(parseRelayOptions(argvOf(given), { CLUSTERS }));
}

function argvOf(given: Readonly<Record<string, string>>): string[] {
  return Object.entries(given).map(([name, value]) => `--${name}=${value}`);
}

function assertRefusal(given: Readonly<Record<string, string>>, message: string): void {
  assertRefused(() => run(given), message);
}

function withTls(test: (args: Record<string, string>) => void): void {
  using scratch = new ScratchDirectory();
  test({
    "tls-cert": scratch.write("tls.crt", CERTIFICATE_PEM),
    "tls-key": scratch.write("tls.key", PRIVATE_KEY_PEM),
    "tls-client-ca": scratch.write("ca.crt", CERTIFICATE_PEM),
  });
}

Deno.test("a relay that others reach does not start until it is told who may call", () => {
  const add =
    "which other machines can reach, and nothing says who may call; add --caller-tokens, " +
    "--caller-jwt-issuer or --tls-client-ca, listen on 127.0.0.1, or say --callers open to let " +
    "everybody in who reaches it";
  assertRefusal({}, `Default of option --internal-addr is ":8080", ${add}`);
  for (
    const address of ["0.0.0.0:80", "[::]:80", "10.0.0.1:80", "relay.example:80", "128.0.0.1:80"]
  ) {
    const message = `Option --internal-addr is "${address}", ${add}`;
    assertRefusal({ "internal-addr": address }, message);
  }
});

Deno.test("without --callers, what else is given says whether callers need a credential", () => {
  for (const address of ["127.0.0.1:0", "127.8.8.8:80", "localhost:0", "[::1]:0"]) {
    assert.deepEqual(
      run({ "internal-addr": address }).callers,
      { mode: "open", hosts: [] },
      address,
    );
  }
  const tokens = { "caller-tokens": JSON.stringify([ENTRY]) };
  assert.equal(run(tokens).callers.mode, "known");
  assert.equal(run({ ...tokens, "internal-addr": "127.0.0.1:0" }).callers.mode, "known");
  assert.equal(run(JWT).callers.mode, "known");
  withTls((tls) => {
    assert.equal(run(tls).callers.mode, "open");
    assert.equal(run({ ...tls, callers: "known" }).callers.mode, "known");
    assert.equal(run({ ...tls, ...tokens }).callers.mode, "known");
    const rules = { "caller-certificates": '[{"name":"argocd","clusters":["*"]}]' };
    assert.deepEqual(run({ ...tls, ...rules }).callers, {
      mode: "known",
      certificates: [{ name: "argocd", clusters: ["*"] }],
    });
  });
});

Deno.test("--callers open lets everybody in, with a warning where others can reach it", () => {
  const open = run({ callers: "open" });
  assert.deepEqual(open.callers, { mode: "open" });
  assert.deepEqual(open.warnings, [
    "Option --callers is open: whoever reaches the internal listener may do what the agents' " +
    "credentials may",
  ]);
  assert.deepEqual(run({ callers: "open", "internal-addr": "127.0.0.1:0" }).warnings, []);
  withTls((tls) => assert.deepEqual(run({ ...tls, callers: "open" }).warnings, []));
});

Deno.test("options about callers that contradict each other are refused", () => {
  assertRefusal(
    { callers: "known", "internal-addr": "127.0.0.1:0" },
    "Option --callers is known, and callers have nothing to show; " +
      "add --caller-tokens, --caller-jwt-issuer or --tls-client-ca",
  );
  assertRefusal(
    { callers: "open", "caller-tokens": JSON.stringify([ENTRY]), ...JWT },
    "Option --callers is open, which asks no caller for anything, and --caller-tokens and " +
      "--caller-jwt-issuer would never be looked at; drop one or the other",
  );
  assertRefusal(
    { "caller-certificates": "[]" },
    "Option --caller-certificates needs --tls-client-ca or --caller-ca as well",
  );
  assertRefusal({ callers: "some" }, 'Option --callers must be one of open, known, but is "some"');
});

Deno.test("the options about JWTs come together", () => {
  for (const name of Object.keys(JWT)) {
    const others = Object.entries(JWT).filter(([other]) => other !== name);
    const first = others[0]![0];
    assertRefusal(Object.fromEntries(others), `Option --${first} needs --${name} as well`);
  }
  assertRefusal(
    { "caller-jwks-url": JWT["caller-jwks-url"], callers: "open" },
    "Option --caller-jwks-url needs --caller-jwt-issuer and --caller-jwt-audience and " +
      "--caller-jwt-rules as well",
  );
});

Deno.test("--caller-jwks-url must be a URL that cannot be forged on the way", () => {
  const url = (text: string) => run({ ...JWT, "caller-jwks-url": text }).callers.jwt?.jwksUrl;
  for (const text of ["https://a.example/k?x=1", "http://127.0.0.1:9/k", "http://[::1]:9/k"]) {
    assert.equal(url(text), text);
  }
  const expected = "must be an https:// URL without a user, such as https://issuer.example/keys; " +
    "http:// is for loopback only";
  const wrong = ["keys", "/keys", "http://issuer.example/keys", "file:///keys", "https://a/k#x"];
  for (const text of wrong) {
    assertRefusal(
      { ...JWT, "caller-jwks-url": text },
      `Option --caller-jwks-url ${expected}, but is "${text}"`,
    );
  }
  const withUser = { ...JWT, "caller-jwks-url": `https://me:${SECRET}@issuer.example/keys` };
  assertRefusal(withUser, `Option --caller-jwks-url ${expected}`);
});

Deno.test("callers' tokens are read from JSON or a file", () => {
  const entries = [
    { ...ENTRY, expires: "2027-01-31T12:00:00+02:00" },
    { name: "argo", tokenSha256: "AB".repeat(32), clusters: ["*"] },
  ];
  const tokens = [
    { ...ENTRY, expiresMs: Date.UTC(2027, 0, 31, 10) },
    { name: "argo", tokenSha256: "ab".repeat(32), clusters: ["*"] },
  ];
  const text = JSON.stringify(entries);
  assert.deepEqual(run({ "caller-tokens": text }).callers, { mode: "known", tokens });
  using scratch = new ScratchDirectory();
  const path = scratch.write("callers.json", text);
  assert.deepEqual(run({ "caller-tokens": path }).callers, {
    mode: "known",
    tokens,
    tokensFile: { path, text },
  });
});

Deno.test("callers' tokens that are not valid are refused, without a token in the message", () => {
  const clusters = 'must be a list of at least one cluster id such as "prod", or beginning such ' +
    'as "prod-*", or "*"';
  const sha = "must be the token's SHA-256 in 64 hexadecimal digits";
  const both = "must have either token or tokenSha256";
  const cases: [unknown, string][] = [
    [{ ci: ENTRY }, ": must be a JSON array"],
    ["[", ": it is not JSON at line 1, column 2; it must be a JSON array"],
    [[1], ", entry 1: must be an object with name, token or tokenSha256, and clusters"],
    [[{ ...ENTRY, cluster: [] }], ', entry 1: unknown key "cluster"; did you mean "clusters"?'],
    [
      [ENTRY, { ...ENTRY, name: "" }],
      ", entry 2: name: must be 1 to 253 printable ASCII " +
      "characters without spaces",
    ],
    [[{ ...ENTRY, token: undefined }], `, entry 1: ${both}`],
    [[{ ...ENTRY, tokenSha256: "ab".repeat(32) }], `, entry 1: ${both}`],
    [[{ ...ENTRY, token: "" }], ", entry 1: token: must be a non-empty string"],
    [
      [{ ...ENTRY, token: ` ${SECRET}` }],
      ", entry 1: token: must be printable ASCII with no " +
      "space at either end",
    ],
    [[{ ...ENTRY, token: undefined, tokenSha256: SECRET }], `, entry 1: tokenSha256: ${sha}`],
    [
      // What a script makes that hashes a variable that is not set.
      [{ ...ENTRY, token: undefined, tokenSha256: EMPTY_SHA256 }],
      ", entry 1: tokenSha256: is the SHA-256 of an empty text",
    ],
    [[{ ...ENTRY, clusters: [] }], `, entry 1: clusters: ${clusters}`],
    [[{ ...ENTRY, clusters: "prod" }], `, entry 1: clusters: ${clusters}`],
    [[{ ...ENTRY, clusters: ["a", "b*c"] }], `, entry 1: clusters: 2: ${clusters}`],
    [[{ ...ENTRY, clusters: ["a/b"] }], `, entry 1: clusters: 1: ${clusters}`],
    [
      [{ ...ENTRY, expires: "tomorrow" }],
      ", entry 1: expires: must be a time such as " +
      '"2027-01-31T12:00:00Z"',
    ],
    [
      [{ ...ENTRY, expires: "2027-02-30T00:00:00Z" }],
      ", entry 1: expires: must be a time such " +
      'as "2027-01-31T12:00:00Z"',
    ],
    [[ENTRY, { ...ENTRY, name: "x" }], ": entries 1 and 2 have the same token; each needs its own"],
  ];
  for (const [value, message] of cases) {
    const text = typeof value === "string" ? value : JSON.stringify(value);
    const said = refusalOf(() => run({ "caller-tokens": text }));
    assert.equal(said, `Option --caller-tokens${message}`);
    assert.ok(!said.includes(SECRET));
  }
  assertRefusal(
    { "caller-tokens": "/nowhere/callers.json" },
    "Option --caller-tokens names " +
      '"/nowhere/callers.json", which cannot be read: there is no such file',
  );
  assertRefusal(
    { "caller-tokens": `"${SECRET}"` },
    "Option --caller-tokens is in double quotes; leave them out, because nothing takes them off here",
  );
});

Deno.test("callers' tokens that can be guessed, or that nobody has, are warned of", () => {
  const short = JSON.stringify([{ ...ENTRY, token: "short" }]);
  assert.deepEqual(run({ "caller-tokens": short }).warnings, [
    "Option --caller-tokens, entry 1: token: is shorter than 16 characters and can be guessed",
  ]);
  assert.deepEqual(run({ "caller-tokens": "[]" }).warnings, [
    "Option --caller-tokens has no entries: no caller has a token",
  ]);
});

Deno.test("rules for certificates and claims that are not valid are refused", () => {
  const clusters = 'must be a list of at least one cluster id such as "prod", or beginning such ' +
    'as "prod-*", or "*"';
  const claim = "must be a claim's name, or a list of names that leads to it";
  const rule = { claim: "groups", value: "x", clusters: ["*"] };
  const cases: [unknown, string][] = [
    [[{ ...rule, claim: "" }], `, entry 1: claim: ${claim}`],
    [[{ ...rule, claim: [] }], `, entry 1: claim: ${claim}`],
    [[{ ...rule, value: true }], ", entry 1: value: must be a string of 1 to 1024 characters"],
    [[{ ...rule, clusters: ["a b"] }], `, entry 1: clusters: 1: ${clusters}`],
    [[{ ...rule, claims: 1 }], ', entry 1: unknown key "claims"; did you mean "claim"?'],
    [{}, ": must be a JSON array"],
  ];
  for (const [value, message] of cases) {
    const rules = JSON.stringify(value);
    assertRefusal({ ...JWT, "caller-jwt-rules": rules }, `Option --caller-jwt-rules${message}`);
  }
  withTls((tls) =>
    assertRefusal(
      { ...tls, "caller-certificates": '[{"name":"a b","clusters":["*"]}]' },
      "Option --caller-certificates, entry 1: name: must be 1 to 253 printable ASCII characters " +
        "without spaces",
    )
  );
});

Deno.test("--hosts: where callers are open on loopback, none but addresses and localhost unless it is given", () => {
  assert.deepEqual(run({ "internal-addr": "127.0.0.1:0" }).callers.hosts, []);
  assert.deepEqual(run({ "internal-addr": "localhost:0", hosts: "A.b,c" }).callers.hosts, [
    "a.b",
    "c",
  ]);
  assert.equal(run({ "internal-addr": "127.0.0.1:0", hosts: "*" }).callers.hosts, undefined);
  assert.equal(run({ callers: "open" }).callers.hosts, undefined);
  withTls((tls) => {
    assert.equal(run({ ...tls, "internal-addr": "127.0.0.1:0" }).callers.hosts, undefined);
  });
  for (const hosts of ["a,,b", "http://a", "a:80", "a b", "*.a"]) {
    assertRefusal(
      { "internal-addr": "127.0.0.1:0", hosts },
      `Option --hosts must be names such as relay.example.com, with commas between, or *, but is ${
        JSON.stringify(hosts)
      }`,
    );
  }
});
