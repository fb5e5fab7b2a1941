/** The file of the admin API's tokens, as a relay follows it. */
import { equal, match } from "node:assert/strict";
import { eventually, within } from "../support/deadline.ts";
import { addressOf, startRelay } from "../support/programs.ts";
import { entryFor, tokenOf } from "./world.ts";

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

Deno.test("a watch, and a body on its way, count for no more than their token does", async (t) => {
  const folder = await Deno.makeTempDir({ prefix: "culvert-tokens-" });
  const file = `${folder}/tokens.json`;
  const use = (clusters: readonly string[]) =>
    Deno.writeTextFile(
      file,
      JSON.stringify([
        { name: "one", token: tokenOf("one"), clusters, hostnames: [] },
        { name: "ops", token: tokenOf("ops"), clusters: ["*"], hostnames: ["*"] },
      ]),
      { mode: 0o600 },
    );
  const state = `${folder}/state`;
  await use(["a-*", "b-*"]);
  try {
    await using relay = await startRelay({
      clusters: [],
      args: ["--admin-addr", "127.0.0.1:0", "--admin-tokens", file, "--state", state],
    });
    const address = await addressOf(relay, "admin");
    const ask = (path: string, as: string, init: RequestInit = {}) =>
      fetch(`http://${address}/admin/v1/${path}`, {
        ...init,
        headers: { Authorization: `Bearer ${tokenOf(as)}` },
      });
    const put = async (id: string, as: string, body?: BodyInit): Promise<number> => {
      const given = body ?? JSON.stringify(entryFor(id));
      const response = await ask(`clusters/${id}`, as, { method: "PUT", body: given });
      await response.body?.cancel();
      return response.status;
    };
    const watch = await ask("watch", "one");
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
    const body = new TextEncoder().encode(JSON.stringify(entryFor("b-late")));
    const writer = writable.getWriter();
    await t.step("both begin", async () => {
      void writer.write(body.subarray(0, 5)).catch(() => {});
      equal(await put("a-one", "ops"), 201);
    });
    const late = put("b-late", "one", readable);
    await use(["a-*"]);
    await relay.waitForLog(({ message, source }) =>
      message === "Configuration reloaded" && source === "admin_tokens"
    );
    await t.step("a watch ends before it tells what is out of its scope now", async () => {
      equal(await put("b-one", "ops"), 201);
      const text = await within(watch.text(), "the end of the watch");
      match(text, /"a-one"/);
      equal(text.includes("b-one"), false);
    });
    await t.step("an entry is not added", async () => {
      await writer.write(body.subarray(5));
      await writer.close();
      equal(await within(late, "the answer"), 401);
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
