import assert from "node:assert/strict";
import { hasReplicas, parseStoreAddress } from "../../lib/config/store_address.ts";

Deno.test("parseStoreAddress reads Sentinels, their primary's name and who logs in where", () => {
  assert.deepEqual(
    parseStoreAddress(
      "rediss+sentinel://app:p%40ss:w@s1,[fd00::1]:5000,S3:80/my.master-1/3?sentinel-password=a%26b",
    ),
    {
      kind: "sentinel",
      nodes: [
        { host: "s1", port: 26_379 },
        { host: "fd00::1", port: 5_000 },
        { host: "s3", port: 80 },
      ],
      login: { username: "app", password: "p@ss:w" },
      isTls: true,
      primary: "my.master-1",
      database: 3,
      sentinelLogin: { password: "a&b" },
    },
  );
});

Deno.test("parseStoreAddress reads nodes of a cluster, with a password alone", () => {
  assert.deepEqual(parseStoreAddress("redis+cluster://:secret@10.0.0.1,10.0.0.2:7001/"), {
    kind: "cluster",
    nodes: [{ host: "10.0.0.1", port: 6_379 }, { host: "10.0.0.2", port: 7_001 }],
    login: { password: "secret" },
    isTls: false,
  });
});

Deno.test("parseStoreAddress leaves the address of a single server as it is", () => {
  const url = "rediss://user:pass@h:6380/2";
  assert.deepEqual(parseStoreAddress(url), { kind: "single", url });
});

Deno.test("only Sentinels and clusters have servers that take each other's place", () => {
  const urls = ["redis://h", "redis+sentinel://h/primary", "redis+cluster://h"];
  assert.deepEqual(urls.map(hasReplicas), [false, true, true]);
});
