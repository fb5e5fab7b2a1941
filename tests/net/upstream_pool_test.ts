import assert from "node:assert/strict";
import { type PoolOptions, UpstreamConnection, UpstreamPool } from "../../lib/net/upstream_pool.ts";
import type { ByteSocket } from "../../lib/net/byte_socket.ts";
import { Caller } from "../net/setup.ts";
import { eventually } from "../support/deadline.ts";
import { memorySockets } from "../support/memory_socket.ts";

/** A pool of connections in memory, and the target's ends of them. */
class Setup implements AsyncDisposable {
  readonly targets: Caller[] = [];
  readonly pool: UpstreamPool;
  nowMs = 1_000;

  constructor(options: Partial<PoolOptions> = {}) {
    this.pool = new UpstreamPool({
      dial: () => Promise.resolve(this.#dial()),
      maxIdle: 10,
      idleTimeoutMs: 60_000,
      nowMs: () => this.nowMs,
      ...options,
    });
  }

  /** A new connection, in use. */
  connect(): Promise<UpstreamConnection> {
    return this.pool.dial(new AbortController().signal);
  }

  /** Connections that were used and given back, in this order. */
  async idle(count: number): Promise<UpstreamConnection[]> {
    const connections: UpstreamConnection[] = [];
    for (let index = 0; index < count; index++) connections.push(await this.connect());
    for (const connection of connections) this.pool.putBack(connection);
    return connections;
  }

  async settled(): Promise<void> {
    for (let turn = 0; turn < 10; turn++) await new Promise(setImmediate);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.pool.close();
    for (const { socket } of this.targets) socket.destroy();
    await this.settled();
  }

  #dial(): ByteSocket {
    const [target, socket] = memorySockets();
    this.targets.push(new Caller(target));
    return socket;
  }
}

/** What the user of a connection is told, in order. */
function use(connection: UpstreamConnection): string[] {
  const events: string[] = [];
  connection.use({
    data: (bytes) => events.push(`data ${new TextDecoder().decode(bytes)}`),
    drained: () => events.push("drained"),
    ended: (isOrderly) => events.push(isOrderly ? "ended" : "broken"),
  });
  return events;
}

Deno.test("UpstreamPool.take gives the connection that was used last", async () => {
  await using setup = new Setup();
  const [first, second, third] = await setup.idle(3);
  assert.deepEqual([setup.pool.take(), setup.pool.take()], [third, second]);
  setup.pool.putBack(third!);
  assert.deepEqual([setup.pool.take(), setup.pool.take(), setup.pool.take()], [
    third,
    first,
    undefined,
  ]);
});

Deno.test("UpstreamPool knows which connections have carried a request before", async () => {
  await using setup = new Setup();
  const fresh = await setup.connect();
  assert.equal(fresh.isReused, false);
  setup.pool.putBack(fresh);
  assert.equal(setup.pool.take()!.isReused, true);
});

Deno.test("UpstreamPool.take passes over a connection that was ended", async () => {
  await using setup = new Setup();
  const [first, second] = await setup.idle(2);
  second!.socket.destroy();
  assert.equal(setup.pool.take(), first);
});

Deno.test("UpstreamPool forgets an idle connection that the target ends", async () => {
  await using setup = new Setup();
  const [first] = await setup.idle(2);
  setup.targets[1]!.socket.end();
  assert.deepEqual(await setup.targets[1]!.closed(), ["end", "close"]);
  assert.equal(setup.pool.idleCount, 1);
  assert.equal(setup.pool.take(), first);
});

Deno.test("UpstreamPool forgets an idle connection that breaks", async () => {
  await using setup = new Setup();
  await setup.idle(1);
  setup.targets[0]!.socket.resetAndDestroy();
  await eventually(() => setup.pool.idleCount === 0, "the connection to be forgotten");
  assert.equal(setup.pool.take(), undefined);
});

Deno.test("UpstreamPool ends an idle connection on which the target says something unasked", async () => {
  await using setup = new Setup();
  await setup.idle(1);
  setup.targets[0]!.send("HTTP/1.1 408 Request Timeout\r\n\r\n");
  await eventually(() => setup.pool.idleCount === 0, "the connection to be forgotten");
  assert.deepEqual(await setup.targets[0]!.ended(), "");
});

Deno.test("UpstreamPool reads an idle connection whose user had stopped it", async () => {
  await using setup = new Setup();
  const connection = await setup.connect();
  connection.socket.pause();
  setup.pool.putBack(connection);
  setup.targets[0]!.send("unasked");
  await eventually(() => setup.pool.idleCount === 0, "the connection to be forgotten");
});

Deno.test("UpstreamPool ends idle connections after their time, the others not", async () => {
  await using setup = new Setup({ idleTimeoutMs: 400 });
  await setup.idle(2);
  setup.nowMs += 399;
  const [late] = await setup.idle(1);
  setup.nowMs += 1;
  await eventually(() => setup.pool.idleCount === 1, "the old connections to be ended");
  for (const target of setup.targets.slice(0, 2)) await target.ended();
  assert.equal(setup.pool.take(), late);
});

Deno.test("UpstreamPool keeps no more idle connections than it may", async () => {
  await using setup = new Setup({ maxIdle: 2 });
  const [, , third] = await setup.idle(3);
  assert.deepEqual([setup.pool.idleCount, third!.isUsable], [2, false]);
  await setup.targets[2]!.ended();
});

Deno.test("UpstreamPool that may keep none ends each connection behind its request", async () => {
  await using setup = new Setup({ maxIdle: 0 });
  await setup.idle(1);
  assert.equal(setup.pool.idleCount, 0);
  await setup.targets[0]!.ended();
});

Deno.test("UpstreamPool.release of a connection that has ended keeps nothing", async () => {
  await using setup = new Setup();
  const connection = await setup.connect();
  connection.destroy();
  setup.pool.putBack(connection);
  assert.equal(setup.pool.idleCount, 0);
});

Deno.test("UpstreamPool.close ends idle connections, and those that come back later", async () => {
  await using setup = new Setup();
  const inUse = await setup.connect();
  await setup.idle(2);
  setup.pool.close();
  setup.pool.putBack(inUse);
  assert.equal(setup.pool.idleCount, 0);
  for (const target of setup.targets) await target.ended();
});

Deno.test("UpstreamPool.dial passes on why there is no connection", async () => {
  const reason = new Error("refused");
  await using setup = new Setup({ dial: () => Promise.reject(reason) });
  await assert.rejects(setup.connect(), reason);
});

Deno.test("UpstreamConnection tells its user what happens, and ends once", async () => {
  await using setup = new Setup();
  const events = use(await setup.connect());
  setup.targets[0]!.send("answer");
  setup.targets[0]!.socket.end();
  await eventually(() => events.includes("ended"), "the end");
  setup.targets[0]!.socket.destroy();
  await setup.settled();
  assert.deepEqual(events, ["data answer", "ended"]);
});

Deno.test("UpstreamConnection tells a break from an end", async () => {
  await using setup = new Setup();
  const events = use(await setup.connect());
  setup.targets[0]!.socket.resetAndDestroy();
  await eventually(() => events.length > 0, "the break");
  assert.deepEqual(events, ["broken"]);
});

Deno.test("UpstreamConnection tells a former user nothing", async () => {
  await using setup = new Setup();
  const connection = await setup.connect();
  const first = use(connection);
  setup.pool.putBack(connection);
  const second = use(setup.pool.take()!);
  setup.targets[0]!.send("for the second");
  await eventually(() => second.length > 0, "the bytes");
  assert.deepEqual([first, second], [[], ["data for the second"]]);
});

Deno.test("UpstreamConnection.detach leaves the socket to somebody else", async () => {
  await using setup = new Setup();
  const connection = await setup.connect();
  const events = use(connection);
  const received: string[] = [];
  connection.detach().on("data", (bytes) => received.push(new TextDecoder().decode(bytes)));
  setup.targets[0]!.send("raw");
  await eventually(() => received.length > 0, "the bytes");
  assert.deepEqual([received, events, connection.isUsable], [["raw"], [], false]);
  connection.socket.destroy();
});
