/** Who may open a TCP service: tokens, and what ends when they are withdrawn. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { Authority, withFolder } from "../support/certificates.ts";
import { within } from "../support/deadline.ts";
import { runProgram } from "../support/programs.ts";
import { exchange } from "./tcp_client.ts";
import { startAccess, startTcpTarget, userToken, withWorld } from "./tcp_world.ts";

const hello = new TextEncoder().encode("hello");

async function writeTokens(folder: string, names: readonly string[]): Promise<string> {
  const path = `${folder}/callers.json`;
  const tokens = names.map((name) => ({ name, token: `${name}-${userToken}`, clusters: ["*"] }));
  await Deno.writeTextFile(path, JSON.stringify(tokens));
  return path;
}

Deno.test("a TCP service lets in the tokens of its policy, at its hostname and at /tunnel-tcp/", async (t) => {
  await using target = await startTcpTarget();
  await withFolder(async (folder) => {
    const tokens = await writeTokens(folder, ["ann", "bob"]);
    const options = {
      targets: { echo: target.address },
      services: { echo: { policy: "friends" } },
      policies: [{ name: "friends", any: [{ token: "ann" }] }],
      callers: ["--caller-tokens", tokens],
    };
    await withWorld(options, async ({ url, relay }) => {
      const internal = `http://${relay.internalAddress}/tunnel-tcp/echo`;
      const listen = ["--listen", "127.0.0.1:0"];
      const tokenOf = (name: string) => `${name}-${userToken}`;
      for (const address of [url("echo"), internal]) {
        await t.step(`a good token, ${address}`, async () => {
          await using client = await startAccess(["tcp", address, ...listen], tokenOf("ann"));
          deepEqual(await exchange(client.port, hello), hello);
        });
        await t.step(`others, ${address}`, async () => {
          const cases = [
            [tokenOf("bob"), /policy/],
            ["a-token-of-nobody-0123456789", /valid credential|valid token/],
            ["", /token/],
          ] as const;
          for (const [token, says] of cases) {
            const env = { CULVERT_TOKEN: token };
            const result = await runProgram("access.ts", ["tcp", address, ...listen], env);
            equal(result.code, 1, result.stdout + result.stderr);
            match(result.stderr, says);
          }
        });
      }
      await t.step("a cookie or Authorization of the app's is no credential", async () => {
        const headers = { Cookie: `culvert=${tokenOf("ann")}` };
        const answer = await fetch(internal, { headers });
        await answer.body?.cancel();
        equal(answer.status, 401);
      });
      await t.step("the log names whom the policy does not let in", async () => {
        const headers = { Authorization: `Bearer ${tokenOf("bob")}` };
        const answer = await fetch(internal, { headers });
        await answer.body?.cancel();
        equal(answer.status, 403);
        const line = await relay.waitForLog(({ message, caller }) =>
          message === "Refused a caller" && caller === "bob"
        );
        deepEqual([line["reason"], line["service"]], ["policy", "echo"]);
        await relay.waitForLog(({ message, caller, status }) =>
          message === "Request" && caller === "bob" && status === 403
        );
      });
      await t.step(
        "when the token is withdrawn, what is open ends, and access says so",
        async () => {
          await using client = await startAccess(["tcp", url("echo"), ...listen], tokenOf("ann"));
          using conn = await Deno.connect({ hostname: "127.0.0.1", port: client.port });
          await conn.write(hello);
          equal(await within(conn.read(new Uint8Array(5)), "the echo"), 5);
          await writeTokens(folder, ["bob"]);
          const end = await within(conn.read(new Uint8Array(1)).catch((error) => error), "the end");
          ok(end instanceof Error);
          const says = /ended early: the access was withdrawn/;
          await client.program.waitForLog(({ message }) => says.test(message));
        },
      );
    });
  });
});

Deno.test("access services lists what the token opens", async () => {
  await using target = await startTcpTarget();
  await withFolder(async (folder) => {
    const tokens = await writeTokens(folder, ["ann", "bob"]);
    const options = {
      targets: { mine: target.address, theirs: target.address, everybodys: target.address },
      services: { mine: { policy: "anns" }, theirs: { policy: "bobs" } },
      policies: [
        { name: "anns", any: [{ token: "ann" }] },
        { name: "bobs", any: [{ token: "bob" }] },
      ],
      callers: ["--caller-tokens", tokens],
    };
    await withWorld(options, async ({ url }) => {
      const env = { CULVERT_TOKEN: `ann-${userToken}` };
      const args = ["services", url("mine"), "--json"];
      const { stdout, stderr } = await runProgram("access.ts", args, env);
      equal(stderr, "");
      const names = stdout.trimEnd().split("\n").map((line) => JSON.parse(line).name);
      deepEqual(names, ["mine", "everybodys"]);
    });
  });
});

Deno.test("access verifies the relay by the service's hostname, wherever it connects to", async (t) => {
  await using target = await startTcpTarget();
  await withFolder(async (folder) => {
    const authority = await Authority.create(folder, "web");
    const pair = await authority.issue("pg", "DNS:pg.example.com");
    await Deno.mkdir(`${folder}/certs`);
    await Deno.copyFile(pair.certPath, `${folder}/certs/pg.crt`);
    await Deno.copyFile(pair.keyPath, `${folder}/certs/pg.key`);
    const options = {
      targets: { pg: target.address },
      services: { pg: { hostnames: ["pg.example.com", "other.example.com"] } },
      relayArgs: ["--web-certs", `${folder}/certs`],
    };
    await withWorld(options, async ({ webAddress }) => {
      const connect = ["--listen", "127.0.0.1:0", "--connect", webAddress];
      await t.step("by its name and CA", async () => {
        const args = ["tcp", "pg.example.com", ...connect, "--ca", authority.caPath];
        await using client = await startAccess(args);
        const bytes = new Uint8Array(1024 * 1024).fill(5);
        equal((await exchange(client.port, bytes)).length, bytes.length);
      });
      const refusedCases = [
        ["without the CA", ["pg.example.com", ...connect], /--ca must hold the CA/],
        [
          "by another name",
          ["other.example.com", ...connect, "--ca", authority.caPath],
          /no connection to the relay at /,
        ],
      ] as const;
      for (const [name, args, says] of refusedCases) {
        await t.step(name, async () => {
          const env = { CULVERT_TOKEN: userToken };
          const { code, stdout, stderr } = await runProgram("access.ts", ["tcp", ...args], env);
          equal(code, 1, stdout + stderr);
          match(stderr, says);
        });
      }
    });
  });
});
