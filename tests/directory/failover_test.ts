/** A Redis that becomes a replica while relays' connections to it stay up. */
import assert from "node:assert/strict";
import { connect, createServer, type Socket } from "node:net";
import { once } from "node:events";
import { adminTokens, entryFor, tokenOf as adminToken } from "../admin/world.ts";
import { eventually } from "../support/deadline.ts";
import { addressOf, startAgent } from "../support/programs.ts";
import { hasRedis, Redis } from "../support/redis.ts";
import { answering, startRawTarget } from "../support/target.ts";
import { call } from "./raw_calls.ts";
import { clusterKey, startPeer, tokenOf, untilInDirectory } from "./relays.ts";

/** An address that leads to one server and then to another, as a service's does after a failover. */
class MovingAddress implements AsyncDisposable {
  readonly #server = createServer((socket) => this.#join(socket));
  readonly #sockets = new Set<Socket>();
  #to: string;
  url = "";

  constructor(to: string) {
    this.#to = to;
  }

  async listen(): Promise<this> {
    this.#server.listen({ host: "127.0.0.1", port: 0 });
    await once(this.#server, "listening");
    this.url = `redis://127.0.0.1:${(this.#server.address() as { port: number }).port}`;
    return this;
  }

  /** Where new connections go; those that are there stay. */
  moveTo(address: string): void {
    this.#to = address;
  }

  #join(socket: Socket): void {
    const [host, port] = this.#to.split(":");
    const next = connect({ host: host!, port: Number(port) });
    for (const [from, to] of [[socket, next], [next, socket]] as const) {
      this.#sockets.add(from);
      from.on("error", () => to.destroy());
      from.on("close", () => {
        this.#sockets.delete(from);
        to.destroy();
      });
      from.pipe(to);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.#server, "close");
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }
}

Deno.test({
  name: "a relay whose Redis has become a replica finds the new primary by itself",
  ignore: !hasRedis,
  fn: async () => {
    const ok = answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    await using target = await startRawTarget(ok);
    await using first = await Redis.start();
    await using second = await Redis.start();
    await using service = await new MovingAddress(first.address).listen();
    const options = {
      directory: service.url,
      targets: { one: target.address },
      args: ["--admin-addr", "127.0.0.1:0", "--admin-tokens", JSON.stringify(adminTokens)],
    };
    await using holder = await startPeer(options);
    await using other = await startPeer(options);
    await using _agent = await startAgent({
      relayUrl: holder.connectUrl,
      token: tokenOf("one"),
      target: target.address,
    });
    await holder.waitForAgent("one");
    const leases = async (redis: Redis) => await redis.ask("HLEN", clusterKey("one"));
    await eventually(async () => await leases(first) === ":1", "the lease");

    const [host = "", port = ""] = second.address.split(":");
    service.moveTo(second.address);
    assert.equal(await first.ask("REPLICAOF", host, port), "+OK");
    await Promise.all([holder, other].map((relay) => untilInDirectory(relay, 2)));
    for (const relay of [holder, other]) {
      const away = await relay.waitForLog(({ message }) =>
        message.startsWith("The directory is unavailable")
      );
      assert.match(String(away.error), /^READONLY/);
    }
    await eventually(async () => await leases(second) === ":1", "the lease at the new primary");
    assert.equal((await call(other.internalAddress, "GET /tunnel/one/")).text, "ok");

    // The admin API has a connection of its own, which stayed with the old primary too.
    const address = await addressOf(holder, "admin");
    await eventually(async () => {
      const response = await fetch(`http://${address}/admin/v1/clusters/dev`, {
        method: "PUT",
        headers: { Authorization: `Bearer ${adminToken("ops")}` },
        body: JSON.stringify(entryFor("dev")),
      });
      await response.body?.cancel();
      return response.status === 201;
    }, "a change to be taken by the new primary");
    assert.equal(await second.ask("HEXISTS", "culvert:{admin}:entries", "clusters/dev"), ":1");
  },
});
