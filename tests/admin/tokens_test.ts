/** The file of the admin API's tokens, as a relay follows it. */
import { equal } from "node:assert/strict";
import { eventually } from "../support/deadline.ts";
import { addressOf, startRelay } from "../support/programs.ts";
import { tokenOf } from "./world.ts";

function tokens(...names: readonly string[]): string {
  return JSON.stringify(
    names.map((name) => ({ name, token: tokenOf(name), clusters: ["*"], hostnames: ["*"] })),
  );
}

Deno.test("tokens come and go with their file, and a file that is wrong changes nothing", async () => {
  const folder = await Deno.makeTempDir({ prefix: "culvert-tokens-" });
  const file = `${folder}/tokens.json`;
  try {
    await Deno.writeTextFile(file, tokens("one"), { mode: 0o600 });
    const relay = await startRelay({
      clusters: [],
      args: ["--admin-addr", "127.0.0.1:0", "--admin-tokens", file],
    });
    const address = await addressOf(relay, "admin");
    const statusOf = async (name: string): Promise<number> => {
      const response = await fetch(`http://${address}/admin/v1/clusters`, {
        headers: { Authorization: `Bearer ${tokenOf(name)}` },
      });
      await response.body?.cancel();
      return response.status;
    };
    equal(await statusOf("one"), 200);
    await Deno.writeTextFile(file, tokens("one", "two"));
    await relay.waitForLog(({ message, source }) =>
      message === "Configuration reloaded" && source === "admin_tokens"
    );
    equal(await statusOf("two"), 200);
    await Deno.writeTextFile(file, '[{"name": "bad"}]');
    await relay.waitForLog(({ level, source }) => level === "error" && source === "admin_tokens");
    equal(await statusOf("one"), 200);
    await Deno.writeTextFile(file, tokens("two"));
    await eventually(async () => await statusOf("one") === 401, "the token to be gone");
    equal(await statusOf("two"), 200);
    await relay.stop();
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
