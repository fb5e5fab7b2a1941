/** Limits that callers meet, with the real programs: each harms the one that meets it, and no other. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { eventually, untilEqual, within } from "../support/deadline.ts";
import { type RunningRelay, startAgent, startRelay } from "../support/programs.ts";
import {
  ConnectionGoneError,
  openConnection,
  type RawConnection,
} from "../support/raw_connection.ts";
import { concatBytes } from "../support/byte_reader.ts";
import {
  fieldValues,
  type RawMessage,
  readHead,
  readResponse,
  statusOf,
} from "../support/raw_http.ts";
import { startRawTarget } from "../support/target.ts";
import { piece, service, uploadBytes } from "./service.ts";
import {
  ask,
  askSmall,
  call,
  CLUSTER,
  metric,
  requestHead,
  untilOpen,
  withTunnel,
} from "./tunnel.ts";

function codeOf({ body }: RawMessage): string {
  return JSON.parse(new TextDecoder().decode(body)).error.code;
}

/** One relay that two clusters' agents are connected to, `blue` and `green`. */
async function withTwoClusters(
  blueLimits: Record<string, number>,
  args: readonly string[],
  test: (relay: RunningRelay) => Promise<void>,
): Promise<void> {
  await using target = await startRawTarget(service);
  const entry = (id: string, more: object = {}) => (
    { id, token: `${id}-token-0123456789`, targetAddr: target.address, ...more }
  );
  const clusters = [entry(CLUSTER, { limits: blueLimits }), entry("green")];
  await using relay = await startRelay({ clusters, args });
  const agentOf = (id: string) =>
    startAgent({
      relayUrl: relay.connectUrl,
      token: `${id}-token-0123456789`,
      target: target.address,
    });
  await using _blue = await agentOf(CLUSTER);
  await using _green = await agentOf("green");
  await relay.waitForAgent(CLUSTER);
  await relay.waitForAgent("green");
  await test(relay);
}

Deno.test("one cluster's storm of requests is refused with 429, another cluster notices nothing", async () => {
  await withTwoClusters({ requestsPerSecond: 5 }, ["--rate-limit", "500"], async (relay) => {
    const storm = Promise.all(Array.from({ length: 200 }, () => ask(relay, "/small")));
    for (let count = 0; count < 50; count++) {
      equal(statusOf(await ask(relay, "/small", "green")), 200);
    }
    const answers = await within(storm, "the storm's answers");
    const refused = answers.filter((answer) => statusOf(answer) === 429);
    ok(refused.length >= 100, `${refused.length} of 200 were refused`);
    equal(answers.length - refused.length, answers.filter((one) => statusOf(one) === 200).length);
    for (const answer of refused) {
      equal(codeOf(answer), "cluster_rate_limit");
      match(fieldValues(answer, "retry-after")[0] ?? "none", /^[1-9]\d*$/);
    }
    await untilEqual(
      () => metric(relay.internalAddress, "culvert_limit_hits_total"),
      refused.length,
    );
  });
});

Deno.test("open requests of a cluster are limited, and each that ends makes room", async () => {
  await withTwoClusters({ openRequests: 2 }, [], async (relay) => {
    const first = await call(relay, "GET", "/silent");
    await using _second = await call(relay, "GET", "/silent");
    await eventually(
      async () => await metric(relay.internalAddress, "tunnel_active_connections") === 2,
      "two open requests",
    );
    const refused = await ask(relay, "/small");
    deepEqual([statusOf(refused), codeOf(refused)], [503, "cluster_max_requests"]);
    deepEqual(fieldValues(refused, "retry-after"), ["1"]);
    equal(statusOf(await ask(relay, "/small", "green")), 200);
    first.reset();
    await eventually(async () => statusOf(await ask(relay, "/small")) === 200, "room for another");
  });
});

Deno.test("the relay's limit of open requests counts upgraded connections too", async () => {
  await withTunnel({ relayArgs: ["--max-requests", "1"] }, async ({ relay }) => {
    const fields = ["Connection: Upgrade", "Upgrade: echo"];
    const upgraded = await call(relay, "GET", "/echo", fields);
    equal(statusOf(await readHead(upgraded.reader)), 101);
    const refused = await ask(relay, "/small");
    deepEqual([statusOf(refused), codeOf(refused)], [503, "max_requests"]);
    upgraded.reset();
    await eventually(async () => statusOf(await ask(relay, "/small")) === 200, "room for another");
  });
});

Deno.test("bytes over the bandwidth wait, in both directions, and none is lost", async () => {
  const bytesPerSecond = 1024 * 1024;
  await withTunnel({ relayArgs: ["--bandwidth", String(bytesPerSecond)] }, async (tunnel) => {
    const startMs = performance.now();
    const pieces = await Promise.all(Array.from({ length: 4 }, () => ask(tunnel.relay, "/piece")));
    for (const answer of pieces) equal(Buffer.compare(answer.body, piece), 0);
    const upload = uploadBytes.subarray(0, bytesPerSecond);
    await using caller = await openConnection(tunnel.relay.internalAddress);
    await caller.write(requestHead("PUT", "/upload", [`Content-Length: ${upload.length}`]));
    await caller.write(upload);
    equal(statusOf(await within(readResponse(caller.reader), "the upload's answer", 60_000)), 200);
    // Three seconds' worth, of which one may pass at once. Waiting less is wrong on any machine.
    const seconds = (performance.now() - startMs) / 1000;
    ok(seconds >= 1.5, `it took ${seconds} s`);
    await untilOpen(tunnel, 0);
  });
});

/** The beginning of a body, by the field that says how it is framed. */
const halfBodies = {
  "Content-Length: 1000": "a part of it",
  "Transfer-Encoding: chunked": "6\r\na part",
};

/** What stands before and behind each 64 KiB of a body, by the same. */
const endlessBodies = {
  "Content-Length: 9000000000": ["", ""],
  "Transfer-Encoding: chunked": ["10000\r\n", "\r\n"],
} as const;

/** Writes a body without end, until the connection is gone. */
async function writeForever(
  connection: RawConnection,
  before: string,
  behind: string,
): Promise<void> {
  const encoder = new TextEncoder();
  const bytes = concatBytes([
    encoder.encode(before),
    uploadBytes.subarray(0, 65_536),
    encoder.encode(behind),
  ]);
  try {
    while (!connection.isClosed) await connection.write(bytes);
  } catch (error) {
    if (!(error instanceof ConnectionGoneError)) throw error;
  }
}

Deno.test("requests over the relay's rate, and behind too many bytes, are refused with 429", async () => {
  const cases = [
    { option: "rate-limit", value: 1, downloads: 0 },
    { option: "bandwidth", value: 100_000, downloads: 16 },
    { option: "cluster-bandwidth", value: 100_000, downloads: 16 },
  ];
  for (const { option, value, downloads } of cases) {
    const relayArgs = [`--${option}`, String(value), "--grace", "0"];
    await withTunnel({ relayArgs }, async ({ relay }) => {
      const callers: RawConnection[] = [];
      for (let count = 0; count < downloads; count++) {
        callers.push(await call(relay, "GET", "/piece"));
      }
      let refused = await ask(relay, "/small");
      await eventually(async () => {
        if (statusOf(refused) === 200) refused = await ask(relay, "/small");
        return statusOf(refused) !== 200;
      }, `a refusal by --${option}`);
      deepEqual([statusOf(refused), codeOf(refused)], [429, option.replaceAll("-", "_")]);
      match(fieldValues(refused, "retry-after")[0] ?? "none", /^[1-9]\d*$/);
      const text = await (await fetch(`http://${relay.internalAddress}/metrics`)).text();
      match(text, new RegExp(`^culvert_limit_hits_total\\{limit="${option}"\\} [1-9]`, "m"));
      for (const caller of callers) await caller[Symbol.asyncDispose]();
    });
  }
});

Deno.test("a body that stands still is ended by --idle-timeout; what may be silent is not", async () => {
  await withTunnel({ relayArgs: ["--idle-timeout", "1s"] }, async (tunnel) => {
    const { relay } = tunnel;
    await using watching = await call(relay, "GET", "/silent");
    await using upgraded = await call(relay, "GET", "/echo", [
      "Connection: Upgrade",
      "Upgrade: echo",
    ]);
    equal(statusOf(await readHead(upgraded.reader)), 101);

    await using followed = await call(relay, "GET", "/early");
    equal(statusOf(await readHead(followed.reader)), 200);

    for (const [framing, part] of Object.entries(halfBodies)) {
      await using uploading = await call(relay, "PUT", "/silent", [framing]);
      await uploading.write(part);
      const answer = await within(readResponse(uploading.reader), "the answer to half an upload");
      deepEqual([statusOf(answer), codeOf(answer)], [408, "idle"], framing);

      await using answered = await call(relay, "PUT", "/early", [framing]);
      await answered.write(part);
      equal(statusOf(await readHead(answered.reader)), 200, framing);
      const end = await within(answered.closed, "the end of a body that stands still");
      ok(end instanceof Error, "a cut answer must not look whole");
    }
    for (const [framing, [before, behind]] of Object.entries(endlessBodies)) {
      await using unread = await call(relay, "PUT", "/unread", [framing]);
      const writing = writeForever(unread, before, behind);
      const answer = await within(
        readResponse(unread.reader),
        "the answer for a target that sleeps",
      );
      deepEqual([statusOf(answer), codeOf(answer)], [504, "idle_target"], framing);
      await unread[Symbol.asyncDispose]();
      await writing;
    }

    await using half = await call(relay, "GET", "/half");
    equal(statusOf(await readHead(half.reader)), 200);
    const end = await within(half.closed, "the end of a download that stands still");
    ok(end instanceof Error, "a cut answer must not look whole");

    await untilOpen(tunnel, 3);

    await untilEqual(() => metric(relay.internalAddress, "culvert_limit_hits_total"), 7);
    await upgraded.write("still there");
    match(new TextDecoder().decode(await upgraded.reader.readSome()), /^still/);
    ok(!watching.isClosed && !followed.isClosed);
    await askSmall(relay);
  });
});

Deno.test("an upload may take longer than --response-timeout, which begins behind it", async () => {
  await withTunnel({ relayArgs: ["--response-timeout", "2s"] }, async ({ relay }) => {
    const bytes = uploadBytes.subarray(0, 4_000);
    await using caller = await call(relay, "PUT", "/upload", [`Content-Length: ${bytes.length}`]);
    for (let at = 0; at < bytes.length; at += 1_000) {
      await caller.write(bytes.subarray(at, at + 1_000));
      await new Promise((resolve) => setTimeout(resolve, 600));
    }
    equal(statusOf(await within(readResponse(caller.reader), "the upload's answer")), 200);
    await using silent = await call(relay, "GET", "/silent");
    const late = await within(readResponse(silent.reader), "the timeout");
    deepEqual([statusOf(late), codeOf(late)], [504, "timeout"]);
  });
});
