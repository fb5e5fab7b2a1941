/**
 * A reader that stops harms only itself, and loses nothing. In other tunnels "one slow client, and
 * everybody hangs" is the complaint that never ends.
 */
import { deepEqual, equal, ok } from "node:assert/strict";
import { digestOf, okWith, sha256, taking } from "../interop/contents.ts";
import { untilSteady, within } from "../support/deadline.ts";
import type { RawConnection } from "../support/raw_connection.ts";
import { fieldValues, readHead, readResponse, statusOf } from "../support/raw_http.ts";
import type { TargetHandler } from "../support/target.ts";
import { download, service } from "./service.ts";
import { askSmall, call, untilOpen, withTunnel } from "./tunnel.ts";

/** How long a reader stands still; a minute (60000) shows more and takes longer. */
const stallMs = Number(Deno.env.get("ISOLATION_STALL_MS") ?? 4_000);

/** For 64 MiB on a machine that does other things too, and the stall. */
const transferTimeoutMs = 60_000 + stallMs;

/** What a reader takes before it stops. */
const firstReadBytes = 1024 * 1024;

Deno.test("callers that stop reading hold up nobody else, and get every byte when they go on", async () => {
  await withTunnel({}, async (tunnel) => {
    const { relay, target } = tunnel;
    await using plain = await call(relay, "GET", "/download");
    equal(statusOf(await readHead(plain.reader)), 200);
    await using chunked = await call(relay, "GET", "/chunked");
    const stall = async () => {
      const sent = () => target.connections.map(({ writtenBytes }) => writtenBytes);
      await untilSteady(() => sum(sent().slice(0, 2)), "the stalled downloads");
      const [plainSent = 0, chunkedSent = 0] = sent();
      const isHeld = Math.max(plainSent, chunkedSent) < download.length;
      ok(isHeld, `backpressure must reach the target; it has sent ${plainSent}, ${chunkedSent}`);
      await repeatFor(stallMs, () => askSmall(relay));
      deepEqual(sent().slice(0, 2), [plainSent, chunkedSent], "nothing may move during the stall");
    };

    const digest = digestOf(stalling(taking(plain.reader, download.length), stall));
    const expected = { length: download.length, checksum: download.checksum };
    deepEqual(await within(digest, "the stalled download", transferTimeoutMs), expected);
    const whole = within(readResponse(chunked.reader), "the chunked one", transferTimeoutMs);
    equal(sha256((await whole).body), download.checksum);
    await untilOpen(tunnel, 0);
  });
});

Deno.test("a target that stops reading holds up nobody else, and gets every byte when it goes on", async () => {
  const goesOn = Promise.withResolvers<void>();
  const slowTarget: TargetHandler = async (connection) => {
    const head = await readHead(connection.reader);
    const length = Number(fieldValues(head, "content-length")[0]);
    const digest = await digestOf(
      stalling(taking(connection.reader, length), () => goesOn.promise),
    );
    await connection.write(okWith(digest.checksum));
  };
  const firstIsSlow = firstThen(slowTarget, service);
  await withTunnel({ target: firstIsSlow }, async (tunnel) => {
    const { relay } = tunnel;
    const length = [`Content-Length: ${download.length}`];
    await using caller = await call(relay, "PUT", "/upload", length);
    const upload = sendAll(caller, download);
    const sent = await untilSteady(() => caller.writtenBytes, "the stalled upload");
    ok(sent < download.length, `backpressure must reach the caller, but it has sent ${sent}`);
    await repeatFor(stallMs, () => askSmall(relay));
    equal(caller.writtenBytes, sent, "nothing may move while the target stands still");
    goesOn.resolve();

    await within(upload, "the upload to go on", transferTimeoutMs);
    const answer = await within(readResponse(caller.reader), "the upload's answer");
    equal(new TextDecoder().decode(answer.body), download.checksum);
    await untilOpen(tunnel, 0);
  });
});

/** Passes a source through and lets time go by once, after its first {@link firstReadBytes}. */
async function* stalling(
  source: AsyncIterable<Uint8Array>,
  stall: () => Promise<void>,
): AsyncGenerator<Uint8Array> {
  let bytes = 0;
  let hasStalled = false;
  for await (const chunk of source) {
    yield chunk;
    bytes += chunk.length;
    if (hasStalled || bytes < firstReadBytes) continue;
    hasStalled = true;
    await stall();
  }
}

/** Does something again and again for so long, and at least once. */
async function repeatFor(ms: number, action: () => Promise<void>): Promise<void> {
  const endMs = performance.now() + ms;
  do await action(); while (performance.now() < endMs);
}

/** Gives the first connection to one handler and all others to another. */
function firstThen(first: TargetHandler, others: TargetHandler): TargetHandler {
  let isFirst = true;
  return (connection) => {
    const handler = isFirst ? first : others;
    isFirst = false;
    return handler(connection);
  };
}

async function sendAll(
  connection: RawConnection,
  content: Iterable<Uint8Array>,
): Promise<void> {
  for (const chunk of content) await connection.write(chunk);
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
