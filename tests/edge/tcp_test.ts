/** TCP services on the one port that a platform gives: `access` carries connections in WebSockets. */
import { deepEqual, equal, ok } from "node:assert/strict";
import { exchange } from "../access/tcp_client.ts";
import { type RunningAccess, startAccess, startTcpTarget } from "../access/tcp_world.ts";
import { get, textOf } from "../services/setup.ts";
import { withFolder } from "../support/certificates.ts";
import { within } from "../support/deadline.ts";
import { runProgram, startAgent } from "../support/programs.ts";
import { statusOf } from "../support/raw_http.ts";
import { agentToken, clusterId, type Home, homes, isAgentConnected, settingsFor } from "./homes.ts";

const userToken = "edge-user-token-0123456789";

/** What runs. */
interface World {
  readonly relayAddress: string;
  access(name: string, token?: string): Promise<RunningAccess>;
}

async function withEdge(
  home: Home,
  targets: Readonly<Record<string, string>>,
  test: (world: World) => Promise<void>,
): Promise<void> {
  const services = {
    policies: [{ name: "users", any: [{ token: "user" }] }],
    services: Object.keys(targets).map((name) => ({
      name,
      hostnames: [`${name}.localhost`],
      cluster: clusterId,
      target: name,
      kind: "tcp",
      policy: "users",
    })),
  };
  await withFolder(async (folder) => {
    const table = Object.entries(targets).map(([name, address]) => ({
      name,
      address,
      kind: "tcp",
    }));
    await Deno.writeTextFile(`${folder}/targets.yaml`, JSON.stringify({ targets: table }));
    const settings = settingsFor("none:1");
    await using relay = await home.start({
      ...settings,
      SERVICES: JSON.stringify(services),
      CALLER_TOKENS: JSON.stringify([{ name: "user", token: userToken, clusters: [clusterId] }]),
    });
    await using _agent = await startAgent({
      relayUrl: `ws://${relay.address}/connect`,
      token: agentToken,
      args: ["--targets", `${folder}/targets.yaml`],
    });
    await relay.program.waitForLog(isAgentConnected);
    const port = relay.address.split(":").at(-1);
    await test({
      relayAddress: relay.address,
      access: (name, token = userToken) =>
        startAccess(["tcp", `http://${name}.localhost:${port}`, "--listen", "127.0.0.1:0"], token),
    });
  });
}

for (const home of homes) {
  Deno.test(`${home.name}: TCP connections go through access, and each way ends on its own`, async () => {
    await using echo = await startTcpTarget();
    // It speaks once its caller has ended.
    await using patient = await startTcpTarget((socket) => {
      let length = 0;
      socket.on("data", (bytes) => length += bytes.length);
      socket.on("end", () => socket.end(`${length} bytes`));
    });
    const targets = { echo: echo.address, patient: patient.address };
    await withEdge(home, targets, async ({ access, relayAddress }) => {
      const bytes = new Uint8Array(4 * 1024 * 1024).map((_, at) => at * 7 >> 3);
      await using toEcho = await access("echo");
      const echoed = await exchange(toEcho.port, bytes);
      equal(echoed.length, bytes.length);
      ok(echoed.every((byte, at) => byte === bytes[at]));
      await using toPatient = await access("patient");
      const answer = new TextDecoder().decode(await exchange(toPatient.port, bytes));
      equal(answer, `${bytes.length} bytes`);
      // A page of the hostname is none of the target's.
      const token = [`Culvert-Authorization: Bearer ${userToken}`];
      const page = await get(relayAddress, "echo.localhost", "/", token);
      deepEqual([statusOf(page), JSON.parse(textOf(page)).error.code], [426, "not_http"]);
    });
  });

  Deno.test(`${home.name}: a TCP connection that breaks at the target is reset at the client`, async () => {
    await using target = await startTcpTarget((socket) => {
      socket.on("data", () => socket.resetAndDestroy());
    });
    await withEdge(home, { broken: target.address }, async ({ access }) => {
      await using client = await access("broken");
      using conn = await Deno.connect({ hostname: "127.0.0.1", port: client.port });
      await conn.write(new Uint8Array([1]));
      const read = conn.read(new Uint8Array(1)).then(String, (error) => error.name);
      equal(await within(read, "the reset"), "ConnectionReset");
      await client.program.waitForLog(({ message }) => message.includes("broke"));
    });
  });

  Deno.test(`${home.name}: a TCP service lets in the tokens of its policy alone`, async () => {
    await using target = await startTcpTarget();
    await withEdge(home, { echo: target.address }, async ({ relayAddress }) => {
      const url = `http://echo.localhost:${relayAddress.split(":").at(-1)}`;
      const { code, stderr } = await runProgram(
        "access.ts",
        ["tcp", url, "--listen", "127.0.0.1:0"],
        { CULVERT_TOKEN: "another-token-0123456789" },
      );
      equal(code, 1, stderr);
    });
  });
}
