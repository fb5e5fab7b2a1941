/** What a relay with a directory says at `/readyz` when it starts. */
import { equal } from "node:assert/strict";
import { defaultHeadLimits } from "../../lib/http1/head.ts";
import type { Log } from "../../lib/log.ts";
import { healthApp } from "../../lib/relay/app.ts";
import type { Store } from "../../lib/relay/directory/store.ts";
import { noLimits } from "../../lib/relay/limits/limits.ts";
import { Relay } from "../../lib/relay/relay.ts";
import { eventually } from "../support/deadline.ts";

const silent: Log = { debug() {}, info() {}, warn() {}, error() {} };

/** A store that answers once the test has it say that it is ready. */
function fakeStore(): Store {
  return {
    onReady() {},
    onError() {},
    open() {},
    reconnect() {},
    close() {},
    send: () => Promise.resolve(null),
  };
}

/** Runs a test with a relay that has just opened its directory. */
async function withRelay(test: (store: Store, probe: () => Promise<string>) => Promise<void>) {
  const store = fakeStore();
  const relay = await Relay.create(
    {
      clusters: [],
      callers: { mode: "open" },
      limits: noLimits,
      clusterLimits: noLimits,
      idleTimeoutMs: 0,
      responseTimeoutMs: 0,
      maxBodyBytes: 0,
      head: defaultHeadLimits,
      maxStreams: 1,
      version: "0",
    },
    silent,
    {
      defer: setImmediate,
      relays: {
        tokens: ["relays-of-this-test"],
        store,
        dial: () => Promise.reject(new Error("none")),
      },
    },
  );
  const app = healthApp(relay);
  relay.peers!.open("http://10.0.0.1:8080");
  try {
    await test(store, async () => {
      const response = await app.request("/readyz?exclude=agents");
      return `${response.status} ${await response.text()}`;
    });
  } finally {
    relay.peers!.close();
  }
}

Deno.test("a relay is ready once it has been in its directory: else callers came too early", async () => {
  await withRelay(async (store, probe) => {
    equal(await probe(), "503 the directory has not answered yet\n");
    store.onReady();
    await eventually(async () => await probe() === "200 ok", "the relay to be ready");
    store.onError("The connection broke");
    equal(await probe(), "200 ok", "what it holds it still serves");
  });
});

Deno.test("a relay whose directory is away at the start is ready all the same", async () => {
  await withRelay(async (store, probe) => {
    store.onError("Connection refused");
    equal(await probe(), "200 ok");
  });
});
