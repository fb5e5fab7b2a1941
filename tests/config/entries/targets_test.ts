import assert from "node:assert/strict";
import fc from "fast-check";
import { ConfigError } from "../../../lib/config/config_error.ts";
import { readTargets } from "../../../lib/config/entries/targets.ts";
import { assertRefused } from "../support.ts";

const SOURCE = 'Targets file "x.yaml"';

function read(text: string) {
  return readTargets(text, SOURCE);
}

/** A correct target with changes. */
function target(changes: Record<string, unknown> = {}): Record<string, unknown> {
  return { name: "api", address: "api.svc:443", ...changes };
}

function readEntries(...targets: unknown[]) {
  return read(JSON.stringify({ targets }));
}

Deno.test("readTargets reads the documented example", () => {
  const text = `
targets:
  - name: dashboard                    # 1–63 of a-z 0-9 -, unique
    address: headlamp.headlamp.svc:80  # or tls: below; IPv6 in brackets
    kind: http
    credential: { file: /run/token, header: Authorization, scheme: Bearer }
  - name: api
    address: "[fd00::1]:443"
    tls: { ca: /ca.crt, serverName: api.svc, insecure: false, cert: /tls.crt, key: /tls.key }
    credential: { file: /token }
  - name: pg
    address: postgres.db.svc:5432
    kind: tcp
`;
  assert.deepEqual(read(text), [
    {
      name: "dashboard",
      address: { hostname: "headlamp.headlamp.svc", port: 80 },
      kind: "http",
      credential: { file: "/run/token", header: "Authorization", scheme: "Bearer" },
    },
    {
      name: "api",
      address: { hostname: "fd00::1", port: 443 },
      kind: "http",
      tls: {
        ca: "/ca.crt",
        serverName: "api.svc",
        insecure: false,
        cert: "/tls.crt",
        key: "/tls.key",
      },
      credential: { file: "/token", header: "Authorization", scheme: "Bearer" },
    },
    { name: "pg", address: { hostname: "postgres.db.svc", port: 5432 }, kind: "tcp" },
  ]);
});

Deno.test("readTargets takes JSON, an empty list, and TLS with nothing to say", () => {
  assert.deepEqual(read('{"targets": []}'), []);
  assert.deepEqual(readEntries(target({ tls: {} }))[0]?.tls, { insecure: false });
});

Deno.test("readTargets puts a token alone into fields other than Authorization", () => {
  const schemeOf = (credential: object) =>
    readEntries(target({ credential: { file: "/t", ...credential } }))[0]?.credential?.scheme;
  assert.equal(schemeOf({ header: "X-Api-Key" }), "");
  assert.equal(schemeOf({ header: "X-Api-Key", scheme: "Key" }), "Key");
  assert.equal(schemeOf({ header: "authorization" }), "Bearer");
  assert.equal(schemeOf({ scheme: "Basic" }), "Basic");
  assert.equal(schemeOf({ scheme: "" }), "");
});

Deno.test("readTargets refuses what is wrong in an entry, and names entry and key", () => {
  const credential = { file: "/t" };
  const cases: [Record<string, unknown>, string][] = [
    [{ adress: "x" }, 'unknown key "adress"; did you mean "address"?'],
    [{ address: undefined }, "address: must be HOST:PORT"],
    [{ address: "api.svc" }, "address: must be HOST:PORT"],
    [{ address: "api.svc:0" }, "address: must be HOST:PORT"],
    [{ address: "fd00::1:443" }, "address: must be HOST:PORT"],
    [{ address: "http://api.svc:80" }, "address: must be HOST:PORT"],
    [{ address: 443 }, "address: must be HOST:PORT"],
    [{ kind: "udp" }, 'kind: must be "http" or "tcp"'],
    [{ kind: "TCP" }, 'kind: must be "http" or "tcp"'],
    [{ tls: true }, "tls: must be an object"],
    [{ tls: { CA: "/x" } }, 'tls: unknown key "CA"; known are ca, serverName, insecure, cert, key'],
    [{ tls: { ca: "" } }, "tls: ca: must be the path of a file"],
    [{ tls: { ca: "-----BEGIN CERTIFICATE-----" } }, "tls: ca: must be the path of a file"],
    [{ tls: { serverName: "a:443" } }, "tls: serverName: must be a host name"],
    [{ tls: { insecure: "yes" } }, "tls: insecure: must be true or false"],
    [{ tls: { insecure: true, ca: "/x" } }, "tls: insecure: verifies nothing"],
    [{ tls: { cert: "/x" } }, "tls: cert: needs key as well"],
    [{ tls: { key: "/x" } }, "tls: key: needs cert as well"],
    [{ credential: {} }, "credential: file: must be the path of a file"],
    [{ credential: "/t" }, "credential: must be an object with file"],
    [{ credential: { ...credential, header: "Host" } }, "credential: header: must not be a field"],
    [{ credential: { ...credential, header: "TE" } }, "credential: header: must not be a field"],
    [{ credential: { ...credential, header: "a b" } }, "credential: header: must be the name"],
    [
      { credential: { ...credential, header: "X: y\r\nZ" } },
      "credential: header: must be the name",
    ],
    [{ credential: { ...credential, scheme: "a b" } }, "credential: scheme: must be one word"],
    [{ credential, kind: "tcp" }, "credential: has no effect for kind tcp"],
    [{ paths: [] }, "paths: must be a list of entries with value and target"],
    [{ paths: "/" }, "paths: must be a list of entries with value and target"],
    [{ paths: [{ value: "/", target: "first" }] }, "address: has no effect beside paths"],
    [
      { address: undefined, tls: {}, paths: [{ value: "/", target: "first" }] },
      "tls: has no effect beside paths, whose targets have their own; remove it",
    ],
    [
      { address: undefined, kind: "tcp", paths: [{ value: "/", target: "first" }] },
      "paths: are for kind http alone",
    ],
  ];
  for (const [changes, message] of cases) {
    assert.throws(() => readEntries(target({ name: "first" }), target(changes)), (error: Error) => {
      assert.ok(error instanceof ConfigError);
      assert.ok(
        error.message.startsWith(`${SOURCE}, entry 2 ("api"): ${message}`),
        `${JSON.stringify(changes)}: ${error.message}`,
      );
      return true;
    });
  }
});

Deno.test("readTargets reads paths that lead to other targets, with Prefix for their type", () => {
  const paths = [{ value: "/api", target: "api" }, {
    type: "Exact",
    value: "/hook",
    target: "api",
  }, { type: "Prefix", value: "/api/admin" }];
  assert.deepEqual(readEntries(target(), { name: "app", paths })[1], {
    name: "app",
    kind: "http",
    paths: [{ type: "Prefix", value: "/api", target: "api" }, paths[1], paths[2]],
  });
});

Deno.test("readTargets refuses paths that lead nowhere, twice to one place, or to what has none", () => {
  const impersonate = {
    ...{ proof: "assertion", issuer: "culvert", audience: ["/tunnel/dev"], prefix: "corp:" },
    keysFile: "keys.pem",
  };
  const others = [
    target(),
    target({ name: "pg", kind: "tcp" }),
    target({ name: "as", impersonate }),
    { name: "more", paths: [{ value: "/", target: "api" }] },
  ];
  const cases: [Record<string, unknown>[], string][] = [
    [[{ value: "api", target: "api" }], 'entry 1: value: must begin with "/"'],
    [
      [{ value: "/%61pi", target: "api" }],
      'entry 1: value: must have letters, digits, "-", "_" and "~" as they are, not percent-encoded',
    ],
    [[{ value: "/a?b", target: "api" }], "entry 1: value: must be a path as URLs have it"],
    [[{ type: "Regex", value: "/", target: "api" }], 'entry 1: type: must be "Prefix" or "Exact"'],
    [[{ value: "/", target: "API" }], "entry 1: target: must be 1 to 63 of the characters"],
    [[{ value: "/", to: "api" }], 'entry 1: unknown key "to"; known are type, value, target'],
    [[{ value: "/" }], "none of them has a target"],
    [[{ value: "/", target: "none" }], 'entry 1: target: "none" is not a target in this file'],
    [[{ value: "/", target: "app" }], 'entry 1: target: "app" has paths itself'],
    [[{ value: "/", target: "more" }], 'entry 1: target: "more" has paths itself'],
    [[{ value: "/", target: "pg" }], 'entry 1: target: "pg" is of kind tcp'],
    [
      [{ value: "/a", target: "api" }, { value: "/a/", target: "api" }],
      "entries 1 and 2 are the same path",
    ],
    [
      [{ value: "/a", target: "api" }, { value: "/b", target: "as" }],
      "the targets must all have impersonate with the same proof, or none of them",
    ],
  ];
  for (const [paths, message] of cases) {
    assert.throws(() => readEntries(...others, { name: "app", paths }), (error: Error) => {
      const start = `${SOURCE}, entry 5 ("app"): paths: ${message}`;
      assert.ok(error instanceof ConfigError);
      assert.ok(error.message.startsWith(start), error.message);
      return true;
    });
  }
});

Deno.test("readTargets refuses names that are not 1 to 63 of a-z, 0-9 and -", () => {
  for (const name of ["", "API", "a_b", "a.b", "a/b", "ä", "x".repeat(64), 7, null, undefined]) {
    assert.throws(() => readEntries(target({ name })), {
      name: "ConfigError",
      message: /, entry 1.*: name: must be 1 to 63 of the characters/,
    });
  }
  assert.equal(readEntries(target({ name: "x".repeat(63) })).length, 1);
});

Deno.test("readTargets refuses two targets of one name, and more than may be announced", () => {
  assertRefused(
    () => readEntries(target(), target({ name: "b" }), target()),
    `${SOURCE}: entries 1 and 3 have the same name "api"; each needs its own`,
  );
  const many = Array.from({ length: 1_001 }, (_, index) => target({ name: `t${index}` }));
  assertRefused(() => readEntries(...many), `${SOURCE}: targets: must be at most 1000 targets`);
});

Deno.test("readTargets refuses what is no list of targets, and says where a text is wrong", () => {
  const expected = "must be a list of targets under the key targets";
  const cases: [string, string][] = [
    ["", `: it is empty; it ${expected}`],
    ["# nothing\n", `: ${expected}`],
    ["[]", `: ${expected}`],
    ["targets", `: ${expected}`],
    ["targets:\n", `: targets: ${expected}`],
    ["targets: {}\n", `: targets: ${expected}`],
    ["target: []\n", ': unknown key "target"; did you mean "targets"? (and 1 more)'],
    ["targets: [\n", `: it is not YAML or JSON at line 2, column 1; it ${expected}`],
    [
      "targets: []\ntargets: []\n",
      `: it has a key twice at line 2, column 1; keep one; it ${expected}`,
    ],
    [
      "targets:\n  - {name: a, tls: {ca: x, ca: y}}\n",
      `: it has a key twice at line 2, column 28; keep one; it ${expected}`,
    ],
    [
      '{"targets": [],\n "\\u0074argets": []}',
      `: it has a key twice at line 2, column 2; keep one; it ${expected}`,
    ],
    [
      "targets: &a []\n'targets': *a\n",
      `: it has a key twice at line 2, column 1; keep one; it ${expected}`,
    ],
    [
      `targets: []\n${"#\n".repeat(1024 * 1024)}`,
      `: it has more than 2097152 characters and is not JSON; it ${expected}`,
    ],
    ["}".repeat(100_000), `: it is not YAML or JSON at line 1, column 1; it ${expected}`],
    [
      "targets: []\n---\ntargets: []\n",
      `: it holds a second document at line 2, column 1; keep one; it ${expected}`,
    ],
  ];
  for (const [text, message] of cases) assertRefused(() => read(text), `${SOURCE}${message}`);
});

Deno.test("readTargets takes JSON that is longer than YAML may be", () => {
  const padding = " ".repeat(3 * 1024 * 1024);
  assert.deepEqual(read(`{${padding}"targets": []}`), []);
  const says = /it has more than 2097152 characters and is not JSON; it must be /;
  assert.throws(() => read(`{${padding}"targets": [], "targets": []}`), says);
});

Deno.test("readTargets takes no tags, no keys of other types and no bomb of aliases", () => {
  const bomb = [
    "a: &a [x, x, x, x, x, x, x, x, x, x]",
    ..."bcdefgh".split("").map((key, index) => {
      const before = "abcdefg"[index];
      return `${key}: &${key} [${Array(10).fill(`*${before}`).join(", ")}]`;
    }),
    "targets: *h",
  ].join("\n");
  for (
    const text of [bomb, "targets: !!js/function 'x'", "? [targets]\n: []", "targets: *nowhere"]
  ) {
    assert.throws(() => read(text), { name: "ConfigError" }, text.slice(0, 40));
  }
});

Deno.test("readTargets gives targets or one line for any text and any JSON", () => {
  const anyTarget = fc.record({
    name: fc.oneof(fc.string(), fc.jsonValue()),
    address: fc.oneof(fc.constantFrom("a:1", "[::1]:80"), fc.jsonValue()),
    kind: fc.oneof(fc.constantFrom("http", "tcp"), fc.jsonValue()),
    tls: fc.jsonValue(),
    credential: fc.jsonValue(),
  }, { requiredKeys: [] });
  const anyText = fc.oneof(
    fc.string(),
    fc.array(anyTarget, { maxLength: 4 }).map((targets) => JSON.stringify({ targets })),
  );
  fc.assert(fc.property(anyText, (text) => {
    try {
      read(text);
    } catch (error) {
      assert.ok(error instanceof ConfigError, String(error));
      assert.doesNotMatch(error.message, /[\r\n]/);
    }
  }));
});
