import assert from "node:assert/strict";
import { encodeLatin1 } from "../../../lib/bytes/bytes.ts";
import { defaultHeadLimits } from "../../../lib/http1/head.ts";
import { UpstreamPool } from "../../../lib/net/upstream_pool.ts";
import { HopAttempt, type HopAttemptEnd } from "../../../lib/relay/hop/hop_attempt.ts";
import { Deadlines } from "../../../lib/relay/limits/deadlines.ts";
import { Caller } from "../../net/setup.ts";
import { eventually } from "../../support/deadline.ts";
import { type MemorySocket, memorySockets } from "../../support/memory_socket.ts";

/** What a relay makes of the bytes with which another one answers its request. */
async function endOf(pieces: readonly string[]): Promise<HopAttemptEnd> {
  const ours: MemorySocket[] = [];
  let other: Caller | undefined;
  const pool = new UpstreamPool({
    dial: () => {
      const [near, far] = memorySockets();
      ours.push(near);
      other = new Caller(far);
      return Promise.resolve(near);
    },
    maxIdle: 1,
    idleTimeoutMs: 60_000,
  });
  const acceptances = new Deadlines(60_000);
  let end: HopAttemptEnd | undefined;
  const attempt = new HopAttempt({
    pool,
    head: encodeLatin1("GET /x HTTP/1.1\r\n\r\n"),
    isUpgrade: false,
    limits: defaultHeadLimits,
    acceptances,
    ended: (how) => end = how,
  });
  await eventually(() => (other?.length ?? 0) > 0, "the request");
  for (const piece of pieces) other!.send(piece);
  await eventually(() => end !== undefined, "the end of the attempt");
  attempt.abandon();
  for (const socket of [...ours, other!.socket]) socket.destroy();
  await other!.closed();
  pool.close();
  acceptances.check();
  return end!;
}

Deno.test("HopAttempt refuses another relay's answer at once when a line ends with LF alone", async () => {
  const cases: [string[], string][] = [
    [["HTTP/1.1 102 Processing\n"], "Status line ends with LF alone or holds a bare CR"],
    [["HTTP/1.1 102 Processing\r\nA: b\n"], "Header line holds a bare CR or LF"],
    [["SSH-2.0-x"], "It does not begin with HTTP/1."],
    [[..."HTTP/1.1 102 P\r\nA : b"], "Header name is not a token"],
  ];
  for (const [pieces, detail] of cases) {
    assert.deepEqual(await endOf(pieces), { kind: "refused", detail });
  }
});

Deno.test("HopAttempt takes another relay's word byte by byte", async () => {
  const word = "HTTP/1.1 102 Processing\r\nCulvert-Hop: accepted\r\n\r\n";
  assert.equal((await endOf([...word])).kind, "accepted");
  const notHere = "HTTP/1.1 421 Misdirected Request\r\nCulvert-Hop: not-here\r\n\r\n";
  assert.deepEqual(await endOf([...notHere]), { kind: "not-here" });
});
