/** What a token may not do is refused, in every way in which it could be tried. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { AdminWorld, type Answer, entryFor, withState } from "./world.ts";

const clusters = "/admin/v1/clusters";
const services = "/admin/v1/services";
const policies = "/admin/v1/policies";

const service = {
  cluster: "a-one",
  hostnames: ["app.a.example.com"],
  target: "web",
  policy: "public",
};

function outcome({ status, body }: Answer): [number, string | undefined] {
  return [status, body?.error?.code];
}

const outOfScope = [403, "out_of_scope"];

/** A world in which everything is there already. */
async function withEntries(test: (world: AdminWorld) => Promise<void>): Promise<void> {
  await withState(async (state) => {
    await using world = await AdminWorld.start({ STATE: state });
    const put = async (path: string, body: unknown): Promise<void> => {
      const answer = await world.ask("PUT", path, body);
      equal(answer.status, 201, JSON.stringify(answer.body));
    };
    await put(`${clusters}/a-one`, entryFor("a-one"));
    await put(`${clusters}/b-one`, entryFor("b-one"));
    await put(`${services}/app-a`, service);
    await put(`${services}/app-b`, {
      ...service,
      cluster: "b-one",
      hostnames: ["app.b.example.com"],
    });
    // In its cluster, but at a hostname of others.
    await put(`${services}/mixed`, { ...service, hostnames: ["app.c.example.com"] });
    await put(`${policies}/ops-staff`, { any: [{ address: "10.0.0.0/8" }] });
    await test(world);
  });
}

Deno.test("a token adds, changes and deletes what is in its scope", () =>
  withEntries(async (world) => {
    const as = "team-a";
    const ask = (method: string, path: string, body?: unknown) =>
      world.ask(method, path, body, { as });
    equal((await ask("PUT", `${clusters}/a-two`, entryFor("a-two"))).status, 201);
    const policy = { any: [{ address: "192.0.2.0/24" }] };
    equal((await ask("PUT", `${policies}/team-a-staff`, policy)).status, 201);
    const own = { ...service, policy: "team-a-staff", hostnames: ["two.a.example.com"] };
    equal((await ask("PUT", `${services}/two`, own)).status, 201);
    equal((await ask("GET", `${services}/two`)).status, 200);
    deepEqual(outcome(await ask("DELETE", `${policies}/team-a-staff`)), [409, "in_use"]);
    equal((await ask("DELETE", `${services}/two`)).status, 200);
    equal((await ask("DELETE", `${policies}/team-a-staff`)).status, 200);
    equal((await ask("DELETE", `${clusters}/a-two`)).status, 200);
  }));

Deno.test("a token can't reach what is out of its scope, whether it is there or not", () =>
  withEntries(async (world) => {
    const cases: [string, string, unknown?][] = [
      ["GET", `${clusters}/b-one`],
      ["GET", `${clusters}/b-none`],
      ["PUT", `${clusters}/b-one`, entryFor("b-one")],
      ["PUT", `${clusters}/b-none`, entryFor("b-none")],
      ["PUT", `${clusters}/A-one`, entryFor("A-one")],
      ["DELETE", `${clusters}/b-one`],
      ["POST", `${clusters}/b-one/renew`],
      ["GET", `${clusters}/b-one/sessions`],
      ["GET", `${clusters}/b-one/streams`],
      ["DELETE", `${clusters}/b-one/sessions/x`],
      ["DELETE", `${clusters}/b-one/streams/x`],
      ["GET", "/admin/v1/sessions"],
      ["GET", `${services}/app-b`],
      ["GET", `${services}/mixed`],
      ["DELETE", `${services}/app-b`],
      ["DELETE", `${services}/mixed`],
      // The new entry is in scope, the one that is there is not; and the other way round.
      ["PUT", `${services}/app-b`, service],
      ["PUT", `${services}/mixed`, service],
      ["PUT", `${services}/app-a`, { ...service, cluster: "b-one" }],
      ["PUT", `${services}/app-a`, { ...service, hostnames: ["app.b.example.com"] }],
      ["PUT", `${services}/new`, { ...service, hostnames: ["x.a.example.com", "x.b.example.com"] }],
      ["PUT", `${services}/new`, { ...service, hostnames: ["*.b.example.com"] }],
      ["PUT", `${services}/new`, { ...service, hostnames: ["*.example.com"] }],
      ["PUT", `${services}/new`, { ...service, hostnames: ["x.y.a.example.com"] }],
      ["PUT", `${services}/new`, { ...service, hostnames: ["evil-a.example.com"] }],
      ["PUT", `${services}/new`, { ...service, hostnames: ["APP.B.example.com:8443"] }],
      ["PUT", `${services}/new`, {
        ...service,
        kind: "tcp",
        listen: "127.0.0.1:0",
        allow: ["::1"],
      }],
      // Hostnames that agents may claim.
      ["PUT", `${clusters}/a-two`, entryFor("a-two", { hostnames: ["b.org"], policy: "public" })],
      ["PUT", `${policies}/ops-staff`, { any: [{ address: "0.0.0.0/0" }] }],
      ["PUT", `${policies}/staff`, { any: [{ address: "0.0.0.0/0" }] }],
      ["PUT", `${policies}/team-ab`, { any: [{ address: "0.0.0.0/0" }] }],
      ["DELETE", `${policies}/ops-staff`],
      ["GET", `${policies}/ops-staff`],
    ];
    for (const [method, path, body] of cases) {
      const answer = await world.ask(method, path, body, { as: "team-a" });
      deepEqual(outcome(answer), outOfScope, `${method} ${path} ${JSON.stringify(body)}`);
      ok(Array.isArray(answer.body.error.allowed), path);
    }
    equal((await world.ask("GET", `${services}/app-b`)).body.cluster, "b-one", "nothing changed");
  }));

Deno.test("lists have what is in scope", () =>
  withEntries(async (world) => {
    const names = async (kind: string, as: string): Promise<string[]> => {
      const { body } = await world.ask("GET", `/admin/v1/${kind}`, undefined, { as });
      return body.items.map(({ id, name }: { id?: string; name?: string }) => id ?? name);
    };
    deepEqual(await names("clusters", "team-a"), ["a-one"]);
    deepEqual(await names("services", "team-a"), ["app-a"]);
    deepEqual(await names("policies", "team-a"), []);
    deepEqual(await names("clusters", "ops"), ["a-one", "b-one"]);
    deepEqual(await names("policies", "ops"), ["ops-staff"]);
    deepEqual(await names("services", "small"), []);
  }));

Deno.test("maxClusters bounds what a token has added, not what it changes", () =>
  withEntries(async (world) => {
    const put = (id: string, more: object = {}) =>
      world.ask("PUT", `${clusters}/${id}`, entryFor(id, more), { as: "small" });
    // All at once: the bound must hold among changes that wait.
    const ids = ["s-1", "s-2", "s-3", "s-4"];
    const answers = await Promise.all(ids.map((id) => put(id)));
    deepEqual(answers.map(({ status }) => status).sort(), [201, 201, 429, 429]);
    const [first, second] = ids.filter((_, index) => answers[index]!.status === 201);
    const [third] = ids.filter((_, index) => answers[index]!.status === 429);
    deepEqual(outcome(await put(third!)), [429, "too_many_clusters"]);
    equal((await put(first!, { targetAddr: "other:1" })).status, 200);
    await world.ask("DELETE", `${clusters}/${second}`, undefined, { as: "small" });
    equal((await put(third!)).status, 201);
    // What somebody else has added does not count.
    equal((await world.ask("PUT", `${clusters}/s-9`, entryFor("s-9"))).status, 201);
  }));

Deno.test("clusters of a token without autoAccept wait until another token accepts them", () =>
  withEntries(async (world) => {
    const path = `${clusters}/g-1`;
    const put = (accepted: boolean | undefined, as: string) =>
      world.ask("PUT", path, entryFor("g-1", accepted === undefined ? {} : { accepted }), { as });
    const first = await put(undefined, "guest");
    deepEqual([first.status, first.body.accepted], [202, false]);
    const own = await put(true, "guest");
    deepEqual([own.status, own.body.accepted], [202, false], "it can't accept itself");
    equal(world.relay.clusters.has("g-1"), false);
    const { body } = await world.ask("GET", "/admin/v1/status");
    const shown = body.clusters.find(({ id }: { id: string }) => id === "g-1");
    equal(shown.isAccepted, false);
    equal((await put(true, "ops")).status, 200);
    equal(world.relay.clusters.has("g-1"), true);
    equal((await put(undefined, "guest")).status, 200, "it stays accepted");
    equal((await put(false, "ops")).status, 202);
    equal(world.relay.clusters.has("g-1"), false);
  }));

Deno.test("a token's leaseSeconds is the longest lease of its entries, and that of those without", () =>
  withEntries(async (world) => {
    const put = async (more: Record<string, unknown>) => {
      const path = `${clusters}/l-one`;
      const { status, body } = await world.ask("PUT", path, entryFor("l-one", more), {
        as: "brief",
      });
      ok(status < 300, JSON.stringify(body));
      return body.leaseSeconds;
    };
    equal(await put({}), 60);
    equal(await put({ leaseSeconds: 3_600 }), 60);
    equal(await put({ leaseSeconds: 20 }), 20);
  }));

Deno.test("lists tell by which token an entry was added", () =>
  withEntries(async (world) => {
    await world.ask("PUT", `${clusters}/l-one`, entryFor("l-one"), { as: "brief" });
    const { body } = await world.ask("GET", clusters);
    const found = body.items.map((
      { id, registeredBy }: { id: string; registeredBy?: string },
    ) => [id, registeredBy]);
    ok(JSON.stringify(found).includes('["l-one","brief"]'));
    ok(JSON.stringify(found).includes('["a-one","ops"]'));
  }));

Deno.test("a token that is missing, wrong or expired gets 401 everywhere", () =>
  withEntries(async (world) => {
    for (
      const path of [clusters, `${clusters}/a-one`, "/admin/v1/watch", "/admin/v1/openapi.json"]
    ) {
      for (const as of ["", "nobody", "past"]) {
        const answer = await world.ask("GET", path, undefined, { as });
        deepEqual(outcome(answer), [401, "unauthorized"], `${as} ${path}`);
        equal(answer.headers.get("www-authenticate"), "Bearer");
      }
    }
    const basic = { headers: { Authorization: "Basic b3BzOng=" }, as: "" };
    equal((await world.ask("GET", clusters, undefined, basic)).status, 401);
    const failed = world.records.filter(({ event }) => event === "admin_denied");
    ok(failed.length > 0);
  }));

Deno.test("the admin listener answers under an address, localhost and its own names alone", () =>
  withState(async (state) => {
    await using world = await AdminWorld.start({ STATE: state, ADMIN_HOSTS: "admin.example.com" });
    for (
      const [host, status] of [
        ["127.0.0.1:9443", 200],
        ["[::1]:9443", 200],
        ["localhost", 200],
        ["ADMIN.example.com:9443", 200],
        ["evil.example.com", 421],
        ["admin.example.com.evil.org", 421],
      ] as const
    ) {
      const answer = await world.ask("GET", clusters, undefined, { headers: { Host: host } });
      equal(answer.status, status, host);
    }
  }));

Deno.test("a token whose name is the beginning of another's has none of its policies", () =>
  withEntries(async (world) => {
    const policy = { any: [{ address: "192.0.2.0/24" }] };
    const ask = (as: string, method: string, path: string, body?: unknown) =>
      world.ask(method, path, body, { as });
    const staff = `${policies}/team-a-staff`;
    equal((await ask("team-a", "PUT", staff, policy)).status, 201);
    equal((await ask("team", "PUT", `${policies}/team-b-staff`, policy)).status, 201);
    const open = { any: [{ address: "0.0.0.0/0" }] };
    for (const [method, path] of [["PUT", staff], ["PUT", `${policies}/team-a-new`]] as const) {
      const answer = await ask("team", method, path, open);
      deepEqual(outcome(answer), outOfScope);
      match(answer.body.error.message, /"team-a-" are for another token's policies/);
    }
    for (const method of ["GET", "DELETE"]) {
      deepEqual(outcome(await ask("team", method, staff)), outOfScope);
    }
    const { body: { items } } = await ask("team", "GET", policies);
    deepEqual(items.map(({ name }: { name: string }) => name), ["team-b-staff"]);
    const { body: kept } = await ask("team-a", "GET", staff);
    deepEqual(kept.any, policy.any);
  }));
