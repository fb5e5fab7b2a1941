/** Leases of entries that agents use; the clock is the test's. */
import { deepEqual } from "node:assert/strict";
import { Leases } from "../../lib/admin/lease_expiry.ts";
import type { EntryKind, StoredEntry } from "../../lib/domain/admin.ts";

const day = 86_400;

function entry(kind: EntryKind, name: string, body: StoredEntry["body"] = {}): StoredEntry {
  const lease = { seconds: 7 * day, endsMs: 7 * day * 1_000 };
  return { kind, name, body, by: "ops", isAccepted: true, lease };
}

/** A relay's entries and agents, and a clock. */
class World {
  days = 0;
  /** Clusters with agents; undefined while a relay does not tell. */
  connected: string[] | undefined = [];
  questions = 0;
  readonly entries = new Map<string, StoredEntry>();
  readonly leases: Leases;

  constructor(...entries: StoredEntry[]) {
    for (const it of entries) this.entries.set(it.name, it);
    const list = (kind: EntryKind) =>
      [...this.entries.values()].filter((it) => it.kind === kind).map((stored) => ({ stored }));
    this.leases = new Leases({
      entries: {
        unstorableMs: 0,
        list,
        change: (_kind: EntryKind, name: string, change: (before: unknown) => unknown) => {
          change({ stored: this.entries.get(name) });
          this.entries.delete(name);
          return Promise.resolve({});
        },
      } as never,
      audit: { byItself: () => {} },
      connected: () => {
        this.questions++;
        return Promise.resolve(this.connected && new Set(this.connected));
      },
      nowMs: () => this.days * day * 1_000,
    });
  }

  /** What is there after so many days. */
  async after(days: number): Promise<string[]> {
    this.days = days;
    await this.leases.look();
    // A policy goes after what used it.
    await this.leases.look();
    return [...this.entries.keys()].sort();
  }
}

const service = entry("services", "web", { cluster: "dev", policy: "staff" });
const policy = entry("policies", "staff");

Deno.test("what nobody renews goes with its lease: a cluster, its services and their policies", async () => {
  const world = new World(entry("clusters", "dev"), service, policy);
  deepEqual(await world.after(6), ["dev", "staff", "web"]);
  deepEqual(await world.after(7), []);
});

Deno.test("a cluster with agents stays for as long as they are there, and a lease longer", async () => {
  const world = new World(entry("clusters", "dev"), service, policy, entry("clusters", "bare"));
  world.connected = ["dev"];
  deepEqual(await world.after(7), ["dev", "staff", "web"]);
  deepEqual(await world.after(31), ["dev", "staff", "web"]);
  // An agent that comes back has lost nothing.
  world.connected = [];
  deepEqual(await world.after(32), ["dev", "staff", "web"]);
  world.connected = ["dev"];
  deepEqual(await world.after(33), ["dev", "staff", "web"]);
  world.connected = [];
  deepEqual(await world.after(39), ["dev", "staff", "web"]);
  deepEqual(await world.after(40), []);
});

Deno.test("nothing goes while a relay does not tell which agents it has", async () => {
  const world = new World(entry("clusters", "dev"));
  world.connected = undefined;
  deepEqual(await world.after(8), ["dev"]);
  world.connected = [];
  deepEqual(await world.after(9), []);
});

Deno.test("relays are asked about agents once a minute at most, and not at all before a lease ends", async () => {
  const world = new World(entry("clusters", "dev"));
  world.connected = ["dev"];
  await world.after(6);
  deepEqual(world.questions, 0);
  await world.after(8);
  deepEqual(world.questions, 1);
  await world.after(8 + 59 / day);
  deepEqual(world.questions, 1);
  await world.after(8 + 61 / day);
  deepEqual(world.questions, 2);
});
