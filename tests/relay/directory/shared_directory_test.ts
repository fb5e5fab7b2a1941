import { deepEqual, ok } from "node:assert/strict";
import type { Claim } from "../../../lib/relay/directory/directory.ts";
import { SharedDirectory } from "../../../lib/relay/directory/shared_directory.ts";
import type { Store } from "../../../lib/relay/directory/store.ts";
import { eventually } from "../../support/deadline.ts";

/** A store that keeps hashes, and values that the test sets, and breaks when the test says so. */
class FakeStore implements Store {
  readonly hashes = new Map<string, Map<string, string>>();
  readonly values = new Map<string, string>();
  isBroken = false;
  onReady = (): void => {};
  onError = (_reason: string): void => {};
  open(): void {}
  renew(): void {}
  close(): void {}

  send([verb, key = "", field = "", value = ""]: readonly string[]): Promise<unknown> {
    if (this.isBroken) return Promise.reject(new Error("The connection broke"));
    const hash = this.hashes.get(key) ?? new Map<string, string>();
    if (verb === "HSET") this.hashes.set(key, hash.set(field, value));
    if (verb === "HDEL") hash.delete(field);
    if (verb === "GET") return Promise.resolve(this.values.get(key) ?? null);
    return Promise.resolve(verb === "HVALS" ? [...hash.values()] : null);
  }

  /** Names of the relays that have leases. */
  get relays(): string[] {
    return [...this.hashes.values()].flatMap((hash) => [...hash.values()])
      .map((lease) => JSON.parse(lease).relay);
  }

  get leases(): number {
    return [...this.hashes.values()].reduce((sum, { size }) => sum + size, 0);
  }
}

Deno.test("SharedDirectory removes a lease in the end whose removal failed", async () => {
  const store = new FakeStore();
  const seen: string[] = [];
  const events = {
    away: () => void seen.push("away"),
    back: () => void seen.push("back"),
    failed() {},
    heldElsewhere() {},
    invalid() {},
  };
  const directory = new SharedDirectory({ store, relay: "one", events });
  directory.open("http://10.0.0.1:8080");
  try {
    store.onReady();
    await eventually(() => directory.isUp, "the directory to be up");
    const claim: Claim = { cluster: "dev", instance: "agent", slot: 0, sinceMs: 1 };
    directory.claim(claim);
    await eventually(() => store.leases === 1, "a lease");
    store.isBroken = true;
    directory.release(claim);
    await eventually(() => !directory.isUp, "the directory to be away");
    // The first try to come back meets what is broken still.
    store.onReady();
    store.isBroken = false;
    ok(store.leases === 1);
    await eventually(() => {
      store.onReady();
      return store.leases === 0;
    }, "the lease to be removed");
    deepEqual(seen.slice(0, 2), ["back", "away"]);
  } finally {
    directory.close();
  }
});

Deno.test("SharedDirectory tells which sessions other relays hold that are alive", async () => {
  const store = new FakeStore();
  const held: Claim[] = [];
  const events = {
    away() {},
    back() {},
    failed() {},
    heldElsewhere: (claim: Claim) => void held.push(claim),
    invalid() {},
  };
  const ours = new SharedDirectory({ store, relay: "ours", events });
  const other = new SharedDirectory({ store, relay: "other", events });
  for (const directory of [ours, other]) {
    directory.open("http://10.0.0.1:8080");
    store.onReady();
    await eventually(() => directory.isUp, "the directory to be up");
  }
  try {
    ours.claim({ cluster: "dev", instance: "agent", slot: 0, sinceMs: 1 });
    const newer = { cluster: "dev", instance: "agent", slot: 0, sinceMs: 2 };
    other.claim(newer);
    await eventually(() => store.relays.join() === "other", "the newer lease to be the only one");
    await ours.find("dev");
    deepEqual(held, [], "a relay that nothing is known of may be dead");
    store.values.set("culvert:relay:other", '{"url":"http://10.0.0.2:8080"}');
    await ours.find("dev");
    await other.find("dev");
    deepEqual(held, [newer]);
  } finally {
    ours.close();
    other.close();
  }
});
