import assert from "node:assert/strict";
import fc from "fast-check";
import { checkedToken } from "../../../lib/config/commands/access_options.ts";
import { readRelayTokens } from "../../../lib/config/directory_options.ts";
import { readCallerClaims, readCallerTokens } from "../../../lib/config/entries/callers.ts";
import { readClusters, readClustersTexts } from "../../../lib/config/entries/clusters.ts";
import { assertRefused, refusalOf } from "../support.ts";

const SOURCE = 'Clusters file "x.json"';
const TOKEN = "0123456789abcdef";

/** A correct entry with changes; a key that is set to undefined is left out of the JSON. */
function entry(changes: Record<string, unknown> = {}): Record<string, unknown> {
  return { id: "prod", token: TOKEN, targetAddr: "kubernetes.default.svc:443", ...changes };
}

function read(...entries: unknown[]) {
  return readClusters(JSON.stringify(entries), SOURCE);
}

Deno.test("readClusters gives entries as they stand, and refuses impersonation by default", () => {
  const forwarding = entry({ id: "b", token: `${TOKEN}-b`, impersonation: "forward" });
  const targetAddr = "kubernetes.default.svc:443";
  assert.deepEqual(read(entry(), forwarding), {
    clusters: [
      {
        id: "prod",
        tokens: [{ name: "default", token: TOKEN }],
        targetAddr,
        impersonation: "refuse",
      },
      {
        id: "b",
        tokens: [{ name: "default", token: `${TOKEN}-b` }],
        targetAddr,
        impersonation: "forward",
      },
    ],
    warnings: [],
  });
});

Deno.test("readClusters takes a cluster's own response timeout", () => {
  const timeouts = ["10m", "0", "1m30s"].map((responseTimeout, index) => {
    const { clusters: [cluster] } = read(entry({ id: `c${index}`, responseTimeout }));
    return cluster?.responseTimeoutMs;
  });
  assert.deepEqual(timeouts, [600_000, 0, 90_000]);
});

Deno.test("readClusters takes the example that existing users know, with a warning", () => {
  const text = '[{"id": "dev", "token": "dev-token", "targetAddr": "127.0.0.1:6443"}]\n';
  assert.deepEqual(readClusters(text, SOURCE), {
    clusters: [{
      id: "dev",
      tokens: [{ name: "default", token: "dev-token" }],
      targetAddr: "127.0.0.1:6443",
      impersonation: "refuse",
    }],
    warnings: [
      `${SOURCE}, entry 1 ("dev"): token: is shorter than 16 characters and can be guessed`,
    ],
  });
});

Deno.test("readClusters warns of each token under 16 characters, and of no other", () => {
  const { warnings } = read(
    entry({ id: "a", token: "x".repeat(15) }),
    entry({ id: "b", token: "x".repeat(16) }),
    entry({ id: "c", token: "y" }),
  );
  assert.deepEqual(warnings.map((line) => /entry \d \("\w"\)/.exec(line)?.[0]), [
    'entry 1 ("a")',
    'entry 3 ("c")',
  ]);
});

Deno.test("readClusters takes an empty array, with a warning", () => {
  assert.deepEqual(read(), {
    clusters: [],
    warnings: [`${SOURCE} has no entries: no agent can connect`],
  });
});

Deno.test("readClusters takes a byte order mark, as some editors leave it", () => {
  assert.equal(readClusters(`\ufeff${JSON.stringify([entry()])}`, SOURCE).clusters.length, 1);
});

Deno.test("readClusters takes ids of every permitted form", () => {
  for (const id of ["a", "A.b_c-9", "...", ".a", "-", "x".repeat(253)]) {
    assert.equal(read(entry({ id })).clusters[0]?.id, id);
  }
});

const ID = 'id: must be 1 to 253 letters, digits, ".", "_" or "-", and neither "." nor ".."';
const TARGET =
  "targetAddr: must be HOST:PORT such as kubernetes.default.svc:443, 10.0.0.1:6443 or [fd00::1]:6443, " +
  "or the name of one of the agent's targets";

Deno.test("readClusters refuses a wrong entry by number, id and key", () => {
  const cases: [unknown, string][] = [
    [entry({ token: "" }), 'entry 2 ("prod"): token: must be a non-empty string'],
    [entry({ token: undefined }), 'entry 2 ("prod"): needs token, tokenSha256 or tokens'],
    [entry({ token: 12345 }), 'entry 2 ("prod"): token: must be a non-empty string'],
    [
      entry({ token: `${TOKEN}\n` }),
      'entry 2 ("prod"): token: must be printable ASCII with no space at either end',
    ],
    [
      entry({ token: `${TOKEN}é` }),
      'entry 2 ("prod"): token: must be printable ASCII with no space at either end',
    ],
    [entry({ id: undefined }), `entry 2: ${ID}`],
    [entry({ id: "" }), `entry 2: ${ID}`],
    [entry({ id: 7 }), `entry 2: ${ID}`],
    [entry({ id: "a/b" }), `entry 2: ${ID}`],
    [entry({ id: ".." }), `entry 2: ${ID}`],
    [entry({ id: "." }), `entry 2: ${ID}`],
    [entry({ id: "x".repeat(254) }), `entry 2: ${ID}`],
    [entry({ id: "a\n" }), `entry 2: ${ID}`],
    [entry({ targetAddr: "kubernetes.default.svc" }), `entry 2 ("prod"): ${TARGET}`],
    [entry({ targetAddr: ":443" }), `entry 2 ("prod"): ${TARGET}`],
    [entry({ targetAddr: null }), `entry 2 ("prod"): ${TARGET}`],
    [
      entry({ impersonation: true }),
      'entry 2 ("prod"): impersonation: must be "refuse", "strip" or "forward"',
    ],
    [
      entry({ targetAddr: undefined, targetaddr: "a:1" }),
      'entry 2 ("prod"): unknown key "targetaddr"; did you mean "targetAddr"?',
    ],
    [
      entry({ rateLimit: 5 }),
      'entry 2 ("prod"): unknown key "rateLimit"; known are id, token, tokenSha256, tokens, ' +
      "targetAddr, impersonation, limits, responseTimeout, certificateName, hostnames, policy, callerPolicy, impersonate",
    ],
    [
      entry({ responseTimeout: "5 minutes" }),
      'entry 2 ("prod"): responseTimeout: must be a duration with its unit (30s, 1m30s, 500ms) of ' +
      "at most 596h, or 0",
    ],
    [
      entry({ responseTimeout: 300 }),
      'entry 2 ("prod"): responseTimeout: must be a duration with its unit, such as "10m"; ' +
      '"0" is no limit',
    ],
    [
      entry({ limits: { openRequests: 1.5 } }),
      'entry 2 ("prod"): limits: openRequests: must be a whole number, 0 for no limit',
    ],
    [
      entry({ limits: { requestsPerSecond: -1 } }),
      'entry 2 ("prod"): limits: requestsPerSecond: must be a number of at least 0, 0 for no limit',
    ],
    [
      entry({ limits: { perSecond: 5 } }),
      'entry 2 ("prod"): limits: unknown key "perSecond"; known are requestsPerSecond, ' +
      "openRequests, bytesPerSecond",
    ],
    ["prod", "entry 2: must be an object with id, token and targetAddr"],
    [null, "entry 2: must be an object with id, token and targetAddr"],
    [
      entry({ token: "", targetAddr: "" }),
      'entry 2 ("prod"): token: must be a non-empty string (and 1 more)',
    ],
  ];
  for (const [wrong, message] of cases) {
    const first = entry({ id: "first", token: `${TOKEN}-first` });
    assertRefused(() => read(first, wrong), `${SOURCE}, ${message}`);
  }
});

Deno.test("readClusters refuses the key __proto__ like any other that it does not know", () => {
  const text = JSON.stringify([entry()]).replace("{", '{"__proto__": {"id": "x"}, ');
  assertRefused(
    () => readClusters(text, SOURCE),
    `${SOURCE}, entry 1 ("prod"): unknown key "__proto__"; known are id, token, ` +
      "tokenSha256, tokens, targetAddr, impersonation, limits, responseTimeout, certificateName, hostnames, policy, callerPolicy, impersonate",
  );
});

const DIGEST = "9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08";

Deno.test("readClusters takes digests, and several tokens with names and expiries", () => {
  const tokens = [
    { name: "old", token: `${TOKEN}-old`, expires: "2090-01-31T12:00:00+01:00" },
    { name: "new", tokenSha256: DIGEST.replaceAll("9", "8") },
  ];
  const { clusters, warnings } = read(
    entry({ token: undefined, tokenSha256: DIGEST }),
    entry({ id: "b", token: undefined, tokens }),
  );
  assert.deepEqual(warnings, []);
  assert.deepEqual(clusters.map(({ tokens }) => tokens), [
    [{ name: "default", tokenSha256: DIGEST.toLowerCase() }],
    [
      { name: "old", token: `${TOKEN}-old`, expiresMs: Date.UTC(2090, 0, 31, 11) },
      { name: "new", tokenSha256: DIGEST.replaceAll("9", "8").toLowerCase() },
    ],
  ]);
});

Deno.test("readClusters warns of a token that has expired, and of a short one by its name", () => {
  const tokens = [
    { name: "old", token: `${TOKEN}-old`, expires: "2020-01-31T12:00:00Z" },
    { name: "new", token: "short" },
  ];
  assert.deepEqual(read(entry({ token: undefined, tokens })).warnings, [
    `${SOURCE}, entry 1 ("prod"): token "old": has expired, at 2020-01-31T12:00:00.000Z`,
    `${SOURCE}, entry 1 ("prod"): token "new": is shorter than 16 characters and can be guessed`,
  ]);
});

Deno.test("readClusters refuses tokens and digests that can't be meant", () => {
  const digest = "tokenSha256: must be the token's SHA-256 in 64 hexadecimal digits";
  const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
  const named = { name: "a", token: TOKEN };
  const cases: [Record<string, unknown>, string][] = [
    [{ tokenSha256: DIGEST.slice(1) }, digest],
    [{ tokenSha256: `${DIGEST.slice(1)}g` }, digest],
    [{ tokenSha256: `${DIGEST}\n` }, digest],
    [{ tokenSha256: 5 }, digest],
    [{ tokenSha256: empty }, "tokenSha256: is the SHA-256 of an empty text"],
    [{ token: TOKEN, tokenSha256: DIGEST }, "has token and tokenSha256; give one of them"],
    [{ token: TOKEN, tokens: [named] }, "has token and tokens; give one of them"],
    [{ tokens: [] }, "tokens: must be a list of 1 to 32 tokens"],
    [{ tokens: named }, "tokens: must be a list of 1 to 32 tokens"],
    [
      { tokens: Array.from({ length: 33 }, (_, i) => ({ name: `${i}`, token: `${TOKEN}${i}` })) },
      "tokens: must be a list of 1 to 32 tokens",
    ],
    [{ tokens: [TOKEN] }, "tokens: entry 1: must be an object with name, and token or tokenSha256"],
    [{ tokens: [named, { name: "b" }] }, "tokens: entry 2: needs token or tokenSha256"],
    [
      { tokens: [{ ...named, tokenSha256: DIGEST }] },
      "tokens: entry 1: has token and tokenSha256; give one of them",
    ],
    [
      { tokens: [{ token: TOKEN }] },
      'tokens: entry 1: name: must be 1 to 64 letters, digits, ".", "_" or "-"',
    ],
    [
      { tokens: [{ ...named, expired: "2030-01-01T00:00:00Z" }] },
      'tokens: entry 1: unknown key "expired"; did you mean "expires"?',
    ],
    ...["tomorrow", "2030-01-01", "2030-01-01T00:00:00", "2030-02-30T00:00:00Z", 1, ""].map((
      expires,
    ): [Record<string, unknown>, string] => [
      { tokens: [{ ...named, expires }] },
      'tokens: entry 1: expires: must be a time such as "2027-01-31T12:00:00Z"',
    ]),
    [{ tokens: [named, { ...named, token: `${TOKEN}2` }] }, 'has two tokens with the name "a"'],
  ];
  for (const [changes, message] of cases) {
    assertRefused(
      () => read(entry({ token: undefined, ...changes })),
      `${SOURCE}, entry 1 ("prod"): ${message}`,
    );
  }
});

Deno.test("readClusters refuses one token in two places", () => {
  const tokens = [{ name: "a", token: TOKEN }, { name: "b", token: TOKEN }];
  assertRefused(
    () => read(entry({ token: undefined, tokens })),
    `${SOURCE}, entry 1 ("prod"): has one token twice`,
  );
  const digest = (id: string, tokenSha256: string) => entry({ id, token: undefined, tokenSha256 });
  assertRefused(
    () => read(digest("a", DIGEST), digest("b", DIGEST.toLowerCase())),
    `${SOURCE}: entries 1 ("a") and 2 ("b") have the same token; each needs its own`,
  );
});

Deno.test("readClusters takes certificate names only where agents must show a certificate", () => {
  const text = JSON.stringify([
    entry({ certificateName: "agent.prod" }),
    entry({ id: "b", token: `${TOKEN}-b`, certificateName: ["a", "spiffe://b"] }),
    entry({ id: "c", token: `${TOKEN}-c` }),
  ]);
  const { clusters } = readClusters(text, SOURCE, { demandsCertificate: true });
  assert.deepEqual(clusters.map(({ certificateNames }) => certificateNames), [
    ["agent.prod"],
    ["a", "spiffe://b"],
    undefined,
  ]);
  assertRefused(
    () => readClusters(text, SOURCE, { demandsCertificate: false }),
    `${SOURCE}, entry 1 ("prod"): certificateName: needs --tls-client-ca, without which agents ` +
      "show no certificate",
  );
  for (const certificateName of ["", [], 7, {}, null]) {
    assertRefused(
      () => read(entry({ certificateName })),
      `${SOURCE}, entry 1 ("prod"): certificateName: must be a name in the agent's certificate ` +
        "(subject CN, DNS or URI), or a list of such",
    );
  }
});

Deno.test("readClustersTexts takes arrays and single entries, and tells files apart", () => {
  const context = { demandsCertificate: false };
  const texts = (...values: unknown[]) =>
    values.map((value, index) => ({ source: `File ${index}`, text: JSON.stringify(value) }));
  const [a, b] = [entry({ id: "a" }), entry({ id: "b", token: `${TOKEN}-b` })];
  const { clusters } = readClustersTexts(texts([a], b, []), "Directory", context);
  assert.deepEqual(clusters.map(({ id }) => id), ["a", "b"]);
  const cases: [unknown[], string][] = [
    [[a, { ...b, id: "a" }], 'File 0 and File 1 have the same id "a"'],
    [
      [[b, a], [{ ...a, id: "c" }]],
      'File 0, entry 2 ("a") and File 1, entry 1 ("c") have the ' +
      "same token; each needs its own",
    ],
    [[a, { ...b, targetAddr: 1 }], `File 1: ${TARGET}`],
    [
      [a, { ...b, x: 1, id: undefined }],
      'File 1: unknown key "x"; known are id, token, ' +
      "tokenSha256, tokens, targetAddr, impersonation, limits, responseTimeout, certificateName, hostnames, policy, callerPolicy, impersonate (and 1 more)",
    ],
    [[a, "b"], "File 1: must be a JSON array of clusters"],
  ];
  for (const [values, message] of cases) {
    assertRefused(() => readClustersTexts(texts(...values), "Directory", context), message);
  }
  assert.deepEqual(readClustersTexts(texts([]), "Directory", context).warnings, [
    "Directory has no entries: no agent can connect",
  ]);
});

Deno.test("readClusters refuses two entries with one id or one token", () => {
  const [a, b] = [entry({ id: "a" }), entry({ id: "b", token: `${TOKEN}-b` })];
  assertRefused(
    () => read(a, b, entry({ id: "a", token: `${TOKEN}-c` })),
    `${SOURCE}: entries 1 and 3 have the same id "a"`,
  );
  assertRefused(
    () => read(a, b, entry({ id: "c", token: `${TOKEN}-b` })),
    `${SOURCE}: entries 2 ("b") and 3 ("c") have the same token; each needs its own`,
  );
});

Deno.test("readClusters refuses what is no JSON array, and says where JSON ends", () => {
  const array = "it must be a JSON array of clusters";
  const cases: [string, string][] = [
    ["", `it is empty; ${array}`],
    [" \n", `it is empty; ${array}`],
    ["{}", "must be a JSON array of clusters"],
    ['"[]"', "must be a JSON array of clusters"],
    ['[{"id": "a"},]', `it is not JSON at line 1, column 14; ${array}`],
    ['[\n  {"id": "a" "token": "b"}\n]', `it is not JSON at line 2, column 14; ${array}`],
    ["- id: a\n  token: b\n", `it is not JSON at line 1, column 1; ${array}`],
  ];
  for (const [text, message] of cases) {
    assertRefused(() => readClusters(text, SOURCE), `${SOURCE}: ${message}`);
  }
});

Deno.test("readClusters never puts a token into a message or a warning", () => {
  // Letters that no message has beside each other, so that finding them proves a leak.
  const token = fc.string({ unit: fc.constantFrom(..."QZ7#"), minLength: 4, maxLength: 24 });
  const faults: ((json: string, token: string) => string)[] = [
    (json) => json.replace("]", ""),
    (json, token) => json.replace(`"${token}"`, token),
    (json, token) => json.replace(`"${token}"`, `"${token}\n"`),
    (json, token) => json.replace(`"${token}"`, `"${token}" x`),
    (json, token) => json.replace(`"${token}"`, `"${token}é"`),
    (json, token) => json.replace(`"${token}"`, `["${token}"]`),
    (json, token) => json.replace(`"${token}"`, `'${token}'`),
    (json) => json.replace("targetAddr", "target"),
    (json) => json.replace(":443", ""),
    (json) => json.replace(/^\[(.*)\]$/, "[$1,$1]"),
    (json) => json.slice(1, -1),
    (json) => `"${json}"`,
  ];
  fc.assert(fc.property(token, fc.constantFrom(...faults), (token, fault) => {
    const text = JSON.stringify([entry({ token })]);
    const broken = fault(text, token);
    assert.ok(!refusalOf(() => readClusters(broken, SOURCE)).includes(token));
  }));
  fc.assert(fc.property(token, (token) => {
    assert.ok(!read(entry({ token })).warnings.join().includes(token));
  }));
});

Deno.test("a key that stands twice in one entry is refused, with the file, entry, key and line", () => {
  const text = `[{"id": "a", "token": "QZQZQZQZQZQZQZQZ", "targetAddr": "a:1"},
    {"id": "b", "id": "c", "token": "ZQZQZQZQZQZQZQZQ", "targetAddr": "a:1"}]`;
  assertRefused(
    () => readClusters(text, 'Clusters file "x.json"'),
    'Clusters file "x.json", entry 2: has "id" twice, again at line 2, column 17; keep one',
  );
  const nested = '[{"id": "a", "tokens": [{"name": "x", "token": "QZ", "token": "ZQ"}]}]';
  assertRefused(
    () => readClusters(nested, "Option --clusters"),
    'Option --clusters, entry 1: tokens: entry 1: has "token" twice, again at line 1, column 54; ' +
      "keep one",
  );
  const one = '{"id": "a", "limits": {"openRequests": 1, "openRequests": 2}}';
  assertRefused(
    () =>
      readClustersTexts([{ text: one, source: "File a.json" }], "d", { demandsCertificate: false }),
    'File a.json: limits: has "openRequests" twice, again at line 1, column 43; keep one',
  );
});

Deno.test("lists about callers with a key twice are refused, too", () => {
  assertRefused(
    () => readCallerTokens('[{"name": "a", "name": "b"}]', "Caller tokens file"),
    'Caller tokens file, entry 1: has "name" twice, again at line 1, column 16; keep one',
  );
  assertRefused(
    () => readCallerClaims('[{"claim": "a", "claim": "b"}]', "Setting CALLER_JWT_RULES"),
    'Setting CALLER_JWT_RULES, entry 1: has "claim" twice, again at line 1, column 17; keep one',
  );
});

Deno.test("tokens in quotes, behind Bearer or with a carriage return are refused in files, too", () => {
  const token = "QZQZQZQZQZQZQZQZ";
  const cases = [
    [`"${token}"`, "is in double quotes; leave them out"],
    [`Bearer ${token}`, 'begins with "Bearer"; give the token alone'],
    [`${token}\r`, "holds a carriage return (CR); leave it out"],
  ] as const;
  for (const [text, fault] of cases) {
    const entry = { id: "a", token: text, targetAddr: "a:1" };
    assertRefused(
      () => readClusters(JSON.stringify([entry]), "Clusters file"),
      `Clusters file, entry 1 ("a"): token: ${fault}`,
    );
    const caller = { name: "a", token: text, clusters: ["*"] };
    assertRefused(
      () => readCallerTokens(JSON.stringify([caller]), "Caller tokens file"),
      `Caller tokens file, entry 1: token: ${fault}`,
    );
    if (text.endsWith("\r")) continue;
    assertRefused(
      () => readRelayTokens(`${token}\r\n${text}\r\n`, "Relay token file"),
      `Relay token file: line 2 ${fault}`,
    );
    assertRefused(
      () => checkedToken(`${text}\r\n`, "Option --token-file"),
      `Option --token-file: what was read ${fault}`,
    );
  }
  assert.deepEqual(readRelayTokens(`${token}\r\n`, "Relay token file"), [token]);
});
