/** Programs that are asked to stop: open requests finish, nothing is lost, and the exit code is 0. */
import { deepEqual, equal, match, rejects } from "node:assert/strict";
import { openPayload, V2 } from "../peers/v2_frame.ts";
import { eventually, within } from "../support/deadline.ts";
import { type Program, startAgent, startRelay } from "../support/programs.ts";
import { ConnectionGoneError, openConnection } from "../support/raw_connection.ts";
import { fieldValues, readHead, readResponse, statusOf } from "../support/raw_http.ts";
import { startRawTarget } from "../support/target.ts";
import { digestOf, sha256, taking } from "../interop/contents.ts";
import { download, service, uploadBytes } from "../isolation/service.ts";
import {
  ask,
  assertNoSecrets,
  call,
  CLUSTER,
  lastLines,
  requestHead,
  secrets,
  untilOpen,
  withTunnel,
} from "../isolation/tunnel.ts";
import { Load } from "./load.ts";
import { startLinkRelay } from "./link_relay.ts";

const timeoutMs = 60_000;

/** Asks a program to stop, and waits until it says that it does. */
async function beginStop(
  program: Program,
  signal: "SIGTERM" | "SIGINT",
): Promise<{ exitCode: Promise<number> }> {
  Deno.kill(program.pid, signal);
  const exitCode = program.ended(timeoutMs);
  // A failure is reported where the code is awaited, and not here if something else fails first.
  exitCode.catch(() => {});
  await program.waitForLog(({ message }) => message === "Shutting down");
  return { exitCode };
}

/** Asks a program that stops already until it ends: what comes at once is the first request. */
async function endAtOnce(program: Program): Promise<void> {
  await eventually(() => {
    try {
      if (program.exitCode === undefined) Deno.kill(program.pid, "SIGINT");
    } catch (error) {
      // It has just ended, and its exit code is on the way.
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
    return program.exitCode !== undefined;
  }, "the program to end");
}

/** Every way of asking either program. */
const stops = (["relay", "agent"] as const).flatMap((name) =>
  (["SIGTERM", "SIGINT"] as const).map((signal) => ({ name, signal }))
);

for (const { name, signal } of stops) {
  Deno.test(`${signal} lets the ${name}'s open requests finish, then it ends with 0`, async () => {
    await withTunnel({}, async (tunnel) => {
      const { relay, target } = tunnel;
      const { program } = tunnel[name];
      await using slow = await call(relay, "GET", "/download");
      equal(statusOf(await readHead(slow.reader)), 200);
      await using upload = await call(relay, "PUT", "/upload", [
        `Content-Length: ${uploadBytes.length}`,
      ]);
      await upload.write(uploadBytes.subarray(0, 1000));
      await target.connection(1);
      const stopped = await beginStop(program, signal);

      equal(program.exitCode, undefined, "it must wait for what is open");
      await upload.write(uploadBytes.subarray(1000));
      const answer = await within(readResponse(upload.reader), "the upload's answer");
      equal(new TextDecoder().decode(answer.body), sha256(uploadBytes));
      const digest = digestOf(taking(slow.reader, download.length));
      const expected = { length: download.length, checksum: download.checksum };
      deepEqual(await within(digest, "the slow download", timeoutMs), expected);
      for (const caller of [slow, upload]) caller.end();
      equal(await stopped.exitCode, 0);
      if (name === "agent") equal(statusOf(await ask(relay, "/small")), 502);
    });
  });
}

/**
 * systemd and timeout(1) signal a whole group of processes, and `deno task`, one of them, passes it
 * on: the second one used to end the program at once, with all that was open.
 */
Deno.test("one request to stop that brings two signals lets open requests finish", async () => {
  await withTunnel({}, async ({ relay }) => {
    await using slow = await call(relay, "GET", "/download");
    equal(statusOf(await readHead(slow.reader)), 200);
    Deno.kill(relay.program.pid, "SIGTERM");
    const stopped = await beginStop(relay.program, "SIGINT");
    const digest = digestOf(taking(slow.reader, download.length));
    const expected = { length: download.length, checksum: download.checksum };
    deepEqual(await within(digest, "the slow download", timeoutMs), expected);
    slow.end();
    equal(await stopped.exitCode, 0);
  });
});

for (const { name, signal } of stops) {
  Deno.test(`${signal} has the ${name} say what it waits for, and how long at most`, async () => {
    await withTunnel({}, async (tunnel) => {
      const { program } = tunnel[name];
      await using silent = await call(tunnel.relay, "GET", "/silent");
      await untilOpen(tunnel, 1);
      const stopped = await beginStop(program, signal);
      const hint = signal === "SIGINT" ? "; press Ctrl-C again to stop now" : "";
      const waiting = new RegExp(`^Waiting for 1 open request \\(\\d+ s\\)${hint}$`);
      await program.waitForLog(({ message }) => waiting.test(message));
      await endAtOnce(program);
      equal(await stopped.exitCode, 130);
      silent.destroy();
    });
  });
}

for (const name of ["relay", "agent"] as const) {
  Deno.test(`a second request to stop ends the ${name} at once, with 130`, async () => {
    await withTunnel({}, async (tunnel) => {
      const { program } = tunnel[name];
      await using silent = await call(tunnel.relay, "GET", "/silent");
      await untilOpen(tunnel, 1);
      const stopped = await beginStop(program, "SIGTERM");
      await endAtOnce(program);
      equal(await stopped.exitCode, 130);
      silent.destroy();
    });
  });
}

Deno.test("what a caller takes slowly still arrives when the relay has nothing else to do", async () => {
  const pieceBytes = 256 * 1024;
  await withTunnel({}, async ({ relay, target }) => {
    await using idle = await openConnection(relay.internalAddress);
    await using caller = await call(relay, "GET", "/download");
    await readHead(caller.reader);
    const source = await target.connection(0);
    // It reads no more than the target needs to have sent everything: the rest is on its way.
    const pieces: Uint8Array[] = [];
    while (source.writtenBytes < download.length) {
      pieces.push(await within(caller.reader.readExactly(pieceBytes), "a piece of the body"));
    }
    const stopped = await beginStop(relay.program, "SIGTERM");
    await within(idle.reader.readToEnd(), "an idle connection to be closed");
    idle.end();
    async function* body(): AsyncGenerator<Uint8Array> {
      yield* pieces;
      yield* taking(caller.reader, download.length - pieces.length * pieceBytes);
    }
    const expected = { length: download.length, checksum: download.checksum };
    deepEqual(await within(digestOf(body()), "the rest of the body", timeoutMs), expected);
    caller.end();
    equal(await stopped.exitCode, 0);
  });
});

/** What is told to callers, and to the log, when the time for open requests is over. */
for (const name of ["relay", "agent"] as const) {
  Deno.test(`what is open when the ${name}'s grace is over ends with an error that says so`, async () => {
    const grace = ["-grace", "500ms"];
    await withTunnel({ relayArgs: grace, agentArgs: grace }, async (tunnel) => {
      const { relay } = tunnel;
      const { program } = tunnel[name];
      await using silent = await call(relay, "GET", "/silent");
      await using half = await call(relay, "GET", "/half");
      equal(statusOf(await readHead(half.reader)), 200);
      await untilOpen(tunnel, 2);
      const broken = rejects(half.reader.readToEnd(), ConnectionGoneError);
      const stopped = await beginStop(program, "SIGTERM");
      const answer = await within(readResponse(silent.reader), "an answer");
      equal(statusOf(answer), 503);
      deepEqual(fieldValues(answer, "retry-after"), ["1"]);
      const { error } = JSON.parse(new TextDecoder().decode(answer.body));
      equal(error.code, "stopping");
      match(error.message, /stopped/);
      await within(broken, "the half answer to break off");
      for (const caller of [silent, half]) caller.destroy();
      equal(await stopped.exitCode, 0);
      const line = await program.waitForLog(({ message }) => message.includes("grace is over"));
      deepEqual([line.level, line.open, line.grace_ms], ["warn", 2, 500]);
    });
  });
}

Deno.test("readiness turns off at once, while open requests go on", async () => {
  await withTunnel({ relayArgs: ["-drain-delay", "60s"] }, async ({ relay, agent, target }) => {
    await using open = await call(relay, "GET", "/half");
    await readHead(open.reader);
    await target.connection(0);
    const agentReady = `http://${agent.healthAddress}/readyz`;
    const relayReady = `http://${relay.internalAddress}/readyz`;
    equal(await statusAt(agentReady), 200);
    equal(await statusAt(relayReady), 200);
    await beginStop(agent.program, "SIGTERM");
    equal(await statusAt(agentReady), 503);
    // The relay's only agent drains: nobody would serve a new request.
    await eventually(async () => await statusAt(relayReady) === 503, "the relay not to be ready");

    await using successor = await startAgent({
      relayUrl: relay.connectUrl,
      token: secrets.token,
      target: target.address,
    });
    await eventually(async () => await statusAt(relayReady) === 200, "the relay to be ready");
    await beginStop(relay.program, "SIGTERM");
    equal(await statusAt(relayReady), 503);
    equal(successor.program.exitCode, undefined);
    await endAtOnce(relay.program);
    await endAtOnce(agent.program);
    open.destroy();
  });
});

Deno.test("in its drain delay a relay serves as before, and each answer is its connection's last", async () => {
  await withTunnel({ relayArgs: ["-drain-delay", "8s"] }, async ({ relay }) => {
    await using kept = await openConnection(relay.internalAddress);
    await kept.write(requestHead("GET", "/small"));
    const before = await within(readResponse(kept.reader), "an answer");
    deepEqual(fieldValues(before, "connection"), []);
    const stopped = await beginStop(relay.program, "SIGTERM");
    await kept.write(requestHead("GET", "/small"));
    const after = await within(readResponse(kept.reader), "an answer on a kept connection");
    equal(statusOf(after), 200);
    deepEqual(fieldValues(after, "connection"), ["close"]);
    equal((await within(kept.reader.readToEnd(), "the connection to close")).length, 0);
    kept.end();
    const fresh = await ask(relay, "/small");
    equal(statusOf(fresh), 200);
    deepEqual(fieldValues(fresh, "connection"), ["close"]);
    equal(await statusAt(`http://${relay.publicAddress}/healthz`), 200, "agents' listener");
    equal(await stopped.exitCode, 0);
  });
});

async function statusAt(url: string): Promise<number> {
  const response = await fetch(url);
  await response.body?.cancel();
  return response.status;
}

Deno.test("agents that are replaced one after the other under load lose no request", async () => {
  await using target = await startRawTarget(service);
  const clusters = [{ id: CLUSTER, token: secrets.token, targetAddr: target.address }];
  await using relay = await startRelay({ clusters });
  const startOne = () =>
    startAgent({
      relayUrl: relay.connectUrl,
      token: secrets.token,
      target: target.address,
      credential: secrets.credential,
    });
  try {
    let agent = await startOne();
    await relay.waitForAgent(CLUSTER);
    const load = new Load(relay.internalAddress);
    for (let replaced = 0; replaced < 3; replaced++) {
      const successor = await startOne();
      const from = load.answered;
      await eventually(() => load.answered > from + 50, "the load to be answered", timeoutMs);
      equal(await agent.stop(), 0);
      await eventually(() => load.answered > from + 100, "the load to be answered", timeoutMs);
      await assertNoSecrets(agent);
      agent = successor;
    }
    deepEqual(await load.stop(), []);
    equal(await agent.stop(), 0);
    await assertNoSecrets(relay, agent);
  } catch (error) {
    console.error(lastLines(relay.program));
    throw error;
  }
});

/**
 * The relay may have sent a request before it hears that the agent drains. An agent that had nothing
 * open closed its session at once then, and the caller saw 502.
 */
Deno.test("a request that crosses the agent's Drain is answered", async () => {
  await using target = await startRawTarget(service);
  const get = new TextEncoder().encode("GET /small HTTP/1.1\r\nHost: target\r\n\r\n");
  const answered = Promise.withResolvers<void>();
  let answer = "";
  await using relay = await startLinkRelay((link, { type, streamId, payload }) => {
    if (type === V2.drain) {
      void link.send(V2.open, 1, openPayload(target.address, get));
      void link.send(V2.end, 1);
    } else if (streamId === 1) {
      answer += new TextDecoder().decode(payload);
      if (type === V2.end) answered.resolve();
    }
  });
  await using agent = await startAgent({
    relayUrl: relay.connectUrl,
    token: secrets.token,
    target: target.address,
  });
  const stopped = await beginStop(agent.program, "SIGTERM");
  await within(answered.promise, "the answer");
  equal(answer.slice(answer.indexOf("\r\n\r\n") + 4), "small");
  await within((await relay.link(0)).closed, "the end of the session");
  equal(await stopped.exitCode, 0);
});
