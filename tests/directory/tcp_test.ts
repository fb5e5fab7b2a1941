/** TCP connections that arrive at a relay whose neighbour holds the session. */
import { equal, ok } from "node:assert/strict";
import { startAccess, startTcpTarget } from "../access/tcp_world.ts";
import { exchange } from "../access/tcp_client.ts";
import { withFolder } from "../support/certificates.ts";
import { eventually, within } from "../support/deadline.ts";
import { addressOf, type RunningRelay, startAgent } from "../support/programs.ts";
import { hasRedis, Redis } from "../support/redis.ts";
import { startPeer, tokenOf } from "./relays.ts";

async function portOf(relay: RunningRelay, listener: string): Promise<number> {
  return Number((await addressOf(relay, listener)).split(":").at(-1));
}

Deno.test({
  name: "a TCP connection reaches its target through whichever relay it comes to",
  ignore: !hasRedis,
  async fn(t) {
    await using target = await startTcpTarget();
    await using redis = await Redis.start();
    const services = JSON.stringify({
      services: [{
        name: "echo",
        hostnames: ["echo.localhost"],
        cluster: "one",
        target: "echo",
        kind: "tcp",
        policy: "public",
        listen: "127.0.0.1:0",
        allow: ["127.0.0.1"],
      }],
    });
    const options = {
      directory: redis.url,
      targets: { one: "unused:1" },
      args: ["-services", services, "-web-addr", "127.0.0.1:0"],
    };
    await withFolder(async (folder) => {
      const targets = { targets: [{ name: "echo", address: target.address, kind: "tcp" }] };
      await Deno.writeTextFile(`${folder}/targets.yaml`, JSON.stringify(targets));
      await using holder = await startPeer(options);
      await using other = await startPeer(options);
      await using _agent = await startAgent({
        relayUrl: holder.connectUrl,
        token: tokenOf("one"),
        args: ["--targets", `${folder}/targets.yaml`],
      });
      await holder.waitForAgent("one");
      const web = await portOf(other, "web");
      const url = `http://echo.localhost:${web}`;
      await using access = await startAccess(["tcp", url, "--listen", "127.0.0.1:0"]);
      const bytes = new Uint8Array(2 * 1024 * 1024).map((_, at) => at * 7 >> 2);
      const isEchoed = async (port: number): Promise<boolean> => {
        try {
          const echoed = await exchange(port, bytes);
          return echoed.length === bytes.length && echoed.every((byte, at) => byte === bytes[at]);
        } catch {
          return false;
        }
      };
      await eventually(() => isEchoed(access.port), "the other relay to find the session");
      await t.step("in a WebSocket of access", async () => {
        ok(await isEchoed(access.port));
        const handed = await other.waitForLog(({ message, service, to_relay }) =>
          message === "Request" && service === "echo" && to_relay !== undefined
        );
        equal(handed.status, 101);
        const taken = await holder.waitForLog(({ message, service, from_relay }) =>
          message === "Request" && service === "echo" && from_relay !== undefined
        );
        equal(taken.bytes, bytes.length);
      });
      await t.step("at a port of the relay's", async () => {
        ok(await isEchoed(await portOf(other, "service")));
      });
      await t.step("until the relay that holds the session stops", async () => {
        using conn = await Deno.connect({ hostname: "127.0.0.1", port: access.port });
        await conn.write(new Uint8Array(1));
        equal(await within(conn.read(new Uint8Array(1)), "the echo"), 1);
        await holder.kill();
        const end = await within(conn.read(new Uint8Array(1)).catch((error) => error), "the end");
        ok(end instanceof Error, "a reset, and no end that looks orderly");
        await access.program.waitForLog(({ message }) => message.includes("ended early"));
      });
    });
  },
});
