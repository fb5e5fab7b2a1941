import assert from "node:assert/strict";
import type { ClusterEntry } from "../../../lib/domain/cluster.ts";
import { digestToken, hashToken } from "../../../lib/relay/digests.ts";
import { SameTokenError, type TokenMatch, TokenTable } from "../../../lib/relay/agents/tokens.ts";

const prodToken = "prod-token-0123456789";
const testToken = "test-token-0123456789";

function cluster(id: string, ...tokens: ClusterEntry["tokens"]): ClusterEntry {
  return { id, tokens, targetAddr: `${id}:443`, impersonation: "strip" };
}

const prod = cluster("prod", { name: "default", token: prodToken });
const test = cluster("test", { name: "a", token: testToken, expiresMs: 5_000 });

async function find(table: TokenTable, token: string): Promise<TokenMatch | undefined> {
  const digest = await digestToken(token);
  const found = table.find(digest);
  assert.equal(found, table.get(digest), "both ways find the same");
  return found;
}

Deno.test("hashToken gives the SHA-256 of a token in hexadecimal", async () => {
  const digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
  assert.equal(await hashToken("test"), digest);
});

Deno.test("TokenTable.find gives cluster, name and expiry of a token, without the token", async () => {
  const table = await TokenTable.from([prod, test]);
  assert.deepEqual(await find(table, testToken), {
    cluster: { id: "test", targetAddr: "test:443", impersonation: "strip" },
    tokenName: "a",
    expiresMs: 5_000,
  });
  assert.equal((await find(table, prodToken))?.expiresMs, Infinity);
});

Deno.test("TokenTable.find knows each of a cluster's tokens, by itself or by its digest", async () => {
  const table = await TokenTable.from([
    cluster("prod", { name: "old", token: prodToken }, {
      name: "new",
      tokenSha256: await hashToken(testToken),
    }),
  ]);
  assert.equal((await find(table, prodToken))?.tokenName, "old");
  assert.equal((await find(table, testToken))?.tokenName, "new");
  assert.equal(await find(table, await hashToken(testToken)), undefined, "a digest is no token");
});

Deno.test("TokenTable.find takes nothing that only resembles a token", async () => {
  const table = await TokenTable.from([prod, test]);
  const wrong = [
    "",
    " ",
    "prod",
    prodToken.slice(0, -1),
    `${prodToken} `,
    ` ${prodToken}`,
    `${prodToken}\0`,
    prodToken.toUpperCase(),
    prodToken + testToken,
  ];
  for (const token of wrong) {
    assert.equal(await find(table, token), undefined, JSON.stringify(token));
  }
});

Deno.test("TokenTable.find finds nothing in an empty table", async () => {
  const table = await TokenTable.from([]);
  assert.equal(await find(table, ""), undefined);
});

Deno.test("TokenTable compares tokens of any characters by their bytes", async () => {
  const token = "t\u00f6ken-\u{1f511}-0123456789";
  const table = await TokenTable.from([cluster("prod", { name: "default", token })]);
  assert.equal((await find(table, token))?.cluster.id, "prod");
  assert.equal(await find(table, "to\u0308ken-\u{1f511}-0123456789"), undefined);
});

Deno.test("TokenTable.find compares the whole of a digest: one bit of difference is enough", async () => {
  const table = await TokenTable.from([test, prod]);
  const digest = await digestToken(prodToken);
  for (let bit = 0; bit < 256; bit++) {
    const other = digest.slice();
    other[bit >> 3]! ^= 1 << (bit & 7);
    assert.equal(table.find(other), undefined, `bit ${bit}`);
  }
  assert.equal(table.find(digest)?.cluster.id, "prod");
});

Deno.test("TokenTable.from refuses a token that two clusters share, however it is given", async () => {
  const digest = await hashToken(prodToken);
  for (const secret of [{ token: prodToken }, { tokenSha256: digest }]) {
    await assert.rejects(
      TokenTable.from([prod, test, cluster("c", { name: "x", ...secret })]),
      new SameTokenError(
        'Token "default" of cluster "prod" is also token "x" of cluster "c"; each needs its own',
      ),
    );
  }
});

Deno.test("TokenTable.changesTo counts clusters that came, went and changed", async () => {
  const before = await TokenTable.from([prod, test, cluster("c", { name: "x", token: "xxx" })]);
  const digest = await hashToken("xxx");
  const after = await TokenTable.from([
    { ...prod, targetAddr: "elsewhere:443" },
    cluster("c", { name: "x", tokenSha256: digest }),
    cluster("d", { name: "x", token: "ddd" }),
  ]);
  assert.deepEqual(before.changesTo(after), { added: 1, removed: 1, changed: 1 });
  assert.deepEqual(before.changesTo(before), { added: 0, removed: 0, changed: 0 });
});
