/** The agent's token in a file that changes while it runs. */
import { deepEqual, equal, match } from "node:assert/strict";
import { askSmall, call, CLUSTER, secrets } from "../isolation/tunnel.ts";
import { service } from "../isolation/service.ts";
import { withFolder } from "../support/certificates.ts";
import { eventually } from "../support/deadline.ts";
import { type LogLine, runProgram, startAgent, startRelay } from "../support/programs.ts";
import { startRawTarget } from "../support/target.ts";
import { Load } from "./load.ts";
import { SecretMount } from "./secret_mount.ts";

const first = "agent-token-first-0123456789";
const second = "agent-token-second-0123456789";
const connectedBy = (name: string) => (line: LogLine) =>
  line.message === "Agent connected" && line.token_name === name;

Deno.test("a new token in the agent's file reaches the relay, and under load no request fails", async () => {
  await withFolder(async (folder) => {
    await using target = await startRawTarget(service);
    const tokens = [{ name: "first", token: first }, { name: "second", token: second }];
    const cluster = { id: CLUSTER, tokens, targetAddr: target.address };
    await using relay = await startRelay({
      // The cluster has two tokens, as at a rotation.
      clusters: [cluster as never],
    });
    const mount = await SecretMount.create(`${folder}/token`, { token: `${first}\n` });
    await using agent = await startAgent({
      relayUrl: relay.connectUrl,
      target: target.address,
      credential: secrets.credential,
      args: ["--token-file", mount.path("token"), "--grace", "1s"],
    });
    await relay.waitForLog(connectedBy("first"));
    // It is open while the agent moves, and ends whole.
    await using long = await call(relay, "GET", "/silent");
    const load = new Load(relay.internalAddress);
    for (const [name, token] of [["second", second], ["first", first], ["second", second]]) {
      const from = load.answered;
      await eventually(() => load.answered > from + 20, "the load to be answered", 60_000);
      await relay.logAfter(() => mount.update({ token: token! }), connectedBy(name!));
    }
    const from = load.answered;
    await eventually(() => load.answered > from + 50, "the load to be answered", 60_000);
    deepEqual(await load.stop(), []);
    equal(long.isClosed, false);
    const log = JSON.stringify(await agent.completeLog());
    for (const token of [first, second]) equal(log.includes(token), false);
  });
});

Deno.test("an agent whose new token is refused keeps the session that it has", async () => {
  await withFolder(async (folder) => {
    await using target = await startRawTarget(service);
    await using relay = await startRelay({
      clusters: [{ id: CLUSTER, token: first, targetAddr: target.address }],
    });
    const mount = await SecretMount.create(`${folder}/token`, { token: first });
    await using agent = await startAgent({
      relayUrl: relay.connectUrl,
      target: target.address,
      credential: secrets.credential,
      args: ["--token-file", mount.path("token")],
    });
    await relay.waitForAgent(CLUSTER);
    await agent.logAfter(
      () => mount.update({ token: second }),
      ({ message = "" }) => message.startsWith("The relay refused this agent"),
    );
    await askSmall(relay);
    await agent.logAfter(
      () => mount.update({ token: "two\nlines" }),
      ({ message = "" }) => message.startsWith("Refused a changed configuration"),
    );
    await relay.logAfter(() => mount.update({ token: first }), connectedBy("default"));
    await askSmall(relay);
  });
});

Deno.test("the agent says which of --token and --token-file is wrong, and starts with neither", async () => {
  await withFolder(async (folder) => {
    const path = `${folder}/token`;
    const start = async (...args: string[]) => {
      const all = ["--server", "wss://relay.test/connect", ...args];
      const { code, stderr } = await runProgram("agent.ts", all, { TOKEN: "" });
      equal(code, 2);
      return stderr;
    };
    match(await start(), /--token is required: give --token TOKEN or --token-file FILE, /);
    match(await start("--token-file", path), /--token-file names .*there is no such file/);
    await Deno.writeTextFile(path, "");
    match(await start("--token-file", path), /--token-file: what was read holds no token/);
    await Deno.writeTextFile(path, first);
    match(
      await start("--token-file", path, "--token", second),
      /--token-file can't go with --token/,
    );
  });
});
