/** The relay's line for each request, and the id that joins it to the agent's and the target's. */
import { deepEqual, equal, match, notEqual, ok } from "node:assert/strict";
import {
  answer,
  CLUSTER,
  okWith,
  requestHead,
  type Tunnel,
  tunnelled,
  withTunnel,
} from "../http/tunnel.ts";
import { latin1, statusOf, valuesOf, type WireMessage } from "../http/wire.ts";
import type { LogLine } from "../support/programs.ts";
import { relayLogUpToNow } from "../isolation/tunnel.ts";

/** The relay's line of the request to this path. */
function lineOf({ relay }: Tunnel, path: string): Promise<LogLine> {
  return relay.waitForLog(
    (line) => line.message === "Request" && line["path"] === path,
    { what: `the line of ${path}` },
  );
}

function idOf(message: WireMessage): string {
  const ids = valuesOf(message, "x-request-id");
  equal(ids.length, 1, "one id in a head");
  return ids[0]!;
}

/** Has the target keep what it is asked for under a path. */
function record(tunnel: Tunnel, path: string): WireMessage[] {
  const requests: WireMessage[] = [];
  tunnel.scripts.set(path, async ({ connection, request }) => {
    requests.push(await request());
    await connection.write(okWith("ok"));
  });
  return requests;
}

Deno.test("the request's line and its id", async (t) => {
  await withTunnel(async (tunnel) => {
    await tunnel.step(t, "a line has who, what, how much and how long", async () => {
      const body = "four";
      await tunnel.ask(
        requestHead("POST", tunnelled("/log/one?token=secret"), ["Content-Length: 4"]),
        body,
      );
      const { time, first_byte_ms, ms, instance, request_id, ...line } = await lineOf(
        tunnel,
        "/log/one",
      );
      match(String(time), /^\d{4}-\d\d-\d\dT/);
      match(String(request_id), /^[0-9a-f]{32}$/);
      match(String(instance), /^[0-9a-f-]{36}$/);
      ok(typeof first_byte_ms === "number" && typeof ms === "number");
      ok(first_byte_ms > 0 && first_byte_ms <= ms, `${first_byte_ms} of ${ms} ms`);
      deepEqual(line, {
        level: "info",
        logger: "relay",
        message: "Request",
        cluster: CLUSTER,
        method: "POST",
        path: "/log/one",
        status: 200,
        bytes_in: body.length,
        bytes: "POST /log/one?token=secret".length,
        complete: true,
        peer: "127.0.0.1",
      });
    });

    await tunnel.step(t, "a caller's id goes to the target, the answer and the line", async () => {
      const requests = record(tunnel, "/log/given");
      const sent = requestHead("GET", tunnelled("/log/given"), ["x-request-id: from-a-caller.1"]);
      equal(idOf(await tunnel.ask(sent)), "from-a-caller.1");
      equal(idOf(requests[0]!), "from-a-caller.1");
      equal((await lineOf(tunnel, "/log/given"))["request_id"], "from-a-caller.1");
    });

    await tunnel.step(t, "an id that is not safe, or not the only one, is replaced", async () => {
      const requests = record(tunnel, "/log/unsafe");
      const cases = [
        ['X-Request-Id: a","status":"0'],
        [`X-Request-Id: ${"x".repeat(129)}`],
        ["X-Request-Id: a\x9b2J"],
        ["X-Request-Id: one", "X-Request-Id: two"],
      ];
      for (const fields of cases) {
        const answer = await tunnel.ask(requestHead("GET", tunnelled("/log/unsafe"), fields));
        match(idOf(answer), /^[0-9a-f]{32}$/);
        equal(idOf(requests.at(-1)!), idOf(answer));
      }
      equal(new Set(requests.map(idOf)).size, cases.length);
    });

    await tunnel.step(t, "the target's own id does not come back beside it", async () => {
      const text = "HTTP/1.1 200 OK\r\nX-Request-ID: target\r\nContent-Length: 0\r\n\r\n";
      tunnel.scripts.set("/log/own", answer(text));
      notEqual(idOf(await tunnel.ask(requestHead("GET", tunnelled("/log/own")))), "target");
    });

    await tunnel.step(t, "a path can't forge a line, a field or a terminal's command", async () => {
      const path = '/log/","status":"0\x9b2J\\u001b{}\xe2\x80\xae';
      await tunnel.ask(requestHead("GET", tunnelled(path)));
      const line = await lineOf(tunnel, path);
      equal(line["status"], 200);
    });

    await tunnel.step(t, "an answer of the relay's own has the id too", async () => {
      const sent = requestHead("GET", "/tunnel/nobody/log/absent", ["X-Request-Id: absent-1"]);
      const answer = await tunnel.ask(sent);
      equal(statusOf(answer), 502);
      equal(idOf(answer), "absent-1");
      const line = await lineOf(tunnel, "/log/absent");
      deepEqual([line["request_id"], line["instance"]], ["absent-1", undefined]);
      equal(line["detail"], "no such cluster");
    });

    await tunnel.step(t, "a cluster without an agent is told from a misspelt one", async () => {
      const sent = requestHead("GET", "/tunnel/idle/log/idle");
      equal(statusOf(await tunnel.ask(sent)), 502);
      const line = await lineOf(tunnel, "/log/idle");
      deepEqual([line["code"], line["detail"]], ["cluster_not_available", "no agent is connected"]);
    });

    await tunnel.step(t, "relay and agent name the id of a request that failed", async () => {
      tunnel.scripts.set("/log/broken?q=secret", async ({ connection, request }) => {
        await request();
        await connection.write(latin1("HTTP/9 what\r\n\r\n"));
      });
      const sent = requestHead("GET", tunnelled("/log/broken?q=secret"), [
        "X-Request-Id: broken-1",
      ]);
      equal(statusOf(await tunnel.ask(sent)), 502);
      for (const program of [tunnel.relay, tunnel.agent]) {
        const line = await program.waitForLog(
          ({ message, path }) => message === "Request failed" && path === "/log/broken",
          { what: "the line of the failure" },
        );
        equal(line["request_id"], "broken-1");
      }
    });

    await tunnel.step(t, "an upgraded connection has its line at its end, both ways", async () => {
      tunnel.scripts.set("/log/upgrade", async ({ connection }) => {
        await connection.write(latin1(
          "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nhello",
        ));
        await connection.reader.readExactly(3);
        connection.end();
      });
      await using caller = await tunnel.caller();
      const fields = ["Connection: Upgrade", "Upgrade: x", "X-Request-Id: up-1"];
      await caller.write(latin1(requestHead("GET", tunnelled("/log/upgrade"), fields)));
      const head = new TextDecoder().decode(await caller.reader.readUntil("\r\n\r\n"));
      match(head, /^HTTP\/1\.1 101 .*\r\nX-Request-Id: up-1\r\n\r\n$/s);
      equal(new TextDecoder().decode(await caller.reader.readExactly(5)), "hello");
      const log = await relayLogUpToNow(tunnel.relay);
      deepEqual(
        log.filter((line) => line["path"] === "/log/upgrade"),
        [],
        "no line before the end",
      );
      await caller.write(latin1("abc"));
      await caller.reader.readToEnd();
      caller.end();
      const line = await lineOf(tunnel, "/log/upgrade");
      deepEqual([line["status"], line["bytes_in"], line["bytes"], line["request_id"]], [
        101,
        3,
        5,
        "up-1",
      ]);
    });

    await tunnel.step(t, "a secret of a query is in no line", async () => {
      await lineOf(tunnel, "/log/one");
      const { agent, relay } = tunnel;
      const logs = JSON.stringify([...await agent.completeLog(), ...await relay.completeLog()]);
      ok(logs.includes("/log/one"));
      ok(!logs.includes("secret"));
    });
  }, { absent: ["idle"] });
});
