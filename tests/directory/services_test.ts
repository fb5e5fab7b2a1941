/** Requests for services that arrive at a relay whose neighbour holds the session. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { get, textOf } from "../services/setup.ts";
import { withFolder } from "../support/certificates.ts";
import { eventually, within } from "../support/deadline.ts";
import { addressOf, type RunningRelay, startAgent } from "../support/programs.ts";
import { fieldValues, readHead, readRequest, statusOf } from "../support/raw_http.ts";
import { openConnection } from "../support/raw_connection.ts";
import { hasRedis, Redis } from "../support/redis.ts";
import { startRawTarget, type TargetHandler } from "../support/target.ts";
import { clustersFor, relayToken, startPeer, tokenOf } from "./relays.ts";

/** Answers with the head that it got; after `/raw` it sends back what it gets. */
const mirror: TargetHandler = async (connection) => {
  while (!connection.isClosed) {
    const request = await readRequest(connection.reader);
    if (request.startLine.includes("/raw")) {
      await connection.write(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n",
      );
      const said = await connection.reader.readToEnd();
      await connection.write(said);
      return connection.end();
    }
    const head = new TextDecoder().decode(request.bytes);
    const [host = ""] = fieldValues(request, "host");
    await connection.write(
      `HTTP/1.1 200 OK\r\nServer: mirror\r\nLocation: http://${host}/next\r\n` +
        `Content-Length: ${head.length}\r\n\r\n${head}`,
    );
  }
};

async function webAddressOf(relay: RunningRelay): Promise<string> {
  return await addressOf(relay, "web");
}

Deno.test({
  name: "a service is reached through whichever relay its request comes to",
  ignore: !hasRedis,
  async fn(t) {
    await using target = await startRawTarget(mirror);
    await using redis = await Redis.start();
    const service = (name: string, more: object) => ({
      name,
      hostnames: [`${name}.test`],
      cluster: "one",
      target: target.address,
      policy: "public",
      ...more,
    });
    const services = JSON.stringify({
      services: [
        service("plain", {}),
        service("changed", {
          host: "target",
          headers: { remove: ["Server"], set: { "X-Frame-Options": "DENY" } },
        }),
        service("gone", { target: "absent" }),
      ],
    });
    const options = {
      directory: redis.url,
      targets: { one: target.address },
      args: ["-services", services, "-web-addr", "127.0.0.1:0"],
    };
    await using holder = await startPeer(options);
    await using other = await startPeer(options);
    await using _agent = await startAgent({
      relayUrl: holder.connectUrl,
      token: tokenOf("one"),
      target: target.address,
    });
    await holder.waitForAgent("one");
    const web = await webAddressOf(other);
    await eventually(
      async () => statusOf(await get(web, "plain.test")) === 200,
      "the other relay to find the session",
    );

    await t.step("path and host come as they were sent, and the first relay's caller", async () => {
      const text = textOf(
        await get(web, "Plain.test:81", "/a/..%2F//b?c=%20", [
          ...["Culvert-Path: /evil", "Culvert-Route: cluster=evil", "Culvert-Hop: x"],
          "X-Forwarded-User: eve",
        ]),
      );
      match(text, /^GET \/a\/\.\.%2F\/\/b\?c=%20 HTTP\/1\.1\r\n/);
      match(text, /^Host: Plain\.test:81\r$/m);
      match(text, /^X-Forwarded-Host: Plain\.test:81\r$/m);
      match(text, /^X-Forwarded-For: 127\.0\.0\.1\r$/m);
      ok(!/culvert-(?:path|route|hop|relay|caller)|eve|X-Forwarded-Prefix/i.test(text), text);
    });

    await t.step("what a service changes is changed once", async () => {
      const answer = await get(web, "changed.test", "/", ["Origin: http://changed.test"]);
      match(textOf(answer), new RegExp(`^Host: ${target.address}\r$`, "m"));
      match(textOf(answer), new RegExp(`^Origin: http://${target.address}\r$`, "m"));
      deepEqual(fieldValues(answer, "location"), ["http://changed.test/next"]);
      deepEqual(fieldValues(answer, "x-frame-options"), ["DENY"]);
      deepEqual(fieldValues(answer, "server"), []);
    });

    await t.step("errors are those of the service", async () => {
      const answer = await get(web, "gone.test");
      equal(statusOf(answer), 502);
      match(textOf(answer), /target_not_available/);
    });

    await t.step("an upgraded connection passes, with half-close", async () => {
      const caller = await openConnection(web);
      await using _caller = caller;
      await caller.write(
        "GET /raw HTTP/1.1\r\nHost: plain.test\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n",
      );
      equal(statusOf(await within(readHead(caller.reader), "the upgrade")), 101);
      await caller.write("said");
      caller.end();
      const echo = await within(caller.reader.readToEnd(), "the echo");
      equal(new TextDecoder().decode(echo), "said");
    });

    await t.step("both relays log the service", async () => {
      for (const relay of [holder, other]) {
        const line = await relay.waitForLog(({ message, service }) =>
          message === "Request" && service === "changed"
        );
        equal(line.hostname, "changed.test");
      }
    });

    await t.step("who is no relay can't ask for a service in a relay's place", async () => {
      const route = new URLSearchParams({
        cluster: "one",
        name: "plain",
        hostname: "plain.test",
        target: target.address,
        ...{ host: "public", authorization: "app", impersonation: "forward" },
      });
      const lines = (token: string, fields: object) =>
        Object.entries({
          "Culvert-Hop": "somebody",
          "Culvert-Relay-Token": token,
          "Culvert-Caller-Address": "192.0.2.1",
          "Culvert-Caller-Proto": "https",
          "Culvert-Caller-Kind": "network",
          "Culvert-Caller-Name": "public",
          "Culvert-Route": route.toString(),
          "Culvert-Path": "/x",
          ...fields,
        }).map(([name, value]) => `${name}: ${value}`);
      const hop = (target: string, token: string, fields: object = {}) =>
        get(holder.internalAddress, "x", target, lines(token, fields));
      equal(statusOf(await hop("/.culvert/hop", relayToken)), 200);
      equal(statusOf(await hop("/.culvert/hop", "wrong-token")), 403);
      // A route's fields at a cluster's path, and halves of them, are what no relay writes.
      equal(statusOf(await hop("/tunnel/one/x", relayToken)), 403);
      equal(
        statusOf(await hop("/.culvert/hop", relayToken, { "Culvert-Route": "cluster=one" })),
        403,
      );
      equal(statusOf(await hop("/.culvert/hop", relayToken, { "Culvert-Path": "x" })), 403);
      equal(statusOf(await get(holder.internalAddress, "x", "/.culvert/hop")), 404);
      // On the web listener it is a path of culvert's own.
      equal(
        statusOf(await get(web, "plain.test", "/.culvert/hop", lines(relayToken, {}))),
        404,
      );
    });
  },
});

Deno.test({
  name: "a hostname that an agent claims is reached through whichever relay a request comes to",
  ignore: !hasRedis,
  async fn() {
    await using target = await startRawTarget(mirror);
    await using redis = await Redis.start();
    const clusters = await Deno.makeTempFile({ suffix: ".json" });
    const [entry] = clustersFor({ one: target.address });
    const claims = { hostnames: ["listed.test", "*.team.test"], policy: "public" };
    await Deno.writeTextFile(clusters, JSON.stringify([{ ...entry, ...claims }]));
    const options = {
      directory: redis.url,
      targets: {},
      args: ["-web-addr", "127.0.0.1:0", "-health-addr", "127.0.0.1:0", "-clusters", clusters],
    };
    await using holder = await startPeer(options);
    await using other = await startPeer(options);
    const start = (relay: RunningRelay, hostname: string) =>
      startAgent({
        relayUrl: relay.connectUrl,
        token: tokenOf("one"),
        target: target.address,
        env: { HOSTNAMES: hostname },
      });
    const web = await webAddressOf(other);
    await using _agent = await start(holder, "a.team.test");
    await holder.waitForAgent("one");
    await eventually(
      async () => statusOf(await get(web, "a.team.test")) === 200,
      "the other relay to find the session",
    );
    // The relay has a session of the cluster, and it is another one that claimed the hostname.
    await using _other = await start(other, "listed.test");
    await other.waitForAgent("one");
    equal(statusOf(await get(web, "a.team.test")), 200);
    equal(statusOf(await get(web, "listed.test")), 200);
    equal(statusOf(await get(web, "b.team.test")), 421);
    equal(statusOf(await get(await webAddressOf(holder), "listed.test")), 200);
    // What a proxy asks before it obtains a certificate.
    const health = await addressOf(other, "health");
    const asked = async (domain: string) =>
      statusOf(await get(health, "x", `/.culvert/hosts?domain=${domain}`));
    equal(await asked("a.team.test"), 200);
    equal(await asked("listed.test"), 200);
    equal(await asked("b.team.test"), 404);
    await Deno.remove(clusters);
  },
});

Deno.test({
  name:
    "a service goes to the relay whose agent has its target, though another has agents of the cluster",
  ignore: !hasRedis,
  async fn() {
    await using left = await startRawTarget(mirror);
    await using right = await startRawTarget(mirror);
    await using redis = await Redis.start();
    const services = JSON.stringify({
      services: ["left", "right", "nowhere"].map((name) => ({
        name,
        hostnames: [`${name}.test`],
        cluster: "one",
        target: name,
        policy: "public",
        host: "target",
      })),
    });
    const options = {
      directory: redis.url,
      targets: { one: "unused:1" },
      args: ["-services", services, "-web-addr", "127.0.0.1:0"],
    };
    await withFolder(async (folder) => {
      await using first = await startPeer(options);
      await using second = await startPeer(options);
      const start = async (relay: RunningRelay, name: string, address: string) => {
        const file = `${folder}/${name}.yaml`;
        await Deno.writeTextFile(file, JSON.stringify({ targets: [{ name, address }] }));
        const args = ["--targets", file];
        return await startAgent({ relayUrl: relay.connectUrl, token: tokenOf("one"), args });
      };
      await using _left = await start(first, "left", left.address);
      await using _right = await start(second, "right", right.address);
      await first.waitForAgent("one");
      await second.waitForAgent("one");
      for (const relay of [first, second]) {
        const web = await webAddressOf(relay);
        for (const [name, { address }] of [["left", left], ["right", right]] as const) {
          await eventually(
            async () => statusOf(await get(web, `${name}.test`)) === 200,
            `${name} to be found`,
          );
          for (let count = 0; count < 10; count++) {
            const answer = await get(web, `${name}.test`);
            equal(statusOf(answer), 200, textOf(answer));
            match(textOf(answer), new RegExp(`^Host: ${address}\r$`, "m"));
          }
        }
        const refused = await get(web, "nowhere.test");
        equal(statusOf(refused), 502);
        match(textOf(refused), /target_not_available/);
      }
    });
  },
});
