import assert from "node:assert/strict";
import type { Cluster } from "../../../lib/domain/cluster.ts";
import { type Registration, Registry } from "../../../lib/relay/agents/registry.ts";
import { Session } from "../../../lib/protocol/session.ts";
import type { SessionOptions } from "../../../lib/protocol/session_options.ts";
import { eventually } from "../../support/deadline.ts";
import { agentSettings, ManualSocket, relaySettings } from "../../protocol/session_setup.ts";
import { frame, T } from "../../protocol/wire.ts";

const prod: Cluster = { id: "prod", targetAddr: "t:1", impersonation: "strip" };
const test: Cluster = { id: "test", targetAddr: "t:1", impersonation: "strip" };

/** Sessions that end with the test. */
class Sessions implements Disposable {
  readonly registry = new Registry();
  readonly #open: Session[] = [];
  readonly #sockets = new Map<Session, ManualSocket>();

  /** Registers a session of an agent; without an instance it is of version 1. */
  add(
    cluster: Cluster,
    instance?: string,
    options: Partial<SessionOptions> = {},
    slot = 0,
    sinceMs = 1_000,
  ): Registration {
    const socket = new ManualSocket();
    const offersVersion2 = instance !== undefined;
    const session = new Session(socket, {
      role: "relay",
      settings: relaySettings,
      offersVersion2,
      ...options,
    });
    this.#sockets.set(session, socket);
    if (offersVersion2) {
      const settings = JSON.stringify({ ...agentSettings, instance });
      socket.events.message(frame(T.Settings, 0, settings));
    }
    this.#open.push(session);
    const about = { number: 1, address: "127.0.0.1", tokenName: "default" };
    const registration = { session, cluster, ...about, instance, slot, sinceMs };
    this.registry.add(registration);
    return registration;
  }

  /** Has a message come from an agent. */
  receive({ session }: Registration, message: Uint8Array): void {
    this.#sockets.get(session)!.events.message(message);
  }

  /** The registrations that are left, in order. */
  get all(): Registration[] {
    return [...this.registry.all()];
  }

  [Symbol.dispose](): void {
    for (const session of this.#open) session.close(1001, "The test is over");
  }
}

/** Opens streams on a session. */
function busy({ session }: Registration, streams: number): void {
  for (let count = 0; count < streams; count++) session.open("t:1", new Uint8Array(0));
}

Deno.test("Registry finds nothing for a cluster without a session", () => {
  using sessions = new Sessions();
  sessions.add(test, "a");
  assert.equal(sessions.registry.pick("prod"), undefined);
});

Deno.test("Registry.pick takes the session with the fewest open streams", () => {
  using sessions = new Sessions();
  const [first, second, third] = ["a", "b", "c"].map((name) => sessions.add(prod, name));
  busy(first!, 2);
  busy(second!, 1);
  busy(third!, 3);
  assert.equal(sessions.registry.pick("prod"), second);
  busy(second!, 2);
  assert.equal(sessions.registry.pick("prod"), first);
});

Deno.test("Registry.add keeps the connections of one agent side by side, and replaces each by its own", () => {
  using sessions = new Sessions();
  const first = sessions.add(prod, "a", {}, 0);
  const second = sessions.add(prod, "a", {}, 1);
  assert.deepEqual(sessions.all, [first, second]);
  const anew = sessions.add(prod, "a", {}, 1);
  assert.deepEqual(sessions.all, [first, anew]);
  assert.equal(second.session.isClosed, true);
  assert.equal(first.session.isClosed, false);
});

Deno.test("Registry: a session that was asked to drain finishes beside the next one, which gets what is new", () => {
  using sessions = new Sessions();
  const old = sessions.add(prod, "a");
  old.session.announceDrain();
  assert.equal(sessions.registry.pick("prod"), old, "for want of another");
  const anew = sessions.add(prod, "a");
  assert.deepEqual(sessions.all, [old, anew]);
  assert.equal(old.session.isClosed, false);
  busy(anew, 1);
  assert.equal(sessions.registry.pick("prod"), anew);
});

Deno.test("Registry.pick keeps clusters apart", () => {
  using sessions = new Sessions();
  const inProd = sessions.add(prod, "a");
  const inTest = sessions.add(test, "a");
  busy(inProd, 5);
  assert.equal(sessions.registry.pick("prod"), inProd);
  assert.equal(sessions.registry.pick("test"), inTest);
});

Deno.test("Registry.pick passes over a session whose agent drains, not one that we asked to go", () => {
  using sessions = new Sessions();
  const draining = sessions.add(prod, "a");
  const other = sessions.add(prod, "b");
  busy(other, 3);
  other.session.announceDrain();
  assert.equal(sessions.registry.pick("prod"), draining);
  sessions.receive(draining, frame(T.Drain, 0));
  assert.equal(sessions.registry.pick("prod"), other);
  assert.equal(sessions.registry.isReady, true);
  sessions.receive(other, frame(T.Drain, 0));
  assert.equal(sessions.registry.pick("prod"), undefined);
  assert.equal(sessions.registry.isReady, false);
});

Deno.test("Registry.pick takes another session than the one that failed, or none", () => {
  using sessions = new Sessions();
  const first = sessions.add(prod, "a");
  assert.equal(sessions.registry.pick("prod", { except: first.session }), undefined);
  const second = sessions.add(prod, "b");
  busy(second, 3);
  assert.equal(sessions.registry.pick("prod", { except: first.session }), second);
});

Deno.test("Registry.pick takes a session whose agent does not answer only for want of another", async () => {
  using sessions = new Sessions();
  const suspect = sessions.add(prod, "a", { pingIntervalMs: 5, answerTimeoutMs: 5 });
  await eventually(() => suspect.session.isSuspect, "a Ping to be unanswered");
  assert.equal(sessions.registry.pick("prod"), suspect);
  const other = sessions.add(prod, "b");
  busy(other, 3);
  assert.equal(sessions.registry.pick("prod"), other);
});

/** Options of a session whose agent is soon taken for silent. */
const shortOfPatience = { pingIntervalMs: 5, answerTimeoutMs: 5 };

Deno.test("Registry.heldElsewhere ends what is left of a session that another relay has had since", async () => {
  using sessions = new Sessions();
  const left = sessions.add(prod, "a", shortOfPatience, 1);
  const others = [
    sessions.add(prod, "a", shortOfPatience, 0),
    sessions.add(prod, "b", shortOfPatience, 1),
    sessions.add(prod, undefined, shortOfPatience, 1),
    sessions.add(test, "a", shortOfPatience, 1),
  ];
  await eventually(
    () => [left, ...others].every(({ session }) => session.isSuspect),
    "Pings to be unanswered",
  );
  const claim = { instance: "a", slot: 1, sinceMs: 1_001 };
  for (const sinceMs of [999, 1_000]) {
    sessions.registry.heldElsewhere("prod", { ...claim, sinceMs });
  }
  assert.equal(left.session.isClosed, false, "an older claim says nothing");
  sessions.registry.heldElsewhere("prod", { ...claim, instance: undefined });
  assert.equal(others[2]!.session.isClosed, false, "version 1 agents can't be told apart");
  sessions.registry.heldElsewhere("prod", claim);
  assert.deepEqual(left.session.end, {
    code: 1006,
    reason: "The agent does not answer, and another relay has it",
    isSilence: true,
  });
  assert.deepEqual(others.map(({ session }) => session.isClosed), others.map(() => false));
});

Deno.test("Registry.heldElsewhere leaves a session alone whose agent answers, whatever others say", () => {
  using sessions = new Sessions();
  const { session } = sessions.add(prod, "a");
  const claim = { instance: "a", slot: 0, sinceMs: 2_000 };
  sessions.registry.heldElsewhere("prod", claim);
  sessions.registry.heldElsewhere("unknown", claim);
  assert.equal(session.isClosed, false);
});

Deno.test("Registry.heldElsewhere leaves a draining session to the requests that it still has", async () => {
  using sessions = new Sessions();
  const { session } = sessions.add(prod, "a", shortOfPatience);
  session.announceDrain();
  await eventually(() => session.isSuspect, "a Ping to be unanswered");
  sessions.registry.heldElsewhere("prod", { instance: "a", slot: 0, sinceMs: 2_000 });
  assert.equal(session.isClosed, false);
});

Deno.test("Registry.pick passes over a session that has ended and is not removed yet", () => {
  using sessions = new Sessions();
  const ended = sessions.add(prod, "a");
  const other = sessions.add(prod, "b");
  busy(other, 3);
  ended.session.close(1001, "Over");
  assert.equal(sessions.registry.pick("prod"), other);
});

Deno.test("Registry.add replaces the older session of the same agent", async () => {
  using sessions = new Sessions();
  const older = sessions.add(prod, "a");
  const other = sessions.add(prod, "b");
  const newer = sessions.add(prod, "a");
  assert.deepEqual(sessions.all, [other, newer]);
  const end = { code: 4001, reason: "Replaced by a newer session" };
  assert.deepEqual(await older.session.closed, end);
  assert.equal(other.session.isClosed, false);
});

Deno.test("Registry.add keeps the same agent's session for another cluster", () => {
  using sessions = new Sessions();
  const inProd = sessions.add(prod, "a");
  sessions.add(test, "a");
  assert.equal(inProd.session.isClosed, false);
  assert.equal(sessions.registry.size, 2);
});

Deno.test("Registry.add lets the last version 1 agent win, beside those of version 2", async () => {
  using sessions = new Sessions();
  const version2 = sessions.add(prod, "a");
  const older = sessions.add(prod);
  const newer = sessions.add(prod);
  assert.deepEqual(sessions.all, [version2, newer]);
  assert.equal((await older.session.closed).code, 4001);
});

Deno.test("Registry.remove of an older session leaves the newer one", () => {
  using sessions = new Sessions();
  for (const instance of ["a", undefined]) {
    const older = sessions.add(prod, instance);
    const newer = sessions.add(prod, instance);
    sessions.registry.remove(older);
    sessions.registry.remove(older);
    assert.ok(sessions.all.includes(newer));
    sessions.registry.remove(newer);
  }
  assert.deepEqual([sessions.registry.size, sessions.registry.pick("prod")], [0, undefined]);
});

Deno.test("Registry.remove of a session that is gone already changes nothing", () => {
  using sessions = new Sessions();
  const gone = sessions.add(prod, "a");
  sessions.registry.remove(gone);
  const there = sessions.add(prod, "b");
  sessions.registry.remove(gone);
  assert.deepEqual(sessions.all, [there]);
});

Deno.test("Registry counts and lists the sessions of all clusters", () => {
  using sessions = new Sessions();
  const added = [sessions.add(prod, "a"), sessions.add(prod, "b"), sessions.add(test, "a")];
  assert.equal(sessions.registry.size, 3);
  assert.deepEqual(sessions.all, added);
});

Deno.test("Registry.pick takes an agent that lists the cluster's target, and any if none does", () => {
  using sessions = new Sessions();
  const route = { kind: "cluster", cluster: "prod", path: "/" } as const;
  const [other, silent, own] = ["a", "b", "c"].map((name) => sessions.add(prod, name));
  other!.targets = new Map([["elsewhere", { kind: "http" }]]);
  own!.targets = new Map([["t:1", { kind: "http" }]]);
  busy(silent!, 1);
  busy(own!, 2);
  assert.equal(sessions.registry.pick("prod", { route }), silent);
  busy(silent!, 2);
  assert.equal(sessions.registry.pick("prod", { route }), own);
  for (const registration of [silent!, own!]) sessions.registry.remove(registration);
  assert.equal(sessions.registry.pick("prod", { route }), other, "which refuses it in its words");
  assert.equal(sessions.registry.pickServing("prod", { route }), undefined);
});
