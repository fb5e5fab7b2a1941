import assert from "node:assert/strict";
import {
  DeviceCodes,
  deviceMs,
  type DeviceStore,
  maxDevices,
  MemoryDevices,
  SharedDevices,
  shownCode,
} from "../../lib/relay/signin/programs/device_codes.ts";
import { World } from "./world.ts";

const request = { program: "culvert access", machine: "laptop7", hosts: ["app.example.com"] };

/** As Redis does it, as far as codes need it. */
class FakeRedis {
  readonly #kept = new Map<string, { value: string; untilMs: number }>();

  constructor(readonly nowMs: () => number) {}

  send([command, key = "", value = "", , ms = ""]: readonly string[]): Promise<unknown> {
    const kept = this.#kept.get(key);
    const isThere = kept !== undefined && this.nowMs() < kept.untilMs;
    switch (command) {
      case "SET":
        this.#kept.set(key, { value, untilMs: this.nowMs() + Number(ms) });
        return Promise.resolve("OK");
      case "GET":
        return Promise.resolve(isThere ? kept.value : null);
      default:
        this.#kept.delete(key);
        return Promise.resolve(isThere ? 1 : 0);
    }
  }
}

const stores: Record<string, (nowMs: () => number) => DeviceStore> = {
  "one relay": (nowMs) => new MemoryDevices(nowMs),
  "relays that share a store": (nowMs) => new SharedDevices(new FakeRedis(nowMs)),
};

for (const [where, makeStore] of Object.entries(stores)) {
  Deno.test(`with ${where}, a code leads to its program, and its session is told once`, async () => {
    const world = await World.create();
    const codes = new DeviceCodes(
      world.signIn,
      makeStore(() => world.signIn.context.clock.nowMs()),
    );
    const { userCode, deviceCode } = (await codes.begin(request))!;
    assert.match(shownCode(userCode), /^[B-Z]{4}-[B-Z]{4}$/);
    assert.deepEqual(await codes.outcome(deviceCode), { kind: "pending" });
    for (const typed of [userCode, ` ${shownCode(userCode).toLowerCase()}\n`]) {
      assert.deepEqual((await codes.find(typed))?.request, request);
    }
    const { id } = (await codes.find(userCode))!;
    assert.equal(await codes.end(id, "session-1"), true);
    assert.equal(await codes.end(id, "session-2"), false);
    const signedIn = { kind: "signed-in", session: "session-1" };
    const told = await Promise.all([codes.outcome(deviceCode), codes.outcome(deviceCode)]);
    assert.deepEqual(told.filter(({ kind }) => kind === "signed-in"), [signedIn]);
    assert.deepEqual(await codes.outcome(deviceCode), { kind: "gone" });
  });

  Deno.test(`with ${where}, a refused code, an old one and a made-up one bring no session`, async () => {
    const world = await World.create();
    const codes = new DeviceCodes(
      world.signIn,
      makeStore(() => world.signIn.context.clock.nowMs()),
    );
    const refused = (await codes.begin(request))!;
    await codes.end((await codes.find(refused.userCode))!.id, undefined);
    assert.deepEqual(await codes.outcome(refused.deviceCode), { kind: "denied" });
    const old = (await codes.begin(request))!;
    world.aheadMs += deviceMs + 1_000;
    assert.equal(await codes.find(old.userCode), undefined);
    assert.deepEqual(await codes.outcome(old.deviceCode), { kind: "gone" });
    for (const made of ["", "x", old.userCode]) {
      assert.deepEqual(await codes.outcome(made), { kind: "gone" });
      assert.equal(await codes.find(made), undefined);
    }
  });
}

Deno.test("one relay keeps a bounded number of codes, and takes others once those are old", async () => {
  let now = 0;
  const store = new MemoryDevices(() => now);
  for (let at = 0; at < maxDevices * 2; at++) await store.put(`key ${at}`, "", 1_000);
  assert.equal(await store.put("one more", "", 1_000), false);
  assert.equal(await store.put("key 7", "changed", 1_000), true);
  now = 1_001;
  assert.equal(await store.put("one more", "", 1_000), true);
  assert.equal(await store.get("key 7"), undefined);
});
