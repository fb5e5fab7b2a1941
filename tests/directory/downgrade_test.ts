/** What relays that speak TLS with each other believe of a directory that somebody else wrote to. */
import assert from "node:assert/strict";
import { SharedDirectory } from "../../lib/relay/directory/shared_directory.ts";
import type { Store } from "../../lib/relay/directory/store.ts";
import { eventually } from "../support/deadline.ts";

/** A store that holds one lease, of a relay at this URL. */
function storeWith(url: string): Store {
  const now = Date.now();
  const lease = { relay: "other", number: 1, slot: 0, sinceMs: now, renewedMs: now };
  const store: Store = {
    onReady() {},
    onError() {},
    open: () => queueMicrotask(() => store.onReady()),
    close() {},
    reconnect() {},
    send([command, key]) {
      if (command === "HVALS") return Promise.resolve([JSON.stringify(lease)]);
      const isOther = command === "GET" && key?.endsWith("other");
      return Promise.resolve(isOther ? JSON.stringify({ url }) : null);
    },
  };
  return store;
}

async function found(own: string, other: string): Promise<{ urls: string[]; invalid: string[] }> {
  const invalid: string[] = [];
  const directory = new SharedDirectory({
    store: storeWith(other),
    relay: "own",
    events: {
      away() {},
      back() {},
      failed() {},
      heldElsewhere() {},
      invalid: (what) => invalid.push(what),
    },
  });
  directory.open(own);
  try {
    await eventually(() => directory.isUp, "the directory to be up");
    return { urls: (await directory.find("one")).map(({ url }) => url), invalid };
  } finally {
    await directory.close();
  }
}

Deno.test("relays with TLS send nothing in the clear, whatever the directory says", async () => {
  const [own, other] = ["https://10.0.0.1:8080", "http://10.0.0.2:8080"];
  assert.deepEqual(await found(own, other), { urls: [], invalid: ["a relay's record"] });
  const safe = "https://10.0.0.2:8080";
  assert.deepEqual(await found(own, safe), { urls: [safe], invalid: [] });
  assert.deepEqual(await found("http://10.0.0.1:8080", other), { urls: [other], invalid: [] });
});
