import { deepEqual, equal, match, notEqual } from "node:assert/strict";
import { Admission } from "../../lib/relay/agents/admissions.ts";
import { digestToken } from "../../lib/relay/digests.ts";
import type { Relay } from "../../lib/relay/relay.ts";
import { connectAgent } from "../relay/status/world.ts";
import { eventually } from "../support/deadline.ts";
import { AdminWorld, agentToken, entryFor, withState } from "./world.ts";

const path = "/admin/v1/clusters/dev";

async function isLetIn(relay: Relay, token: string): Promise<boolean> {
  const admission = relay.admissions.admit({
    digest: await digestToken(token),
    certificate: undefined,
  });
  if (!(admission instanceof Admission)) return false;
  relay.admissions.leave(admission);
  return true;
}

Deno.test("a cluster that is added lets its agents in once the API has answered", () =>
  withState(async (state) => {
    await using world = await AdminWorld.start({ STATE: state });
    equal(await isLetIn(world.relay, agentToken("dev")), false);
    const { status, headers, body } = await world.ask("PUT", path, entryFor("dev"));
    equal(status, 201);
    match(headers.get("etag")!, /^"[0-9a-f]{32}"$/);
    deepEqual(Object.keys(body).sort(), ["accepted", "id", "targetAddr", "tokenSha256"]);
    equal(await isLetIn(world.relay, agentToken("dev")), true);
  }));

Deno.test("an entry is returned as it is stored, without its token, and PUT takes it as it is", () =>
  withState(async (state) => {
    await using world = await AdminWorld.start({ STATE: state });
    const tokens = [{ name: "a", token: "token-a-0123456789abc" }, {
      name: "b",
      tokenSha256: "ab".repeat(32),
      expires: "2030-01-01T00:00:00Z",
    }];
    const more = { token: undefined, tokens, owner: "ci", leaseSeconds: 60 };
    const put = await world.ask("PUT", path, entryFor("dev", more));
    equal(put.status, 201);
    const got = await world.ask("GET", path);
    equal(got.status, 200);
    equal(got.headers.get("etag"), put.headers.get("etag"));
    equal(JSON.stringify(got.body).includes("token-a"), false);
    equal(got.body.tokens[0].tokenSha256.length, 64);
    const again = await world.ask("PUT", path, got.body);
    equal(again.status, 200);
    equal(again.headers.get("etag"), put.headers.get("etag"));
  }));

Deno.test("what is stored is there after a restart, in the format of the clusters' files", () =>
  withState(async (state) => {
    {
      await using world = await AdminWorld.start({ STATE: state });
      await world.ask("PUT", path, entryFor("dev"));
      await world.ask("PUT", "/admin/v1/clusters/Other_.-1", entryFor("other"));
      equal((await Deno.stat(state)).mode! & 0o777, 0o700);
    }
    {
      await using world = await AdminWorld.start({ STATE: state });
      equal(await isLetIn(world.relay, agentToken("dev")), true);
      equal(await isLetIn(world.relay, agentToken("other")), true);
    }
    await using world = await AdminWorld.start({ CLUSTERS: `${state}/clusters` });
    deepEqual([...world.relay.clusters.keys()].sort(), ["Other_.-1", "dev"]);
  }));

Deno.test("a cluster that is deleted puts its agents out, and only them", () =>
  withState(async (state) => {
    await using world = await AdminWorld.start({ STATE: state });
    await world.ask("PUT", path, entryFor("dev"));
    await world.ask("PUT", "/admin/v1/clusters/kept", entryFor("kept"));
    const gone = await connectAgent(world.relay, { token: agentToken("dev"), instance: "one" });
    const kept = await connectAgent(world.relay, { token: agentToken("kept"), instance: "two" });
    equal((await world.ask("DELETE", path)).status, 200);
    await eventually(() => gone.closedWith?.code === 1008, "the agent to be put out");
    equal(kept.closedWith, undefined);
    equal((await world.ask("GET", path)).status, 404);
    equal((await world.ask("DELETE", path)).status, 404);
    kept.events.closed(1000, "");
    gone.events.closed(1008, "");
  }));

Deno.test("an entry that is changed has another ETag, and sessions that it still lets in go on", () =>
  withState(async (state) => {
    await using world = await AdminWorld.start({ STATE: state });
    const first = await world.ask("PUT", path, entryFor("dev"));
    const agent = await connectAgent(world.relay, { token: agentToken("dev"), instance: "one" });
    const changed = entryFor("dev", { targetAddr: "another.example:443" });
    const second = await world.ask("PUT", path, changed);
    equal(second.status, 200);
    notEqual(second.headers.get("etag"), first.headers.get("etag"));
    equal(world.relay.clusters.get("dev")!.targetAddr, "another.example:443");
    equal(agent.closedWith, undefined);
    agent.events.closed(1000, "");
  }));

Deno.test("each change is in the log and the audit log with the token's name", () =>
  withState(async (state) => {
    await using world = await AdminWorld.start({ STATE: state });
    await world.ask("PUT", path, entryFor("dev"));
    await world.ask("DELETE", path);
    await world.ask("PUT", "/admin/v1/clusters/b", entryFor("b"), { as: "team-a" });
    const events = world.records.map(({ event, by, action, name, result }) =>
      [event, by, action, name, result].filter((it) => it !== undefined).join(" ")
    );
    deepEqual(events, [
      "admin_start ops put dev",
      "admin_end ops put dev added",
      "admin_start ops delete dev",
      "admin_end ops delete dev deleted",
      "admin_denied team-a",
    ]);
    const logged = world.lines.filter(({ message }) => message === "Changed through the admin API");
    deepEqual(logged.map(({ fields }) => [fields["by"], fields["result"]]), [
      ["ops", "added"],
      ["ops", "deleted"],
    ]);
    equal(JSON.stringify([world.records, world.lines]).includes(agentToken("dev")), false);
  }));
