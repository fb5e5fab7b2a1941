import assert from "node:assert/strict";
import type { Log } from "../../lib/log.ts";
import { MemorySessions } from "../../lib/relay/signin/sessions/memory_sessions.ts";
import { PeopleSessions } from "../../lib/relay/signin/people_sessions.ts";
import { RecordMemory } from "../../lib/relay/signin/sessions/record_memory.ts";
import {
  maxSessionsOfPerson,
  type SessionRecord,
} from "../../lib/relay/signin/sessions/sessions.ts";

const issuer = "https://idp.example.net";
const hour = 3_600_000;

function record(id: string, more: Partial<SessionRecord> = {}): SessionRecord {
  return {
    id,
    provider: "corp",
    issuer,
    subject: "ann-1",
    username: "ann@example.com",
    claims: { email: "ann@example.com", groups: ["ops"] },
    refreshToken: "secret",
    providerSession: "idp-1",
    issuedMs: 1_000_000,
    signedInMs: 1_000_000,
    expiresMs: 1_000_000 + 12 * hour,
    freshUntilMs: 1_600_000,
    ...more,
  };
}

function world() {
  const state = { nowMs: 1_000_000, changes: 0, lines: [] as unknown[] };
  const sessions = new MemorySessions({
    nowMs: () => state.nowMs,
    idleMs: hour,
    relay: "relay-1",
    changed: () => void state.changes++,
  });
  const add = (...line: unknown[]) => void state.lines.push(line);
  const log: Log = { debug: add, info: add, warn: add, error: add };
  return { state, sessions, people: new PeopleSessions({ sessions, log }) };
}

Deno.test("Sessions are listed without tokens, with where and when they were used", async () => {
  const { state, sessions, people } = world();
  await sessions.put(record("s-1"));
  await sessions.put(record("s-2", { subject: "bob-1", username: "bob", claims: {} }));
  state.nowMs += 60_000;
  sessions.seen("s-1", state.nowMs, "app.example.com");
  sessions.seen("s-1", state.nowMs, undefined);
  const { sessions: [ann], isComplete } = await people.list({ user: "ann@example.com" });
  assert.ok(isComplete);
  assert.deepEqual(ann, {
    id: "s-1",
    provider: "corp",
    issuer,
    subject: "ann-1",
    user: "ann@example.com",
    email: "ann@example.com",
    hosts: ["app.example.com"],
    sinceMs: 1_000_000,
    lastUsedMs: 1_060_000,
    expiresMs: 1_000_000 + 12 * hour,
    relay: "relay-1",
  });
  const { sessions: [bob] } = await people.list({ person: { issuer, subject: "bob-1" } });
  assert.equal(bob?.email, undefined);
  assert.equal((await people.list({ limit: 1 })).isComplete, false);
  state.nowMs += hour;
  assert.deepEqual((await people.list()).sessions, []);
});

Deno.test("Operators end a session by its id, and all sessions of a name", async () => {
  const { state, sessions, people } = world();
  for (const id of ["s-1", "s-2", "s-3"]) await sessions.put(record(id));
  await sessions.put(record("bob", { subject: "bob-1", username: "bob" }));
  assert.ok(await people.revoke("s-1", "admin token ops"));
  assert.ok(!await people.revoke("s-1", "admin token ops"));
  assert.equal(sessions.find("s-1"), undefined);
  assert.equal(state.changes, 1);
  assert.equal(await people.revokeUser("ann@example.com", "admin token ops"), 2);
  assert.equal(await people.revokeUser("nobody", "admin token ops"), 0);
  assert.ok(sessions.find("bob"));
  assert.match(JSON.stringify(state.lines), /"session":"s-1","by":"admin token ops"/);
});

Deno.test("A name that a refresh has changed is found by the new one alone", async () => {
  const { sessions, people } = world();
  await sessions.put(record("s-1"));
  await sessions.update(record("s-1", { username: "ann@example.org" }));
  assert.equal(await people.revokeUser("ann@example.com", "x"), 0);
  assert.equal(await people.revokeUser("ann@example.org", "x"), 1);
});

Deno.test("One person has a bounded number of sessions; beyond that the first ones end", async () => {
  const { state, sessions } = world();
  await sessions.put(record("bob", { subject: "bob-1" }));
  for (let number = 0; number < maxSessionsOfPerson + 3; number++) {
    await sessions.put(record(`s-${number}`));
  }
  assert.equal(sessions.size, maxSessionsOfPerson + 1);
  assert.equal(sessions.find("s-2"), undefined);
  assert.ok(sessions.find("s-3"));
  assert.equal(state.changes, 3);
});

Deno.test("Records take a bounded share of memory, and the one used longest ago makes room", () => {
  const dropped: string[] = [];
  const bounds = { records: 100, units: 3 * JSON.stringify(record("a")).length };
  const memory = new RecordMemory<{ record: SessionRecord }>(
    ({ record }) => void dropped.push(record.id),
    bounds,
  );
  for (const id of ["a", "b", "c"]) memory.set({ record: record(id) });
  memory.touch("a");
  memory.set({ record: record("d") });
  assert.deepEqual(dropped, ["b"]);
  memory.set({ record: record("d", { claims: { groups: Array(500).fill("a-long-group") } }) });
  assert.deepEqual(dropped, ["b", "c", "a"]);
  assert.equal(memory.size, 1);
  memory.delete("d");
  for (const id of ["a", "b", "c"]) memory.set({ record: record(id) });
  assert.equal(memory.size, 3);
});

Deno.test("A session that another one has replaced ends, and leads there for a minute", async () => {
  const { state, sessions } = world();
  await sessions.put(record("s-1"));
  await sessions.put(record("s-2"), "s-1");
  assert.equal(sessions.find("s-1"), undefined);
  assert.equal(state.changes, 1);
  assert.equal((await sessions.successorOf("s-1"))?.id, "s-2");
  state.nowMs += 60_001;
  assert.equal(await sessions.successorOf("s-1"), undefined);
});

for (
  const { how, logout, ends } of [
    { how: "with sid alone", logout: { providerSession: "idp-1" }, ends: ["idp-1"] },
    { how: "with sub alone", logout: { subject: "ann-1" }, ends: ["idp-1", "idp-2", "no sid"] },
    {
      how: "with sub and sid",
      logout: { subject: "ann-1", providerSession: "idp-1" },
      ends: ["idp-1", "no sid"],
    },
    {
      how: "with a sid that only other people's sessions have",
      logout: { subject: "ann-1", providerSession: "idp-3" },
      ends: ["no sid"],
    },
  ]
) {
  Deno.test(`A provider's logout ${how} ends ${ends.join(", ")}`, async () => {
    const { sessions } = world();
    await sessions.put(record("idp-1"));
    await sessions.put(record("idp-2", { providerSession: "idp-2" }));
    await sessions.put(record("no sid", { providerSession: undefined }));
    await sessions.put(record("bob", { subject: "bob-1", providerSession: "idp-3" }));
    await sessions.put(record("elsewhere", { issuer: "https://other.example" }));
    const all = ["idp-1", "idp-2", "no sid", "bob", "elsewhere"];
    assert.equal(await sessions.endOf({ issuer, ...logout, issuedMs: 2_000_000 }), ends.length);
    assert.deepEqual(all.filter((id) => !sessions.find(id)), ends);
  });
}

Deno.test("ID tokens from before a logout count no longer, by the provider's own clock", async () => {
  const { sessions } = world();
  const ann = { issuer, subject: "ann-1" };
  // The provider's clock is 25 s ahead of the relay's.
  await sessions.endOf({ ...ann, providerSession: "idp-1", issuedMs: 1_025_000 });
  const isEnded = (providerSession: string | undefined, issuedMs: number) =>
    sessions.isEnded({ ...ann, providerSession, issuedMs });
  assert.ok(await isEnded("idp-1", 1_024_000));
  assert.ok(await isEnded(undefined, 1_024_000));
  assert.ok(!await isEnded("idp-2", 1_024_000));
  assert.ok(!await isEnded("idp-1", 1_026_000));
  await sessions.endOf({ ...ann, issuedMs: 1_030_000 });
  assert.ok(await isEnded("idp-2", 1_030_000));
  assert.ok(!await isEnded("idp-2", 1_031_000));
});
