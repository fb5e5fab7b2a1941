import assert from "node:assert/strict";
import fc from "fast-check";
import { readClusters } from "../../lib/config/clusters.ts";
import { assertRefused, refusalOf } from "./support.ts";

const SOURCE = 'Clusters file "x.json"';
const TOKEN = "0123456789abcdef";

/** A correct entry with changes; a key that is set to undefined is left out of the JSON. */
function entry(changes: Record<string, unknown> = {}): Record<string, unknown> {
  return { id: "prod", token: TOKEN, targetAddr: "kubernetes.default.svc:443", ...changes };
}

function read(...entries: unknown[]) {
  return readClusters(JSON.stringify(entries), SOURCE);
}

Deno.test("readClusters gives entries as they stand, and drops impersonation by default", () => {
  const forwarding = entry({ id: "b", token: `${TOKEN}-b`, impersonation: "forward" });
  assert.deepEqual(read(entry(), forwarding), {
    clusters: [entry({ impersonation: "strip" }), forwarding],
    warnings: [],
  });
});

Deno.test("readClusters takes the example that existing users know, with a warning", () => {
  const text = '[{"id": "dev", "token": "dev-token", "targetAddr": "127.0.0.1:6443"}]\n';
  assert.deepEqual(readClusters(text, SOURCE), {
    clusters: [{
      id: "dev",
      token: "dev-token",
      targetAddr: "127.0.0.1:6443",
      impersonation: "strip",
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
  "targetAddr: must be HOST:PORT such as kubernetes.default.svc:443, 10.0.0.1:6443 or [fd00::1]:6443";

Deno.test("readClusters refuses a wrong entry by number, id and key", () => {
  const cases: [unknown, string][] = [
    [entry({ token: "" }), 'entry 2 ("prod"): token: must be a non-empty string'],
    [entry({ token: undefined }), 'entry 2 ("prod"): token: must be a non-empty string'],
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
    [entry({ targetAddr: undefined }), `entry 2 ("prod"): ${TARGET}`],
    [entry({ targetAddr: null }), `entry 2 ("prod"): ${TARGET}`],
    [
      entry({ impersonation: true }),
      'entry 2 ("prod"): impersonation: must be "strip" or "forward"',
    ],
    [
      entry({ targetAddr: undefined, targetaddr: "a:1" }),
      'entry 2 ("prod"): unknown key "targetaddr"; did you mean "targetAddr"? (and 1 more)',
    ],
    [
      entry({ rateLimit: 5 }),
      'entry 2 ("prod"): unknown key "rateLimit"; known are id, token, targetAddr, impersonation',
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
    `${SOURCE}, entry 1 ("prod"): unknown key "__proto__"; known are id, token, targetAddr, ` +
      "impersonation",
  );
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
