/** Whoever is not let in must not be able to fill the disk that others' records need. */
import { equal, ok } from "node:assert/strict";
import { CLUSTER, requestHead, tunnelled, withTunnel } from "../http/tunnel.ts";
import { statusOf } from "../http/wire.ts";

const longPath = `/${"a".repeat(30_000)}`;
const token = "token-of-the-audited-one";

Deno.test("the audit log has little of a refused caller's words, and all of another's", async () => {
  const folder = await Deno.makeTempDir({ prefix: "culvert-audit-" });
  try {
    const path = `${folder}/audit.log`;
    const tokens = [{ name: "one", token, clusters: [CLUSTER] }];
    const relayArgs = ["-audit-log", path, "-caller-tokens", JSON.stringify(tokens)];
    await withTunnel(async (tunnel) => {
      const ask = async (target: string, fields: string[], method = "GET"): Promise<number> =>
        statusOf(await tunnel.ask(requestHead(method, target, fields)));
      equal(await ask(tunnelled(longPath), []), 401);
      equal(await ask(`/tunnel/${"b".repeat(30_000)}/`, []), 401);
      equal(await ask(tunnelled("/"), [], "M".repeat(30_000)), 401);
      equal(await ask(tunnelled(longPath), [`Authorization: Bearer ${token}`]), 200);
    }, { relayArgs });
    const lines = (await Deno.readTextFile(path)).trimEnd().split("\n");
    const records = lines.map((line) => JSON.parse(line));
    const denied = lines.filter((_, index) => records[index].event === "denied");
    equal(denied.length, 3);
    for (const line of denied) ok(line.length < 4_096, `a line of ${line.length} characters`);
    const begun = records.filter(({ event }) => event === "start");
    equal(begun.length, 1);
    equal(begun[0].path, longPath);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
