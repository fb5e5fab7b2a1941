/**
 * Services and targets that come and go at random under load. `CULVERT_CHURN_SECONDS` has it go on for
 * longer; it prints its seed.
 */
import { deepEqual, equal, ok } from "node:assert/strict";
import { eventually } from "../support/deadline.ts";
import { startAgent } from "../support/programs.ts";
import { UnexpectedEndError } from "../support/byte_reader.ts";
import { ConnectionGoneError, openConnection } from "../support/raw_connection.ts";
import { readResponse, statusOf } from "../support/raw_http.ts";
import { answering, type RawTarget, startRawTarget } from "../support/target.ts";
import { get, startWebRelay, textOf, token } from "./setup.ts";

const seconds = Number(Deno.env.get("CULVERT_CHURN_SECONDS") ?? 6);
const serviceCount = 100;
const targetCount = 20;

/** Numbers from 0 to 1, the same for a seed (mulberry32). */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Says its own number. */
function numbered(number: number) {
  const body = `target ${number}`;
  return answering(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
}

/** The end of a request whose service was removed; any other error is one. */
function brokenOff(error: unknown): undefined {
  if (error instanceof ConnectionGoneError || error instanceof UnexpectedEndError) return undefined;
  throw error;
}

/** Replaces a file at once, so that no half of it is read. */
async function replace(path: string, value: object): Promise<void> {
  await Deno.writeTextFile(`${path}.new`, JSON.stringify(value));
  await Deno.rename(`${path}.new`, path);
}

Deno.test("services and targets come and go at random, and nobody else notices", async () => {
  const seed = Math.trunc(Math.random() * 2 ** 31);
  console.log(`seed ${seed}`);
  const random = randomOf(seed);
  await using stack = new AsyncDisposableStack();
  const targets: RawTarget[] = [];
  for (let n = 0; n < targetCount; n++) {
    targets.push(stack.use(await startRawTarget(numbered(n))));
  }
  const folder = await Deno.makeTempDir();
  const [servicesPath, targetsPath] = [`${folder}/services.json`, `${folder}/targets.json`];
  // The first target and the first service stay.
  const someOf = (count: number) =>
    Array.from({ length: count }, (_, n) => n).filter((n) => n === 0 || random() < 0.5);
  const targetsOf = (numbers: readonly number[]) => ({
    targets: numbers.map((n) => ({ name: `t${n}`, address: targets[n]!.address })),
  });
  const servicesOf = (numbers: readonly number[]) => ({
    services: numbers.map((n) => ({
      name: `s${n}`,
      hostnames: [`s${n}.test`],
      cluster: "dev",
      target: `t${n % targetCount}`,
      policy: "public",
    })),
  });
  const all = { services: someOf(serviceCount), targets: someOf(targetCount) };
  await replace(servicesPath, servicesOf(all.services));
  await replace(targetsPath, targetsOf(all.targets));
  const { relay, webAddress } = await startWebRelay(servicesPath);
  stack.use(relay);
  stack.use(
    await startAgent({ relayUrl: relay.connectUrl, token, args: ["-targets", targetsPath] }),
  );
  await relay.waitForAgent("dev");

  let isOver = false;
  const counts = { staying: 0, others: 0 };
  const staying = async () => {
    await using connection = await openConnection(webAddress);
    while (!isOver) {
      await connection.write("GET / HTTP/1.1\r\nHost: s0.test\r\n\r\n");
      const answer = await readResponse(connection.reader);
      deepEqual([statusOf(answer), textOf(answer)], [200, "target 0"]);
      counts.staying++;
    }
  };
  const others = async () => {
    while (!isOver) {
      const n = Math.trunc(random() * serviceCount);
      const answer = await get(webAddress, `s${n}.test`).catch(brokenOff);
      counts.others++;
      // What was under way ends with its service.
      if (!answer) continue;
      const status = statusOf(answer);
      // Gone, or behind a target that is, or right: never another's answer.
      ok([200, 421, 502].includes(status), `${status} ${textOf(answer)}`);
      if (status === 200) equal(textOf(answer), `target ${n % targetCount}`);
    }
  };
  const load = Promise.all([staying(), staying(), staying(), others(), others()]);
  // It is told below, or where the test fails before.
  load.catch(() => isOver = true);
  const endMs = performance.now() + seconds * 1_000;
  let last = all;
  while (performance.now() < endMs && !isOver) {
    last = { services: someOf(serviceCount), targets: someOf(targetCount) };
    await replace(servicesPath, servicesOf(last.services));
    await replace(targetsPath, targetsOf(last.targets));
    await new Promise((resolve) => setTimeout(resolve, 700 + random() * 800));
  }
  // All that is there in the end answers, and nothing else.
  await eventually(async () => {
    for (let n = 0; n < serviceCount; n++) {
      const status = statusOf(await get(webAddress, `s${n}.test`));
      const isThere = last.services.includes(n);
      const expected = !isThere ? 421 : last.targets.includes(n % targetCount) ? 200 : 502;
      if (status !== expected) return false;
    }
    return true;
  }, "the last state to be in use");
  isOver = true;
  await load;
  ok(counts.staying > 10 && counts.others > 10, JSON.stringify(counts));
  await Deno.remove(folder, { recursive: true });
});
