import assert from "node:assert/strict";
import { type ClusterToken, TokenTable } from "../../lib/relay/tokens.ts";

const prod: ClusterToken = {
  id: "prod",
  token: "prod-token-0123456789",
  targetAddr: "prod:443",
  impersonation: "strip",
};
const test: ClusterToken = {
  id: "test",
  token: "test-token-0123456789",
  targetAddr: "test:443",
  impersonation: "forward",
};

Deno.test("TokenTable.find gives the cluster of a token, without the token", async () => {
  const table = await TokenTable.from([prod, test]);
  assert.deepEqual(await table.find(test.token), {
    id: "test",
    targetAddr: "test:443",
    impersonation: "forward",
  });
});

Deno.test("TokenTable.find takes nothing that only resembles a token", async () => {
  const table = await TokenTable.from([prod, test]);
  const wrong = [
    "",
    " ",
    "prod",
    prod.token.slice(0, -1),
    `${prod.token} `,
    ` ${prod.token}`,
    `${prod.token}\0`,
    prod.token.toUpperCase(),
    prod.token + test.token,
  ];
  for (const token of wrong) {
    assert.equal(await table.find(token), undefined, JSON.stringify(token));
  }
});

Deno.test("TokenTable.find finds nothing in an empty table", async () => {
  const table = await TokenTable.from([]);
  assert.equal(await table.find(""), undefined);
});

Deno.test("TokenTable compares tokens of any characters by their bytes", async () => {
  const table = await TokenTable.from([{ ...prod, token: "t\u00f6ken-\u{1f511}-0123456789" }]);
  assert.equal((await table.find("t\u00f6ken-\u{1f511}-0123456789"))?.id, "prod");
  assert.equal(await table.find("to\u0308ken-\u{1f511}-0123456789"), undefined);
});

Deno.test("TokenTable.find tells tokens apart by the whole of what it compares", async () => {
  // Comparing less, a single byte even, would let some of so many through.
  const table = await TokenTable.from([prod]);
  const guesses = Array.from({ length: 3_000 }, (_, index) => table.find(`guess-${index}`));
  const found = (await Promise.all(guesses)).filter((cluster) => cluster !== undefined);
  assert.deepEqual(found, []);
});
