/** Conditions, owners, leases and bad input. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { eventually } from "../support/deadline.ts";
import { connectAgent } from "../relay/status/world.ts";
import { AdminWorld, agentToken, type Answer, entryFor, withState } from "./world.ts";

const path = "/admin/v1/clusters/dev";

function outcome({ status, body }: Answer): [number, string | undefined, string | undefined] {
  return [status, body?.error?.code, body?.error?.field];
}

function withWorld(test: (world: AdminWorld) => Promise<void>): Promise<void> {
  return withState(async (state) => {
    await using world = await AdminWorld.start({ STATE: state });
    await test(world);
  });
}

Deno.test("If-Match and If-None-Match decide whether an entry is changed", () =>
  withWorld(async (world) => {
    const put = (headers: Record<string, string>, more: object = {}) =>
      world.ask("PUT", path, entryFor("dev", more), { headers });
    equal((await put({ "If-Match": "*" })).status, 412, "there is nothing to match");
    const first = await put({ "If-None-Match": "*" });
    equal(first.status, 201);
    const etag = first.headers.get("etag")!;
    equal((await put({ "If-None-Match": "*" })).status, 412);
    equal((await put({ "If-Match": `W/${etag}` }, { targetAddr: "b:1" })).status, 412, "weak");
    equal((await put({ "If-Match": '"other"' }, { targetAddr: "b:1" })).status, 412);
    const second = await put({ "If-Match": `"x", ${etag}` }, { targetAddr: "b:1" });
    equal(second.status, 200);
    equal((await put({ "If-Match": etag }, { targetAddr: "c:1" })).status, 412, "it has changed");
    equal((await put({ "If-Match": "nonsense" })).status, 400);
    const get = (tag: string) =>
      world.ask("GET", path, undefined, { headers: { "If-None-Match": tag } });
    equal((await get(second.headers.get("etag")!)).status, 304);
    equal((await get(etag)).status, 200);
    equal(
      (await world.ask("DELETE", path, undefined, { headers: { "If-Match": etag } })).status,
      412,
    );
    equal(
      (await world.ask("DELETE", path, undefined, { headers: { "If-Match": "*" } })).status,
      200,
    );
  }));

Deno.test("of writers that come at once with one ETag, one changes the entry", () =>
  withWorld(async (world) => {
    const { headers } = await world.ask("PUT", path, entryFor("dev"));
    const options = { headers: { "If-Match": headers.get("etag")! } };
    const answers = await Promise.all(
      Array.from(
        { length: 20 },
        (_, index) =>
          world.ask("PUT", path, entryFor("dev", { targetAddr: `t${index}:1` }), options),
      ),
    );
    const statuses = answers.map(({ status }) => status).sort();
    deepEqual(statuses, [200, ...Array.from({ length: 19 }, () => 412)]);
  }));

Deno.test("an entry belongs to its owner", () =>
  withWorld(async (world) => {
    const put = (owner?: string) =>
      world.ask("PUT", path, entryFor("dev", owner === undefined ? {} : { owner }));
    equal((await put()).status, 201);
    equal((await put("one")).status, 200, "it had no owner");
    deepEqual(outcome(await put("two")), [409, "other_owner", "owner"]);
    deepEqual(outcome(await put()), [409, "other_owner", "owner"]);
    equal((await world.ask("DELETE", `${path}?owner=two`)).status, 409);
    await world.ask("PUT", "/admin/v1/clusters/other", entryFor("other", { owner: "two" }));
    const { body } = await world.ask("GET", "/admin/v1/clusters?owner=one");
    deepEqual(body.items.map(({ id }: { id: string }) => id), ["dev"]);
    equal((await world.ask("DELETE", `${path}?owner=one`)).status, 200);
  }));

Deno.test("a lease is renewed, and an entry without one says so", () =>
  withWorld(async (world) => {
    await world.ask("PUT", path, entryFor("dev"));
    deepEqual(outcome(await world.ask("POST", `${path}/renew`)), [409, "no_lease", undefined]);
    const leased = await world.ask("PUT", path, entryFor("dev", { leaseSeconds: 60 }));
    equal(leased.status, 200);
    const renewed = await world.ask("POST", `${path}/renew`);
    equal(renewed.status, 200);
    equal(renewed.headers.get("etag"), leased.headers.get("etag"), "it is no other version");
    ok(Date.parse(renewed.body.leaseEnds) > Date.now());
    equal((await world.ask("POST", "/admin/v1/clusters/none/renew")).status, 404);
    for (const leaseSeconds of [9, 1.5, -1, "60", 2_592_001, null]) {
      const answer = await world.ask("PUT", path, entryFor("dev", { leaseSeconds }));
      deepEqual(outcome(answer), [422, "invalid", "leaseSeconds"], String(leaseSeconds));
    }
  }));

Deno.test("two clusters can't have one token or overlapping hostnames, and nobody learns whose they are", () =>
  withWorld(async (world) => {
    const claims = { hostnames: ["*.apps.example.com"], policy: "public" };
    await world.ask("PUT", path, entryFor("dev", claims));
    const twin = await world.ask("PUT", "/admin/v1/clusters/twin", entryFor("dev"));
    deepEqual(outcome(twin), [409, "taken", "tokenSha256"]);
    const overlapping = { ...claims, hostnames: ["x.apps.example.com"] };
    const other = await world.ask(
      "PUT",
      "/admin/v1/clusters/other",
      entryFor("other", overlapping),
    );
    deepEqual(outcome(other), [409, "taken", "hostnames"]);
    ok(!JSON.stringify([twin.body, other.body]).includes("dev"));
    // Once it is gone, they are free.
    await world.ask("DELETE", path);
    equal((await world.ask("PUT", "/admin/v1/clusters/twin", entryFor("dev"))).status, 201);
    equal(
      (await world.ask("PUT", "/admin/v1/clusters/other", entryFor("other", overlapping))).status,
      201,
    );
  }));

Deno.test("a wrong body is refused with the key that is wrong, and nothing changes", () =>
  withWorld(async (world) => {
    const cases: [unknown, string][] = [
      [{}, ""],
      [entryFor("dev", { targetAdr: "x:1" }), "targetAdr"],
      [entryFor("dev", { token: "x", tokenSha256: "ab".repeat(32) }), ""],
      [entryFor("dev", { token: 1 }), "token"],
      [entryFor("dev", { token: " x" }), "token"],
      [{ tokenSha256: "short", targetAddr: "t:1" }, "tokenSha256"],
      [entryFor("dev", { targetAddr: "no port" }), "targetAddr"],
      [entryFor("dev", { limits: { requestsPerSecond: -1 } }), "limits.requestsPerSecond"],
      [entryFor("dev", { limits: { request: 1 } }), "limits.request"],
      [{ tokens: [{ name: "a", token: "t", expires: "soon" }] }, "tokens.0.expires"],
      [entryFor("dev", { id: "other" }), "id"],
      [entryFor("dev", { hostnames: ["x.org"] }), "policy"],
      [entryFor("dev", { hostnames: ["x.org"], policy: "nobody" }), "policy"],
      [entryFor("dev", { callerPolicy: "nobody" }), "callerPolicy"],
      [entryFor("dev", { certificateName: "agent" }), "certificateName"],
      [entryFor("dev", { owner: "" }), "owner"],
      [entryFor("dev", { accepted: "yes" }), "accepted"],
      [entryFor("dev", { __proto__x: 1 }), "__proto__x"],
      [entryFor("dev", { admin: { by: "ops" } }), "admin"],
      [
        { tokens: [{ name: "a", token: "same-token" }, { name: "b", token: "same-token" }] },
        "tokens",
      ],
      [[], ""],
      [null, ""],
      ["text", ""],
      [1, ""],
    ];
    for (const [body, field] of cases) {
      const answer = await world.ask("PUT", path, body);
      deepEqual(outcome(answer), [422, "invalid", field], JSON.stringify(body));
    }
    for (const id of ["..", "a%2Fb", "%00", "a b", "x".repeat(254), "ü"]) {
      const answer = await world.ask("PUT", `/admin/v1/clusters/${id}`, entryFor("x"));
      ok([404, 422, 405].includes(answer.status), `${id}: ${answer.status}`);
    }
    equal((await world.ask("GET", "/admin/v1/clusters")).body.items.length, 0);
  }));

Deno.test("a body that is no JSON, has a key twice or is too large is refused", () =>
  withWorld(async (world) => {
    const texts: [string, number][] = [
      ["", 400],
      ["{", 400],
      ["{}}", 400],
      ['{"token": "a-token-0123456789", "token": "b-token-0123456789", "targetAddr": "t:1"}', 400],
      ["\u0000", 400],
      ["[".repeat(100_000), 400],
      [`{"owner": "${"x".repeat(1024 * 1024)}"}`, 413],
      [" ".repeat(1024 * 1024 + 1), 413],
    ];
    for (const [text, status] of texts) {
      const answer = await world.ask("PUT", path, undefined, { text });
      equal(answer.status, status, text.slice(0, 40));
      ok(answer.body.error.message);
      ok(!answer.body.error.message.includes("a-token"));
    }
  }));

Deno.test("other paths and methods are refused in the same form", () =>
  withWorld(async (world) => {
    equal((await world.ask("GET", "/admin/v1/nothing")).body.error.code, "no_such_path");
    equal((await world.ask("GET", "/nothing")).status, 404);
    const answer = await world.ask("PATCH", path, {});
    equal(answer.status, 405);
    match(answer.headers.get("allow")!, /GET, HEAD, PUT, DELETE/);
  }));

Deno.test("entries of files are shown, and can't be changed", () =>
  withState(async (state) => {
    const token = "token-of-the-file-0123456789";
    const CLUSTERS = JSON.stringify([{ id: "dev", token, targetAddr: "t:1" }]);
    const SERVICES = JSON.stringify({
      services: [{
        name: "app",
        hostnames: ["a.org"],
        cluster: "dev",
        target: "t",
        policy: "staff",
      }],
      policies: [{ name: "staff", any: [{ address: "10.0.0.0/8" }] }],
    });
    await using world = await AdminWorld.start({ STATE: state, CLUSTERS, SERVICES });
    const { body } = await world.ask("GET", path);
    equal(body.source, "configuration");
    ok(!JSON.stringify(body).includes(token));
    for (
      const [method, at, entry] of [
        ["PUT", path, entryFor("dev")],
        ["DELETE", path],
        ["POST", `${path}/renew`],
        ["DELETE", "/admin/v1/services/app"],
      ] as const
    ) {
      deepEqual(outcome(await world.ask(method, at, entry)), [409, "configured", undefined], at);
    }
    const same = { token, targetAddr: "t:1" };
    deepEqual(outcome(await world.ask("PUT", "/admin/v1/clusters/b", same)), [
      409,
      "taken",
      "tokenSha256",
    ]);
    const taken = { cluster: "dev", hostnames: ["A.org"], target: "t", policy: "public" };
    deepEqual(outcome(await world.ask("PUT", "/admin/v1/services/b", taken)), [
      409,
      "taken",
      "hostnames",
    ]);
    const own = { cluster: "dev", hostnames: ["b.org"], target: "t", policy: "staff" };
    equal(
      (await world.ask("PUT", "/admin/v1/services/b", own)).status,
      201,
      "the files' policies count",
    );
    deepEqual(world.relay.services.table.services.map(({ name }) => name), ["app", "b"]);
  }));

Deno.test("what files have counts before what the API has", () =>
  withState(async (state) => {
    await using world = await AdminWorld.start({ STATE: state });
    await world.ask("PUT", path, entryFor("dev"));
    await world.ask("PUT", "/admin/v1/clusters/other", entryFor("other"));
    const file = {
      id: "dev",
      targetAddr: "file:1",
      impersonation: "refuse",
      tokens: [{ name: "default", token: "token-of-the-file-0123456789" }],
    } as const;
    await world.published.replaceClusters([file]);
    equal(world.relay.clusters.get("dev")!.targetAddr, "file:1");
    ok(world.relay.clusters.has("other"));
    const left = world.lines.find(({ message }) =>
      message.startsWith("Ignored an entry of the admin API")
    );
    equal(left?.fields["name"], "dev");
    await world.published.replaceClusters([]);
    equal(world.relay.clusters.get("dev")!.targetAddr, "target.example:443", "it is back");
  }));

Deno.test("without a place to keep entries, changes get 503 and the rest works", async () => {
  await using world = await AdminWorld.start();
  deepEqual(outcome(await world.ask("PUT", path, entryFor("dev"))), [503, "no_store", undefined]);
  equal((await world.ask("GET", "/admin/v1/clusters")).status, 200);
});

Deno.test("if nothing can be written, changes get 503, and what is in use and stored stays", () =>
  withState(async (state) => {
    {
      await using world = await AdminWorld.start({ STATE: state });
      await world.ask("PUT", path, entryFor("dev"));
      // As a file system that has become read-only: nothing can be made in the folder.
      await Deno.rename(`${state}/clusters`, `${state}/away`);
      await Deno.writeTextFile(`${state}/clusters`, "");
      for (
        const [method, at, body] of [
          ["PUT", "/admin/v1/clusters/b", entryFor("b")],
          ["PUT", path, entryFor("dev", { targetAddr: "other:1" })],
        ] as const
      ) {
        deepEqual(outcome(await world.ask(method, at, body)), [
          503,
          "store_unavailable",
          undefined,
        ]);
      }
      equal(world.relay.clusters.get("dev")!.targetAddr, "target.example:443");
      equal(world.relay.clusters.has("b"), false);
      await Deno.remove(`${state}/clusters`);
      await Deno.rename(`${state}/away`, `${state}/clusters`);
      equal((await world.ask("PUT", "/admin/v1/clusters/b", entryFor("b"))).status, 201);
    }
    await using world = await AdminWorld.start({ STATE: state });
    deepEqual([...world.relay.clusters.keys()].sort(), ["b", "dev"]);
  }));

Deno.test("an entry goes when its lease has ended, unless its cluster has agents", () =>
  withState(async (state) => {
    await using world = await AdminWorld.start({ STATE: state });
    const used = "/admin/v1/clusters/used";
    await world.ask("PUT", used, entryFor("used", { leaseSeconds: 10 }));
    const agent = await connectAgent(world.relay, { token: agentToken("used"), instance: "one" });
    await world.ask("PUT", path, entryFor("dev", { leaseSeconds: 10 }));
    await world.ask("PUT", "/admin/v1/clusters/kept", entryFor("kept"));
    await eventually(() => !world.relay.clusters.has("dev"), "the lease to end", 120_000);
    ok(world.relay.clusters.has("kept"));
    equal((await world.ask("GET", path)).status, 404);
    equal((await world.ask("GET", used)).status, 200);
    equal(agent.closedWith, undefined);
    agent.events.closed(1000, "");
    const record = world.records.find(({ action }) => action === "expire")!;
    deepEqual([record["action"], record["by"], record["name"]], ["expire", "ops", "dev"]);
  }));
