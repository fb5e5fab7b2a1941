/** Requests that arrive at a relay whose neighbour holds the session. */
import assert from "node:assert/strict";
import { bulkBytes, BulkContent, sha256 } from "../interop/contents.ts";
import { eventually, untilSteady, within } from "../support/deadline.ts";
import { type RunningRelay, startAgent } from "../support/programs.ts";
import { fieldValues, readHead, readRequest, statusOf } from "../support/raw_http.ts";
import { openConnection } from "../support/raw_connection.ts";
import { hasRedis, Redis } from "../support/redis.ts";
import { type RawTarget, startRawTarget, type TargetHandler } from "../support/target.ts";
import { call, codeIn, openCall } from "./raw_calls.ts";
import { metric, relayToken, startPeer, tokenOf } from "./relays.ts";

/** 64 MiB: more than all buffers on the way can hold. */
const download = new BulkContent(1024);

/** The caller of `/cut` has got its half. */
const hasHalf = Promise.withResolvers<void>();

/** What the target does, by the first word of the path. */
const handler: TargetHandler = async (connection) => {
  while (!connection.isClosed) {
    const request = await readRequest(connection.reader);
    const path = request.startLine.split(" ")[1]!;
    if (path.startsWith("/head")) {
      const text = new TextDecoder().decode(request.bytes);
      await connection.write(`HTTP/1.1 200 OK\r\nContent-Length: ${text.length}\r\n\r\n${text}`);
    } else if (path.startsWith("/digest")) {
      const digest = sha256(request.body);
      await connection.write(
        `HTTP/1.1 200 OK\r\nContent-Length: ${digest.length}\r\n\r\n${digest}`,
      );
    } else if (path.startsWith("/download")) {
      await connection.write(`HTTP/1.1 200 OK\r\nContent-Length: ${download.length}\r\n\r\n`);
      for (const chunk of download) await connection.write(chunk);
    } else if (path.startsWith("/cut")) {
      await connection.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf.");
      await hasHalf.promise;
      connection.destroy();
    } else if (path.startsWith("/raw")) {
      await connection.write(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\nfirst",
      );
      const said = await connection.reader.readToEnd();
      await connection.write(said);
      connection.end();
    } else {
      await connection.write(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
      );
    }
  }
};

/** Two relays; the agent is with the first, callers come to the second. */
interface World {
  readonly target: RawTarget;
  readonly holder: RunningRelay;
  readonly other: RunningRelay;
}

Deno.test({
  name: "a relay forwards what it has no session for",
  ignore: !hasRedis,
  async fn(t) {
    await using target = await startRawTarget(handler);
    await using redis = await Redis.start();
    const options = { directory: redis.url, targets: { one: target.address } };
    await using holder = await startPeer(options);
    await using other = await startPeer(options);
    await using _agent = await startAgent({
      relayUrl: holder.connectUrl,
      token: tokenOf("one"),
      target: target.address,
    });
    await holder.waitForAgent("one");
    const world = { target, holder, other };
    for (const [name, step] of Object.entries(steps)) await t.step(name, () => step(world));
  },
});

const steps: Record<string, (world: World) => Promise<void>> = {
  async "the request arrives as it was sent, without what is for relays alone"({ holder, other }) {
    const { status, text } = await call(
      other.internalAddress,
      "GET /tunnel/one/head/a/..%2Fb//c?d=1",
      [
        "X-Own: yes",
        "x-own: twice",
        "Authorization: Bearer callers-own",
        "X-Forwarded-For: 1.2.3.4",
        "X-Request-Id: the-callers-own-id",
      ],
    );
    assert.equal(status, 200, text);
    assert.match(text, /^GET \/head\/a\/..%2Fb\/\/c\?d=1 HTTP\/1.1\r\n/);
    assert.match(text, /\r\nX-Own: yes\r\nx-own: twice\r\n/);
    // Both relays name themselves, and no other field says that there are two.
    const own = [...text.matchAll(/^Via: 1\.1 culvert-[0-9a-f]{8}\r\n/gm)].map(([line]) => line);
    assert.equal(new Set(own).size, 2);
    const rest = own.reduce((text, line) => text.replace(line, ""), text);
    assert.doesNotMatch(rest, /culvert-|callers-own\r|1\.2\.3\.4|relays-of-the-tests/i);
    assert.match(text, /\r\nX-Forwarded-For: 127\.0\.0\.1\r\n/);
    assert.match(text, new RegExp(`\\r\\nX-Forwarded-Host: ${other.internalAddress}\\r\\n`));
    assert.match(text, /\r\nX-Request-Id: the-callers-own-id\r\n/);
    for (const [relay, field] of [[other, "to_relay"], [holder, "from_relay"]] as const) {
      const line = await relay.waitForLog((line) => line.request_id === "the-callers-own-id");
      assert.equal(line.status, 200);
      assert.equal(typeof line[field], "string");
    }
    assert.doesNotMatch(holder.program.logText() + other.program.logText(), new RegExp(relayToken));
  },

  async "a request that impersonates is refused by the relay that holds the session"({ other }) {
    const { status, text } = await call(other.internalAddress, "GET /tunnel/one/head/x", [
      "Impersonate-User: nobody",
    ]);
    assert.equal(status, 403);
    assert.match(text, /"code":"impersonation_not_allowed"/);
  },

  async "bodies of both framings arrive whole, and connections are kept"({ other }) {
    const body = bulkBytes(5 * 1024 * 1024 + 7, 3);
    const digest = sha256(body);
    for (const send of [body, new Blob([body]).stream()]) {
      const response = await fetch(`${other.tunnelUrl("one")}/digest`, {
        method: "POST",
        body: send,
      });
      assert.equal(await response.text(), digest);
    }
    for (let count = 0; count < 20; count++) {
      const { text } = await call(other.internalAddress, "POST /tunnel/one/", [
        "Content-Length: 3",
      ], "abc");
      assert.equal(text, "ok");
    }
  },

  async "a caller that does not read stops the target, and gets every byte when it does"(
    { target, other },
  ) {
    await using caller = await openCall(other.internalAddress, "GET /tunnel/one/download");
    const head = await readHead(caller.reader);
    assert.equal(statusOf(head), 200);
    const sending = () => Math.max(...target.connections.map(({ writtenBytes }) => writtenBytes));
    const sent = await untilSteady(sending, "the target's bytes");
    assert.ok(sent < download.length, `${sent} bytes went out to nobody`);
    let received = 0;
    while (received < download.length) {
      received += (await within(caller.reader.readExactly(1024 * 1024), "the rest")).length;
    }
  },

  async "a cut answer does not look whole"({ other }) {
    await using caller = await openCall(other.internalAddress, "GET /tunnel/one/cut");
    await readHead(caller.reader);
    await within(caller.reader.readExactly(5), "the half of it");
    hasHalf.resolve();
    const error = await within(caller.closed, "the end of the cut answer");
    assert.ok(error instanceof Error, "a reset, not an orderly end");
  },

  async "an upgrade becomes one raw connection, with half-close"({ other }) {
    await using caller = await openCall(
      other.internalAddress,
      "GET /tunnel/one/raw",
      ["Connection: Upgrade", "Upgrade: raw"],
      "early ",
    );
    const head = await within(readHead(caller.reader), "the 101");
    assert.equal(statusOf(head), 101);
    assert.deepEqual(fieldValues(head, "upgrade"), ["raw"]);
    const first = await within(caller.reader.readExactly(5), "the target's first bytes");
    assert.equal(new TextDecoder().decode(first), "first");
    const bytes = bulkBytes(1024 * 1024, 9);
    await caller.write(bytes);
    caller.end();
    const echoed = await within(caller.reader.readToEnd(), "the echo");
    assert.equal(new TextDecoder().decode(echoed.subarray(0, 6)), "early ");
    assert.equal(sha256(echoed.subarray(6)), sha256(bytes));
  },

  async "a head as long as the limit passes, with all that relays add"({ other }) {
    const own = Array.from({ length: 240 }, (_, index) => `X-${index}: ${"v".repeat(255)}`);
    const { status, text } = await call(other.internalAddress, "GET /tunnel/one/head", own);
    assert.equal(status, 200, text.slice(0, 200));
    assert.match(text, /\r\nX-239: v{255}\r\n/);
  },

  async "a caller of HTTP/1.0 gets bare content"({ other }) {
    await using caller = await openCall(other.internalAddress, "HEAD /tunnel/one/");
    await within(readHead(caller.reader), "an answer to HEAD");
    const old = await fetchOld(other.internalAddress);
    assert.match(old, /^HTTP\/1\.1 200 OK\r\n/);
    assert.doesNotMatch(old, /chunked/i);
    assert.match(old, /\r\n\r\nok$/);
  },

  async "a forged hop is refused, whatever is wrong with it"({ target, holder }) {
    const right = {
      "Culvert-Hop": "some-relay",
      "Culvert-Relay-Token": relayToken,
      "Culvert-Caller-Address": "10.1.2.3",
      "Culvert-Caller-Proto": "http",
      "Culvert-Caller-Kind": "token",
      "Culvert-Caller-Name": "somebody",
    };
    const forged: Record<string, Record<string, string>> = {
      "no token": { ...right, "Culvert-Relay-Token": "" },
      "another token": { ...right, "Culvert-Relay-Token": `${relayToken}x` },
      "a part of the token": { ...right, "Culvert-Relay-Token": relayToken.slice(0, -1) },
      "the hop alone": { "Culvert-Hop": "some-relay" },
      "a caller's name alone": { "Culvert-Caller-Name": "admin" },
      "no relay": { ...right, "Culvert-Hop": "" },
      "another scheme": { ...right, "Culvert-Caller-Proto": "ftp" },
      "another kind": { ...right, "Culvert-Caller-Kind": "king" },
      "a name that is not encoded": { ...right, "Culvert-Caller-Name": "%zz" },
    };
    const before = target.connections.map(({ receivedBytes }) => receivedBytes);
    for (const [what, fields] of Object.entries(forged)) {
      const lines = Object.entries(fields).map(([name, value]) => `${name}: ${value}`);
      const { status, text } = await call(holder.internalAddress, "GET /tunnel/one/", lines);
      assert.equal(status, 403, what);
      assert.equal(codeIn(text), "forbidden_hop", what);
    }
    const twice = [...Object.entries(right), ["Culvert-Relay-Token", relayToken]];
    const lines = twice.map(([name, value]) => `${name}: ${value}`);
    assert.equal((await call(holder.internalAddress, "GET /tunnel/one/", lines)).status, 403);
    assert.deepEqual(target.connections.map(({ receivedBytes }) => receivedBytes), before);
  },

  async "a hop goes no further: where there is no session the answer says so"({ other }) {
    const answer = await call(other.internalAddress, "GET /tunnel/one/", [
      "Culvert-Hop: some-relay",
      `Culvert-Relay-Token: ${relayToken}`,
      "Culvert-Caller-Address: 10.1.2.3",
      "Culvert-Caller-Proto: https",
      "Culvert-Caller-Kind: token",
      "Culvert-Caller-Name: somebody",
    ]);
    assert.equal(answer.status, 421);
    assert.equal(codeIn(answer.text), "not_here");
    assert.deepEqual(fieldValues(answer, "culvert-hop"), ["not-here"]);
  },

  async "a cluster that nobody holds is not available, at one look-up a second"({ other }) {
    const lookups = 'culvert_directory_lookups_total{result="none"}';
    const before = await metric(other, lookups);
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => call(other.internalAddress, "GET /tunnel/nobody/")),
    );
    for (const { status, text } of answers) {
      assert.equal(status, 502);
      assert.equal(codeIn(text), "cluster_not_available");
    }
    const made = await metric(other, lookups) - before;
    assert.ok(made < answers.length, `${made} look-ups`);
    await eventually(
      async () => await metric(other, "culvert_waiting_requests") === 0,
      "no request to wait",
    );
  },
};

async function fetchOld(address: string): Promise<string> {
  await using old = await openConnection(address);
  await old.write("GET /tunnel/one/ HTTP/1.0\r\n\r\n");
  return new TextDecoder().decode(await within(old.reader.readToEnd(), "the answer"));
}
