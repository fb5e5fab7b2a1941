import assert from "node:assert/strict";
import { startAgent, startRelay } from "../support/programs.ts";
import { code, readText, sources, type Table, table, tableAfter } from "./markdown.ts";

const page = "docs/observability.md";

/** Messages that a program's sources give to its log. */
function loggedMessages(...paths: string[]): Set<string> {
  const messages = new Set<string>();
  for (const path of sources(...paths)) {
    for (const match of readText(path).matchAll(/[lL]og(?:\.\w+|\[[^\]]+\])\(\s*"([^"]+)"/g)) {
      messages.add(match[1]!);
    }
  }
  return messages;
}

Deno.test("observability.md: the log tables have every message of the programs", () => {
  const [relay = [], agent = []] = [tableAfter(page, "## Log"), tableAfter(page, "Agent:")];
  const shared = ["followed_config", "certificate_expiry", "uncaught_errors"]
    .map((name) => `lib/runtime/node/${name}.ts`);
  const messages = (rows: Table) => new Set(rows.map((row) => row["message"]!));
  const ofRelay = [
    "relay.ts",
    "lib/admin",
    "lib/relay",
    "lib/runtime/node/relay",
    "lib/runtime/node/web",
    "lib/runtime/node/workers",
    ...shared,
  ];
  const ofAgent = ["agent.ts", "lib/agent", "lib/runtime/node/agent", ...shared];
  assert.deepEqual(messages(relay), loggedMessages(...ofRelay));
  assert.deepEqual(messages(agent), loggedMessages(...ofAgent));
});

Deno.test("observability.md: what an operation failed with is in `error`, not in `reason`", () => {
  const call = /[lL]og(?:\.\w+|\[[^\]]+\])\(\s*"((?:Could not|Can't) [^"]+)",([^;]*);/g;
  const calls = sources("lib").flatMap((path) => [...readText(path).matchAll(call)]);
  assert.ok(calls.length > 20, `${calls.length} calls were looked at`);
  for (const [, message, rest] of calls) assert.doesNotMatch(rest!, /\breason\b/, message!);
  const rows = table(page, ["level", "message", "fields"]);
  const failures = rows.filter(({ message }) => /^(?:Could not|Can't) /.test(message!));
  assert.ok(failures.length > 10, `${failures.length} rows were looked at`);
  for (const { message, fields } of failures) assert.doesNotMatch(fields!, /`reason`/, message!);
});

/** Names and types of what a `/metrics` answer has, without prom-client's default metrics. */
async function metricsAt(address: string): Promise<Map<string, string>> {
  const response = await fetch(`http://${address}/metrics`);
  const text = await response.text();
  const types = [...text.matchAll(/^# TYPE (\w+) (\w+)$/gm)];
  const own = types.filter(([, name]) => !/^(process|nodejs)_/.test(name!));
  assert.ok(own.length < types.length, "the default metrics are there");
  return new Map(own.map(([, name, type]) => [name!, type!]).sort() as [string, string][]);
}

function metricsInTable(line: string): Map<string, string> {
  const rows = tableAfter(page, line).map((row) => [code(row["metric"]!), row["type"]!]);
  return new Map(rows.sort() as [string, string][]);
}

async function statusOf(url: string): Promise<number> {
  const response = await fetch(url);
  await response.body?.cancel();
  return response.status;
}

Deno.test("observability.md, configuration.md: metrics and endpoints are those of the running programs", async (t) => {
  const clusters = [{ id: "docs", token: "docs-room-token-0123456789", targetAddr: "127.0.0.1:1" }];
  await using relay = await startRelay({ clusters, args: ["-health-addr", "127.0.0.1:0"] });
  const health = await relay.waitForLog(
    ({ message, listener }) => message === "Listening" && listener === "health",
  );
  await using agent = await startAgent({
    relayUrl: relay.connectUrl,
    token: clusters[0]!.token,
    target: clusters[0]!.targetAddr,
  });
  await relay.waitForAgent("docs");
  const addresses: Record<string, string> = {
    "relay public": relay.publicAddress,
    "relay internal": relay.internalAddress,
    "relay health": String(health.address),
    "agent health": agent.healthAddress,
  };

  await t.step("the relay's metrics", async () => {
    assert.deepEqual(metricsInTable("## Metrics"), await metricsAt(relay.internalAddress));
  });

  await t.step("the agent's metrics", async () => {
    const section = readText(page).split("\n## Metrics\n")[1]!;
    assert.ok(section.includes("\nAgent:\n"));
    const rows = table(page, ["metric", "type", "labels", "meaning"]);
    const own = await metricsAt(agent.healthAddress);
    const relayOnly = metricsInTable("## Metrics");
    const written = rows.filter((row) => {
      const name = code(row["metric"]!);
      return !relayOnly.has(name) || own.has(name);
    });
    assert.deepEqual(new Set(written.map((row) => code(row["metric"]!))), new Set(own.keys()));
    for (const row of written) assert.equal(row["type"], own.get(code(row["metric"]!)));
  });

  const rows = table("docs/configuration.md", ["program", "listener", "path", "answer"]);
  for (const { program, listener, path, answer } of rows) {
    const name = code(path!);
    if (!answer!.startsWith("200") && name !== "/metrics") continue;
    await t.step(`${program} ${listener} ${name}`, async () => {
      const address = addresses[`${program} ${listener}`];
      assert.equal(await statusOf(`http://${address}${name}`), 200);
    });
  }

  await t.step("there are no others: each path is missing where it is not listed", async () => {
    const paths = new Set(
      rows.map((row) => code(row["path"]!)).filter((path) => !path.includes("…")),
    );
    for (const [name, address] of Object.entries(addresses)) {
      const listed = rows.filter((row) => `${row["program"]} ${row["listener"]}` === name);
      for (const path of paths) {
        if (listed.some((row) => code(row["path"]!) === path)) continue;
        assert.equal(await statusOf(`http://${address}${path}`), 404, `${name} ${path}`);
      }
    }
  });
});

Deno.test("observability.md: every metric's value is looked at by a test of what it is about", () => {
  const files = Deno.readDirSync(new URL("../", import.meta.url));
  const rooms = [...files].filter(({ name, isDirectory }) =>
    isDirectory && !["docs", "bench", "deploy", "e2e"].includes(name)
  );
  const tests = rooms.flatMap(({ name }) => sources(`tests/${name}`)).map(readText).join("\n");
  const rows = table(page, ["metric", "type", "labels", "meaning"]);
  const names = rows.map((row) => code(row["metric"]!));
  assert.deepEqual(names.filter((name) => !tests.includes(name)), []);
});
