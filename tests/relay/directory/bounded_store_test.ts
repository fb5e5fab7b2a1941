import assert from "node:assert/strict";
import { BoundedStore } from "../../../lib/relay/directory/bounded_store.ts";
import type { Store } from "../../../lib/relay/directory/store.ts";

/** A store that answers as it is told, and counts connections. */
class FakeStore implements Store {
  reconnects = 0;
  reply: () => Promise<unknown> = () => Promise.resolve("OK");
  onReady = (): void => {};
  onError = (_reason: string): void => {};

  send(): Promise<unknown> {
    return this.reply();
  }

  open(): void {}

  reconnect(): void {
    this.reconnects++;
  }

  close(): void {}
}

Deno.test("BoundedStore fails a command whose reply is late, and makes one new connection", async () => {
  const store = new FakeStore();
  const bounded = new BoundedStore(store, { replyMs: 10 });
  store.reply = () => new Promise(() => {});
  const late = { message: "No reply within 10 ms" };
  await Promise.all([
    assert.rejects(bounded.send(["GET", "a"]), late),
    assert.rejects(bounded.send(["GET", "b"]), late),
  ]);
  assert.equal(store.reconnects, 1);
});

Deno.test("BoundedStore makes a new connection at a server that is not the one to write to", async () => {
  const store = new FakeStore();
  const bounded = new BoundedStore(store);
  for (
    const [reply, reconnects] of [["ERR no such thing", 0], ["READONLY a replica", 1]] as const
  ) {
    store.reply = () => Promise.reject(new Error(reply));
    await assert.rejects(bounded.send(["EVAL", "…"]), { message: reply });
    assert.equal(store.reconnects, reconnects);
  }
});

Deno.test("BoundedStore passes on what happens to the connection", () => {
  const store = new FakeStore();
  const bounded = new BoundedStore(store);
  const events: string[] = [];
  bounded.onReady = () => events.push("ready");
  bounded.onError = (reason) => events.push(reason);
  store.onReady();
  store.onError("away");
  assert.deepEqual(events, ["ready", "away"]);
});

Deno.test("BoundedStore that is closed makes no new connection", async () => {
  const store = new FakeStore();
  const bounded = new BoundedStore(store, { replyMs: 10 });
  store.reply = () => new Promise(() => {});
  const sent = assert.rejects(bounded.send(["GET", "a"]));
  bounded.close();
  await sent;
  assert.equal(store.reconnects, 0);
});
