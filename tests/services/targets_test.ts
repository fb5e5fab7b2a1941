/** Several targets behind one agent, and hostnames that agents claim. */
import { deepEqual, equal, match } from "node:assert/strict";
import { eventually } from "../support/deadline.ts";
import { addressOf, startAgent } from "../support/programs.ts";
import { ConnectionGoneError } from "../support/raw_connection.ts";
import { statusOf } from "../support/raw_http.ts";
import { answering, startRawTarget } from "../support/target.ts";
import { get, startWebRelay, textOf, token } from "./setup.ts";

/** Says which target it is and what host it was asked for. */
function named(name: string) {
  return answering(({ fields }) => {
    const host = fields.find(([key]) => key.toLowerCase() === "host")?.[1];
    const body = `${name} ${host}`;
    return `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
  });
}

Deno.test("two services behind one agent reach a target each", async () => {
  await using one = await startRawTarget(named("one"));
  await using two = await startRawTarget(named("two"));
  const targets = await Deno.makeTempFile({ suffix: ".yaml" });
  await Deno.writeTextFile(
    targets,
    `targets:
  - { name: first, address: "${one.address}" }
  - { name: second, address: "${two.address}" }
  - { name: raw, address: "${two.address}", kind: tcp }
`,
  );
  const service = (name: string, target: string, more = {}) => ({
    name,
    hostnames: [`${name}.test`],
    cluster: "dev",
    target,
    policy: "public",
    ...more,
  });
  const services = {
    services: [
      service("one", "first"),
      service("two", "second", { host: "target" }),
      service("raw", "raw"),
      service("none", "third"),
      service("bytes", "raw", { kind: "tcp" }),
    ],
  };
  const { relay, webAddress } = await startWebRelay(JSON.stringify(services), {
    cluster: { targetAddr: "first" },
  });
  await using _relay = relay;
  const agent = await startAgent({
    relayUrl: relay.connectUrl,
    token,
    args: ["-targets", targets],
  });
  await using _agent = agent;
  await relay.waitForAgent("dev");
  equal(textOf(await get(webAddress, "one.test")), "one one.test");
  equal(textOf(await get(webAddress, "two.test")), `two ${two.address}`);
  for (const [host, code] of [["raw", "kind_not_supported"], ["none", "target_not_available"]]) {
    const answer = await get(webAddress, `${host}.test`);
    equal(statusOf(answer), 502);
    match(textOf(answer), new RegExp(`"code":"${code}"`));
  }
  equal(statusOf(await get(webAddress, "bytes.test")), 426);
  // A cluster's path may lead to a named target too.
  equal(textOf(await get(relay.internalAddress, "x", "/tunnel/dev/")), `one ${one.address}`);
  await Deno.remove(targets);
});

Deno.test("an agent gets the hostnames that its cluster's entry lists, and no others", async () => {
  await using one = await startRawTarget(named("one"));
  await using two = await startRawTarget(named("two"));
  const { relay, webAddress } = await startWebRelay('{"services": []}', {
    cluster: {
      targetAddr: undefined,
      hostnames: ["listed.test", "shared.test", "*.team.test"],
      policy: "public",
    },
    args: ["-health-addr", "127.0.0.1:0"],
  });
  await using _relay = relay;
  const health = await addressOf(relay, "health");
  const asked = async (name: string) => {
    const { status, body } = await fetch(`http://${health}/.culvert/hosts?domain=${name}`);
    await body?.cancel();
    return status;
  };
  equal(statusOf(await get(webAddress, "listed.test")), 502);
  equal(statusOf(await get(webAddress, "a.team.test")), 421);
  deepEqual(
    await Promise.all(["listed.test", "a.team.test", "other.test", ""].map(asked)),
    [200, 404, 404, 404],
  );
  const start = (target: string, ...hostnames: string[]) =>
    startAgent({
      relayUrl: relay.connectUrl,
      token,
      target,
      env: { HOSTNAMES: hostnames.join(",") },
    });
  const first = await start(one.address, "listed.test", "shared.test", "stolen.test");
  await using _first = first;
  await using _second = await start(two.address, "a.team.test", "shared.test");
  await eventually(
    async () => statusOf(await get(webAddress, "listed.test")) === 200,
    "the first agent's claim",
  );
  equal(textOf(await get(webAddress, "listed.test")), "one listed.test");
  await eventually(
    async () => statusOf(await get(webAddress, "a.team.test")) === 200,
    "the second agent's claim",
  );
  equal(textOf(await get(webAddress, "a.team.test")), "two a.team.test");
  match(textOf(await get(webAddress, "shared.test")), /^(?:one|two) shared\.test$/);
  equal(statusOf(await get(webAddress, "b.team.test")), 421);
  equal(statusOf(await get(webAddress, "stolen.test")), 421);
  equal(await asked("a.team.test"), 200);
  // The cluster has no target of its own, so there is nothing at its path.
  equal(statusOf(await get(relay.internalAddress, "x", "/tunnel/dev/")), 404);
  const rule =
    /"hostnames" in the entry of cluster dev lists listed\.test, shared\.test, \*\.team\.test/;
  const refused = await relay.waitForLog(({ hostname, message }) =>
    message === "Refused a hostname that an agent claims" && hostname === "stolen.test"
  );
  match(String(refused.rule), rule);
  await first.waitForLog((line) => rule.test(JSON.stringify(line).replaceAll("\\", "")));
});

Deno.test("a claim ends when its cluster's entry lists the hostname no longer, and comes back with it", async () => {
  await using target = await startRawTarget(named("one"));
  const clusters = await Deno.makeTempFile({ suffix: ".json" });
  const write = (...hostnames: string[]) =>
    Deno.writeTextFile(
      clusters,
      JSON.stringify([{ id: "dev", token, hostnames, policy: "public" }]),
    );
  await write("a.test", "b.test");
  const { relay, webAddress } = await startWebRelay('{"services": []}', {
    args: ["-clusters", clusters],
  });
  await using _relay = relay;
  const agent = await startAgent({
    relayUrl: relay.connectUrl,
    token,
    target: target.address,
    env: { HOSTNAMES: "a.test,b.test" },
  });
  await using _agent = agent;
  await relay.waitForAgent("dev");
  const statusAt = async (host: string) => {
    try {
      return statusOf(await get(webAddress, host));
    } catch (error) {
      // What is under way ends with its hostname.
      if (error instanceof ConnectionGoneError) return 0;
      throw error;
    }
  };
  const statuses = () => Promise.all(["a.test", "b.test"].map(statusAt));
  deepEqual(await statuses(), [200, 200]);
  await write("a.test");
  await eventually(async () => (await statuses()).join() === "200,421", "one hostname to be gone");
  await agent.waitForLog((line) => JSON.stringify(line).includes("b.test: the relay refuses it"));
  await write("a.test", "*.test");
  await eventually(async () => (await statuses()).join() === "200,200", "it to be back");
  // What is not right changes nothing.
  await Deno.writeTextFile(
    clusters,
    JSON.stringify([{ id: "dev", token, hostnames: ["a.test"] }]),
  );
  const line = await relay.waitForLog(({ message }) =>
    message.startsWith("Refused a changed configuration")
  );
  match(String(line.reason), /entry 1 \("dev"\): policy: is missing/);
  deepEqual(await statuses(), [200, 200]);
  await Deno.remove(clusters);
});
