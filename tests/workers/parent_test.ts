/** Parts of a parent of workers. */
import { deepEqual, equal } from "node:assert/strict";
import { EventLog } from "../../lib/admin/event_log.ts";
import { OtherAgents } from "../../lib/admin/other_agents.ts";
import { PortClaims } from "../../lib/runtime/node/workers/port_claims.ts";
import { RestartDelay } from "../../lib/runtime/node/workers/restart_delay.ts";
import { SharedOutput } from "../../lib/runtime/node/workers/shared_output.ts";

Deno.test("RestartDelay doubles up to half a minute, and begins anew after a minute's life", () => {
  const clock = { ms: 0 };
  const delay = new RestartDelay(() => clock.ms);
  const waits = Array.from({ length: 11 }, () => {
    delay.started();
    clock.ms += 59_999;
    return delay.next();
  });
  const doubled = [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000];
  deepEqual(waits, doubled);
  delay.started();
  clock.ms += 60_000;
  equal(delay.next(), 100);
});

Deno.test("PortClaims: the first worker finds a port, and the others get it", async () => {
  const claims = new PortClaims();
  const [one, two, three] = [{}, {}, {}];
  equal(await claims.claim("echo", one), 0);
  const waiting = claims.claim("echo", two);
  claims.claimed("echo", 4_711);
  equal(await waiting, 4_711);
  equal(await claims.claim("echo", three), 4_711);
  equal(await claims.claim("other", three), 0);
});

Deno.test("PortClaims: when the first worker ends or fails, the next one finds the port", async () => {
  const claims = new PortClaims();
  const [one, two, three, four] = [{}, {}, {}, {}];
  equal(await claims.claim("echo", one), 0);
  const [second, third] = [claims.claim("echo", two), claims.claim("echo", three)];
  claims.left(one);
  equal(await second, 0);
  claims.claimed("echo", 0);
  equal(await third, 0);
  claims.left(three);
  equal(await claims.claim("echo", four), 0);
});

async function* chunks(...texts: readonly string[]): AsyncGenerator<Uint8Array> {
  for (const text of texts) {
    await Promise.resolve();
    yield new TextEncoder().encode(text);
  }
}

Deno.test("SharedOutput passes on whole lines of several processes, and ends one that is cut", async () => {
  let written = "";
  const output = new SharedOutput((bytes) => {
    // A pipe takes as much as it has room for.
    const some = bytes.subarray(0, 3);
    written += new TextDecoder().decode(some);
    return Promise.resolve(some.length);
  });
  const lost = () => {};
  await Promise.all([
    output.passOn(chunks("one: fir", "st\none: sec", "ond\none: cut"), lost),
    output.passOn(chunks("two: first\n", "two: second", "\n"), lost),
    output.writeWhole(new TextEncoder().encode("parent\n")),
  ]);
  equal(written.endsWith("\n"), true);
  const lines = written.trimEnd().split("\n").sort();
  deepEqual(lines, [
    ...["one: cut", "one: first", "one: second", "parent"],
    ...["two: first", "two: second"],
  ]);
});

Deno.test("SharedOutput counts lines that can't be written, and goes on", async () => {
  let isBroken = true;
  let written = "";
  const output = new SharedOutput((bytes) => {
    if (isBroken) return Promise.reject(new Error("ENOSPC"));
    written += new TextDecoder().decode(bytes);
    return Promise.resolve(bytes.length);
  });
  let lost = 0;
  await output.passOn(chunks("a\nb\n"), (lines) => lost += lines);
  equal(lost, 2);
  isBroken = false;
  await output.passOn(chunks("c\n"), (lines) => lost += lines);
  equal(written, "c\n");
  equal(lost, 2);
});

Deno.test("OtherAgents tells of a process's agents as they come and go, and when it is gone", () => {
  const log = new EventLog("test");
  const others = new OtherAgents(log);
  const begin = log.version;
  others.replace(2, [{ id: "a" }, { id: "b" }]);
  others.changed(3, { type: "ADDED", kind: "agents", object: { id: "c" } });
  others.changed(2, { type: "DELETED", kind: "agents", object: { id: "a" } });
  others.changed(2, { type: "DELETED", kind: "agents", object: { id: "unknown" } });
  deepEqual(others.all.map(({ id }) => id), ["b", "c"]);
  others.replace(2, [{ id: "b" }]);
  others.replace(2, []);
  deepEqual(others.all, [{ id: "c" }]);
  const told = log.since(begin)!.map(({ event }) => `${event.type} ${event.object["id"]}`);
  deepEqual(told, ["ADDED a", "ADDED b", "ADDED c", "DELETED a", "DELETED b"]);
});
