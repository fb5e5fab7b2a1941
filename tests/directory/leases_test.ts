/** What relays do with what they find in Redis: leases of the dead, of the wrong, and none at all. */
import assert from "node:assert/strict";
import { createServer } from "node:net";
import { once } from "node:events";
import { TcpProxy } from "../isolation/tcp_proxy.ts";
import { eventually, untilEqual } from "../support/deadline.ts";
import { type RunningRelay, startAgent } from "../support/programs.ts";
import { hasRedis, Redis } from "../support/redis.ts";
import { answering, refusingAddress, startRawTarget } from "../support/target.ts";
import { call, codeIn } from "./raw_calls.ts";
import {
  announce,
  claim,
  clusterKey,
  metric,
  startPeer,
  tokenOf,
  untilInDirectory,
} from "./relays.ts";
import { relayLogUpToNow } from "../isolation/tunnel.ts";

const ok = answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");

/** Two relays and a Redis, an agent of "one" with the first of them. */
async function withRelays(
  test: (world: { redis: Redis; holder: RunningRelay; other: RunningRelay }) => Promise<void>,
): Promise<void> {
  await using target = await startRawTarget(ok);
  await using redis = await Redis.start();
  const options = { directory: redis.url, targets: { one: target.address, two: target.address } };
  await using holder = await startPeer(options);
  await using other = await startPeer(options);
  await using _agent = await startAgent({
    relayUrl: holder.connectUrl,
    token: tokenOf("one"),
    target: target.address,
  });
  await holder.waitForAgent("one");
  await eventually(
    async () => await redis.ask("HLEN", clusterKey("one")) === ":1",
    "the lease of the agent's session",
  );
  await test({ redis, holder, other });
}

/** A test that needs Redis. */
function redisTest(name: string, fn: () => Promise<void>): void {
  Deno.test({ name, ignore: !hasRedis, fn });
}

redisTest("a lease of a relay that is gone costs a request nothing but a try", async () => {
  await withRelays(async ({ redis, other }) => {
    await announce(redis, "gone", `http://${refusingAddress()}`);
    await claim(redis, "gone", "one", { sinceMs: Date.now() + 1_000 });
    for (const method of ["GET", "POST"]) {
      const answer = await call(other.internalAddress, `${method} /tunnel/one/`, [
        "Content-Length: 0",
      ]);
      assert.equal(answer.text, "ok", method);
    }
    await untilEqual(
      () => metric(other, 'culvert_forwarded_requests_total{result="unreachable"}'),
      1,
    );
  });
});

redisTest(
  "a relay that takes connections and says nothing is passed over, by what may be repeated",
  async () => {
    const silent = createServer();
    silent.listen({ host: "127.0.0.1", port: 0 });
    await once(silent, "listening");
    const { port } = silent.address() as { port: number };
    try {
      await withRelays(async ({ redis, other }) => {
        await announce(redis, "silent", `http://127.0.0.1:${port}`);
        await claim(redis, "silent", "one", { sinceMs: Date.now() + 1_000 });
        const answer = await call(other.internalAddress, "GET /tunnel/one/");
        assert.equal(answer.text, "ok");
        await untilEqual(
          () => metric(other, 'culvert_forwarded_requests_total{result="broken"}'),
          1,
        );
      });
    } finally {
      silent.close();
    }
  },
);

redisTest(
  "a relay lets go of one that ended in good order with a request, once another answers that",
  async () => {
    let [ended, closed] = [0, 0];
    // As the kernel ends the connections of a process that was killed.
    const ending = createServer({ allowHalfOpen: true }, (socket) => {
      socket.on("error", () => {});
      socket.on("close", () => closed++);
      socket.once("data", () => {
        ended++;
        socket.end("HTTP/1.1 102 Processing\r\nCulvert-Hop: accepted\r\n\r\n");
      });
    });
    ending.listen({ host: "127.0.0.1", port: 0 });
    await once(ending, "listening");
    const { port } = ending.address() as { port: number };
    try {
      // As each of them stops at the end, it waits for no request that it has answered.
      await withRelays(async ({ redis, other }) => {
        await announce(redis, "ending", `http://127.0.0.1:${port}`);
        await claim(redis, "ending", "one", { sinceMs: Date.now() + 1_000 });
        const answer = await call(other.internalAddress, "GET /tunnel/one/");
        assert.deepEqual([answer.status, answer.text, ended], [200, "ok", 1]);
        await eventually(() => closed === 1, "the connection to be closed");
      });
    } finally {
      ending.close();
    }
  },
);

/** As {@link withRelays}, with the newest lease at a relay that breaks off whatever it is sent. */
async function withBreakingRelay(
  test: (other: RunningRelay, seen: readonly string[]) => Promise<void>,
): Promise<void> {
  const seen: string[] = [];
  const breaking = createServer((socket) => {
    socket.on("error", () => {});
    socket.on("data", (bytes: Uint8Array) => {
      seen.push(new TextDecoder().decode(bytes));
      socket.resetAndDestroy();
    });
  });
  breaking.listen({ host: "127.0.0.1", port: 0 });
  await once(breaking, "listening");
  const { port } = breaking.address() as { port: number };
  try {
    await withRelays(async ({ redis, other }) => {
      await announce(redis, "breaking", `http://127.0.0.1:${port}`);
      await claim(redis, "breaking", "one", { sinceMs: Date.now() + 1_000 });
      await test(other, seen);
    });
  } finally {
    breaking.close();
  }
}

redisTest("a request that another relay may have taken whole is not sent again", async () => {
  await withBreakingRelay(async (other, seen) => {
    const answer = await call(other.internalAddress, "DELETE /tunnel/one/");
    assert.equal(answer.status, 502);
    assert.equal(codeIn(answer.text), "relay_lost");
    assert.equal(seen.length, 1);
    assert.ok(seen[0]!.startsWith("DELETE /tunnel/one/ HTTP/1.1\r\n"));
  });
});

redisTest("a request whose body is still here goes to the next relay", async () => {
  await withBreakingRelay(async (other, seen) => {
    const length = ["Content-Length: 6"];
    const answer = await call(other.internalAddress, "POST /tunnel/one/", length, "secret");
    assert.deepEqual([answer.status, answer.text], [200, "ok"]);
    assert.equal(seen.length, 1);
    assert.ok(seen[0]!.startsWith("POST /tunnel/one/ HTTP/1.1\r\n"));
    assert.ok(!seen[0]!.includes("secret"), "no body before the other relay's word");
  });
});

redisTest("a lease without a relay that is alive does not count", async () => {
  await withRelays(async ({ redis, other }) => {
    await claim(redis, "long-dead", "two", {});
    const answer = await call(other.internalAddress, "GET /tunnel/two/");
    assert.equal(answer.status, 502);
    assert.equal(codeIn(answer.text), "cluster_not_available");
  });
});

redisTest("where two relays claim one agent's connection, the newer claim counts", async () => {
  await withRelays(async ({ redis, holder, other }) => {
    const [lease = "{}"] = [await redis.ask("HGET", clusterKey("one"), await field(redis))];
    const { instance, sinceMs } = JSON.parse(lease) as { instance: string; sinceMs: number };
    await announce(redis, "older", `http://${refusingAddress()}`);
    await claim(redis, "older", "one", { instance, sinceMs: sinceMs - 1 });
    const answer = await call(other.internalAddress, "GET /tunnel/one/");
    assert.equal(answer.text, "ok");
    await untilEqual(
      () => metric(other, 'culvert_forwarded_requests_total{result="unreachable"}'),
      0,
    );
    await untilEqual(() => metric(holder, "culvert_directory_errors_total"), 0);
  });
});

/** The one field of the hash of "one". */
async function field(redis: Redis): Promise<string> {
  return await redis.ask("EVAL", "return redis.call('HKEYS', KEYS[1])[1]", "1", clusterKey("one"));
}

redisTest("values that no relay writes are ignored, with a line in the log", async () => {
  await withRelays(async ({ redis, other }) => {
    for (const [index, value] of ["", "{", "[]", '{"relay": 7}', "\u00ff", "null"].entries()) {
      await redis.ask("HSET", clusterKey("one"), `wrong/${index}`, value);
    }
    await claim(redis, "wrong-record", "one", {});
    await redis.ask("SET", "culvert:relay:wrong-record", '{"url": "ftp://10.0.0.1"}');
    await claim(redis, "wrong-type", "one", {});
    await redis.ask("LPUSH", "culvert:relay:wrong-type", "x");
    const answer = await call(other.internalAddress, "GET /tunnel/one/");
    assert.equal(answer.text, "ok");
    await other.waitForLog(({ message, level }) =>
      level === "warn" && message === "Ignored an entry in the directory that no relay has written"
    );
    await redis.ask("SET", clusterKey("two"), "a string, where a hash should be");
    const none = await call(other.internalAddress, "GET /tunnel/two/");
    assert.equal(codeIn(none.text), "cluster_not_available");
    await untilEqual(() => metric(other, 'culvert_directory_up{directory="redis"}'), 1);
  });
});

redisTest(
  "without Redis a relay serves what it holds, says so, and is back with all of it",
  async () => {
    await withRelays(async ({ redis, holder, other }) => {
      const forwarded = await call(other.internalAddress, "GET /tunnel/one/");
      assert.equal(forwarded.text, "ok");
      await redis.stop();
      for (const relay of [holder, other]) {
        await relay.waitForLog(({ message }) => message.startsWith("The directory is unavailable"));
        await eventually(
          async () => await metric(relay, 'culvert_directory_up{directory="redis"}') === 0,
          "the metric to say so",
        );
      }
      const ready = await call(holder.internalAddress, "GET /readyz");
      assert.equal(ready.status, 200);
      assert.equal(ready.text, "ok, but the directory is unavailable\n");
      assert.equal((await call(holder.internalAddress, "GET /tunnel/one/")).text, "ok");
      assert.equal(
        (await call(other.internalAddress, "GET /tunnel/one/")).text,
        "ok",
        "still known",
      );
      const unknown = await call(other.internalAddress, "GET /tunnel/two/");
      assert.equal(unknown.status, 503);
      assert.equal(codeIn(unknown.text), "directory_unavailable");

      await redis.start();
      await untilInDirectory(holder, 2);
      await untilInDirectory(other, 2);
      assert.equal(await redis.ask("HLEN", clusterKey("one")), ":1", "written anew");
      const ready2 = await call(holder.internalAddress, "GET /readyz");
      assert.equal(ready2.text, "ok");
      const log = await relayLogUpToNow(holder);
      const away = log.filter(({ message }) => message.startsWith("The directory is unavailable"));
      const errors = away.map(({ error }) => error);
      assert.deepEqual([...new Set(errors)], errors, "each error is logged once");
    });
  },
);

redisTest("a Redis that does not answer holds up no request", async () => {
  await using target = await startRawTarget(ok);
  await using redis = await Redis.start();
  await using line = await TcpProxy.start(redis.address);
  const targets = { one: target.address, two: target.address };
  await using relay = await startPeer({ directory: `redis://${line.address}`, targets });
  await using _agent = await startAgent({
    relayUrl: relay.connectUrl,
    token: tokenOf("one"),
    target: target.address,
  });
  await relay.waitForAgent("one");
  line.freeze();
  const answer = await call(relay.internalAddress, "GET /tunnel/two/");
  assert.equal(answer.status, 503);
  assert.equal(codeIn(answer.text), "directory_unavailable");
  assert.equal((await call(relay.internalAddress, "GET /tunnel/one/")).text, "ok");
  await relay.waitForLog(({ message }) => message.startsWith("The directory is unavailable"));
  // The old connection stays frozen: the relay has to notice, and to make a new one.
  line.thaw();
  await untilInDirectory(relay, 2);
  const none = await call(relay.internalAddress, "GET /tunnel/two/");
  assert.equal(codeIn(none.text), "cluster_not_available");
});

redisTest("a relay that stops takes its leases back", async () => {
  await withRelays(async ({ redis, holder }) => {
    assert.equal(await holder.stop(), 0);
    assert.equal(await redis.ask("EXISTS", clusterKey("one")), ":0");
    assert.equal(
      await redis.ask("EVAL", "return #redis.call('KEYS', 'culvert:relay:*')", "0"),
      ":1",
    );
  });
});
