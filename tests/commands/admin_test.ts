/** The commands that use the admin API, against a relay as a user has it. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { adminTokens, tokenOf, withState } from "../admin/world.ts";
import { addressOf, startAgent, startRelay } from "../support/programs.ts";
import { relay as run } from "./run.ts";

interface World {
  readonly address: string;
  readonly publicUrl: string;
  readonly ask: (...args: string[]) => ReturnType<typeof run>;
}

async function withRelay(test: (world: World) => Promise<void>): Promise<void> {
  await withState(async (state) => {
    await using relay = await startRelay({
      clusters: [],
      args: ["--admin-addr", "127.0.0.1:0", "--state", state],
      env: { ADMIN_TOKENS: JSON.stringify(adminTokens) },
    });
    const address = await addressOf(relay, "admin");
    const url = `http://${address}`;
    await test({
      address: address,
      publicUrl: relay.connectUrl,
      ask: (...args) =>
        run([...args, "--admin-url", url, "--admin-token-file", "-"], tokenOf("ops")),
    });
  });
}

Deno.test("relay clusters add prints how the agent is started, and an agent connects with that", () =>
  withRelay(async ({ ask, publicUrl }) => {
    const added = await ask("clusters", "add", "dev", "--target", "127.0.0.1:1", "--owner", "ci");
    deepEqual([added.code, added.stderr], [0, ""]);
    const [, token] = /TOKEN='(culvert_[\w-]+)' agent --server wss:\/\/RELAY/.exec(added.stdout)!;
    match(added.stdout, new RegExp(`^ {2}token: ${token}$`, "m"));
    await using agent = await startAgent({
      relayUrl: publicUrl,
      token: token!,
      target: "127.0.0.1:1",
      credential: "secret",
    });
    const listed = await ask("clusters");
    match(listed.stdout, /^dev +1 +\d+s +127\.0\.0\.1 +culvert-agent\/\S+ .* api +ci +ok$/m);
    const again = await ask("clusters", "add", "dev");
    deepEqual([again.code, again.stdout], [1, ""]);
    match(again.stderr, /answered 412/);
    ok(!(await ask("clusters", "get", "dev")).stdout.includes(token!), "the token is shown once");
    equal((await ask("clusters", "remove", "dev")).stdout, "Removed cluster dev\n");
    await agent.waitForLog(({ code }) => code === 1008);
    equal((await ask("clusters", "remove", "dev")).code, 1);
  }));

Deno.test("each command prints a table, and what the API answers with --json", () =>
  withRelay(async ({ ask }) => {
    match((await ask("status")).stdout, /^RELAY +VERSION +UP +AGENTS +STREAMS +STATE\n/);
    match((await ask("services")).stdout, /^NAME +HOSTNAMES +KIND /);
    match((await ask("sessions")).stdout, /^ID +USER +PROVIDER /);
    match((await ask("streams")).stdout, /^ID +CLUSTER +SERVICE /);
    for (const word of ["status", "clusters", "services", "sessions", "streams"]) {
      ok(JSON.parse((await ask(word, "--json")).stdout), word);
    }
    const revoked = await ask("sessions", "revoke", "ann");
    deepEqual([revoked.code, revoked.stdout], [1, ""]);
    match(revoked.stderr, /There is no session or user "ann"/);
  }));

Deno.test("what is wrong with a command is told in one line, without the token", async () => {
  const cases: [string[], RegExp, number][] = [
    [["clusters", "add"], /Argument ID is required/, 2],
    [["clusters", "list", "x"], /takes no argument/, 2],
    [["clusters", "ad", "x"], /must be one of list, get, add, remove/, 2],
    [["status", "--admin-url", "http://relay.example.com"], /http:\/\/ is for loopback only/, 2],
    [["status", "--admin-url", "http://127.0.0.1:1"], /Could not reach http:\/\/127\.0\.0\.1:1/, 1],
  ];
  for (const [args, pattern, code] of cases) {
    const url = args.includes("--admin-url") ? [] : ["--admin-url", "https://127.0.0.1:1"];
    const result = await run([...args, ...url, "--admin-token-file", "-"], tokenOf("ops"));
    equal(result.code, code, args.join(" "));
    equal(result.stdout, "");
    match(result.stderr, pattern);
    ok(!result.stderr.includes(tokenOf("ops")));
  }
});
