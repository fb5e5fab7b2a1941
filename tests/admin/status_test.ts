import { deepEqual, equal, match, ok } from "node:assert/strict";
import { ask, connectAgent } from "../relay/status/world.ts";
import { eventually } from "../support/deadline.ts";
import { AdminWorld, agentToken, entryFor, withState } from "./world.ts";

const clusters = "/admin/v1/clusters";

async function withAgent(
  test: (world: AdminWorld, closed: () => boolean) => Promise<void>,
): Promise<void> {
  await withState(async (state) => {
    await using world = await AdminWorld.start({ STATE: state });
    await world.ask("PUT", `${clusters}/a-one`, entryFor("a-one"));
    await world.ask("PUT", `${clusters}/b-two`, entryFor("b-two"));
    const socket = await connectAgent(world.relay, {
      token: agentToken("a-one"),
      instance: "one",
      announces: { targets: [{ name: "target.example:443", kind: "http" }], hash: "h1" },
    });
    await test(world, () => socket.closedWith !== undefined);
    socket.events.closed(1000, "");
  });
}

Deno.test("a cluster's sessions are listed, and one is disconnected", () =>
  withAgent(async (world, isClosed) => {
    const { status, body } = await world.ask("GET", `${clusters}/a-one/sessions`);
    equal(status, 200);
    const [session] = body.items;
    equal(session.instance, "one");
    equal(session.address, "192.0.2.7");
    equal(session.targetsHash, "h1");
    match(session.since, /^\d{4}-\d\d-\d\dT/);
    const path = `${clusters}/a-one/sessions/${session.id}`;
    equal((await world.ask("DELETE", `${clusters}/b-two/sessions/${session.id}`)).status, 404);
    equal((await world.ask("DELETE", path)).status, 200);
    await eventually(isClosed, "the agent to be disconnected");
    const record = world.records.at(-1)!;
    deepEqual([record["event"], record["action"], record["by"]], [
      "admin_end",
      "disconnect",
      "ops",
    ]);
  }));

Deno.test("a cluster's streams are listed, and one is ended", () =>
  withAgent(async (world) => {
    const request = ask(world.relay, "https://localhost/tunnel/a-one/logs?follow=true")
      .catch(() => undefined);
    await eventually(() => world.relay.underWay.size === 1, "the request to be under way");
    const { body: { items } } = await world.ask("GET", `${clusters}/a-one/streams`);
    deepEqual([items[0].method, items[0].path, items[0].cluster], ["GET", "/logs", "a-one"]);
    equal((await world.ask("GET", `${clusters}/b-two/streams`)).body.items.length, 0);
    equal((await world.ask("DELETE", `${clusters}/a-one/streams/${items[0].id}`)).status, 200);
    await eventually(() => world.relay.underWay.size === 0, "the request to end");
    await request;
  }));

Deno.test("sessions, streams and the status show what is in the token's scope", () =>
  withAgent(async (world) => {
    const as = "team-a";
    equal((await world.ask("GET", `${clusters}/a-one/sessions`, undefined, { as })).status, 200);
    const other = await world.ask("GET", `${clusters}/b-two/sessions`, undefined, { as });
    deepEqual([other.status, other.body.error.code], [403, "out_of_scope"]);
    deepEqual(other.body.error.allowed, ["a-*"]);
    const { body } = await world.ask("GET", "/admin/v1/status", undefined, { as });
    deepEqual(body.clusters.map(({ id }: { id: string }) => id), ["a-one"]);
    const agents = await world.ask("GET", "/admin/v1/agents", undefined, { as: "small" });
    deepEqual(agents.body.items, []);
  }));

Deno.test("people's sessions are for tokens with people", () =>
  withAgent(async (world) => {
    deepEqual((await world.ask("GET", "/admin/v1/sessions")).body, { items: [], isComplete: true });
    for (
      const [method, path] of [
        ["GET", "/admin/v1/sessions"],
        ["DELETE", "/admin/v1/sessions?user=ann"],
        ["DELETE", "/admin/v1/sessions/x"],
      ] as const
    ) {
      equal((await world.ask(method, path, undefined, { as: "team-a" })).status, 403, path);
    }
    equal((await world.ask("DELETE", "/admin/v1/sessions")).status, 400);
    equal((await world.ask("DELETE", "/admin/v1/sessions/none")).status, 404);
    deepEqual((await world.ask("DELETE", "/admin/v1/sessions?user=ann")).body, { ended: 0 });
  }));

Deno.test("the OpenAPI document has every path of the API, and the entries' keys", () =>
  withAgent(async (world) => {
    const { status, body } = await world.ask("GET", "/admin/v1/openapi.json");
    equal(status, 200);
    equal(body.openapi, "3.1.0");
    const { Cluster, Service } = body.components.schemas;
    for (const key of ["tokenSha256", "targetAddr", "hostnames", "owner", "leaseSeconds"]) {
      ok(key in Cluster.properties, key);
    }
    equal(Cluster.additionalProperties, false);
    deepEqual(Service.required.sort(), ["cluster", "hostnames", "policy", "target"]);
    for (const [path, operations] of Object.entries<Record<string, unknown>>(body.paths)) {
      for (const method of Object.keys(operations).filter((it) => it !== "parameters")) {
        if (path === "/admin/v1/watch") continue;
        const url = path.replaceAll(/\{\w+\}/g, "x");
        const answer = await world.ask(
          method.toUpperCase(),
          url,
          method === "put" ? {} : undefined,
        );
        ok(answer.body?.error?.code !== "no_such_path", `${method} ${path}`);
        ok(answer.status !== 405, `${method} ${path}`);
        ok(
          String(answer.status) in (operations[method] as { responses: object }).responses ||
            answer.status === 400,
          `${method} ${path}: ${answer.status}`,
        );
      }
    }
  }));
