/** A relay that stops while other relays answer its callers' requests. */
import assert from "node:assert/strict";
import { eventually, within } from "../support/deadline.ts";
import { startAgent } from "../support/programs.ts";
import { ConnectionGoneError, openConnection } from "../support/raw_connection.ts";
import { readRequest, readResponse, statusOf } from "../support/raw_http.ts";
import { hasRedis, Redis } from "../support/redis.ts";
import { startRawTarget, type TargetHandler } from "../support/target.ts";
import { openCall } from "./raw_calls.ts";
import { startPeer, tokenOf } from "./relays.ts";

const graceMs = 1_000;

Deno.test({
  name: "requests that other relays answer are open ones of a relay that stops",
  ignore: !hasRedis,
  fn: async () => {
    const finish = Promise.withResolvers<void>();
    const handler: TargetHandler = async (connection) => {
      const { startLine } = await readRequest(connection.reader);
      const path = startLine.split(" ")[1]!;
      if (path === "/raw") {
        const fields = "Connection: Upgrade\r\nUpgrade: raw";
        await connection.write(`HTTP/1.1 101 Switching Protocols\r\n${fields}\r\n\r\nfirst`);
      } else if (path !== "/silent") {
        await connection.write("HTTP/1.0 200 OK\r\n\r\nhalf");
      }
      if (path === "/short") {
        await finish.promise;
        await connection.write(", and the rest");
        connection.end();
      }
      await connection.closed;
    };
    await using redis = await Redis.start();
    await using target = await startRawTarget(handler);
    const peer = { directory: redis.url, targets: { one: target.address } };
    await using holder = await startPeer(peer);
    await using other = await startPeer({ ...peer, args: ["--grace", `${graceMs}ms`] });
    await using _agent = await startAgent({
      relayUrl: holder.connectUrl,
      token: tokenOf("one"),
      target: target.address,
    });
    await holder.waitForAgent("one");

    const address = other.internalAddress;
    const from = async (path: string) => {
      const connection = await openConnection(address);
      await connection.write(`GET /tunnel/one${path} HTTP/1.0\r\n\r\n`);
      return connection;
    };
    await using short = await from("/short");
    await using endless = await from("/endless");
    await using silent = await openCall(address, "GET /tunnel/one/silent");
    const upgrade = ["Connection: Upgrade", "Upgrade: raw"];
    await using raw = await openCall(address, "GET /tunnel/one/raw", upgrade);
    for (const connection of [short, endless]) {
      await eventually(() => connection.receivedText.endsWith("half"), "half an answer");
    }
    await eventually(() => raw.receivedText.endsWith("first"), "the upgrade");
    await eventually(() => target.connections.length === 4, "all requests at the target");

    const broken = [endless, raw].map((connection) =>
      assert.rejects(within(connection.reader.readToEnd(), "the break"), ConnectionGoneError)
    );
    const answer = within(readResponse(silent.reader), "the answer of the relay's own");
    Deno.kill(other.program.pid, "SIGTERM");
    const exitCode = other.program.ended(20_000);
    await other.waitForLog(({ message }) => message === "Shutting down");
    await other.waitForLog(({ message, open }) =>
      message.startsWith("Waiting for 4 open requests") && open === 4
    );
    finish.resolve();
    // It had its end within the grace: behind an orderly end, as HTTP/1.0 has it.
    await within(short.reader.readToEnd(), "the end of the short answer");
    assert.match(short.receivedText, /half, and the rest$/);
    await Promise.all(broken);
    const own = await answer;
    assert.equal(statusOf(own), 503);
    assert.equal(JSON.parse(new TextDecoder().decode(own.body)).error.code, "stopping");
    const line = await other.waitForLog(({ message }) => String(message).includes("grace is over"));
    assert.deepEqual([line.open, line.grace_ms], [3, graceMs]);
    assert.equal(await exitCode, 0);
  },
});
