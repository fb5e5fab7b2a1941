import { deepEqual, equal, match } from "node:assert/strict";
import { serveFetch } from "../../lib/net/fetch_server.ts";
import { connectAgent } from "../relay/status/world.ts";
import { within } from "../support/deadline.ts";
import { AdminWorld, agentToken, entryFor, tokenOf, withState } from "./world.ts";

/** A watch that is read line by line. */
class Watcher {
  readonly #reader: ReadableStreamDefaultReader<string>;
  #text = "";

  private constructor(body: ReadableStream<Uint8Array>) {
    this.#reader = body.pipeThrough(new TextDecoderStream() as never).getReader() as never;
  }

  static async open(world: AdminWorld, query = "", as = "ops"): Promise<Watcher> {
    const request = new Request(`http://127.0.0.1/admin/v1/watch${query}`, {
      headers: { Authorization: `Bearer ${tokenOf(as)}` },
    });
    const response = await serveFetch(request, {
      app: (request, bindings) => world.admin.fetch!(request, bindings as never),
      peer: { address: "192.0.2.1", isTls: true },
      host: { upgrade: () => Promise.reject(new Error("no upgrade")) as never, copiesOnSend: true },
      fault: (error) => {
        throw error;
      },
    });
    equal(response.status, 200);
    equal(response.headers.get("content-type"), "application/x-ndjson");
    return new Watcher(response.body!);
  }

  // deno-lint-ignore no-explicit-any
  async next(): Promise<any> {
    while (!this.#text.includes("\n")) {
      const { value, done } = await within(this.#reader.read(), "a line of the watch");
      if (done) return undefined;
      this.#text += value;
    }
    const end = this.#text.indexOf("\n");
    const line = this.#text.slice(0, end);
    this.#text = this.#text.slice(end + 1);
    return JSON.parse(line);
  }

  async close(): Promise<void> {
    await this.#reader.cancel();
  }
}

const path = "/admin/v1/clusters/a-one";

Deno.test("a watch begins with what is there, and goes on with what changes", () =>
  withState(async (state) => {
    await using world = await AdminWorld.start({ STATE: state });
    await world.ask("PUT", path, entryFor("a-one"));
    const watcher = await Watcher.open(world);
    const first = await watcher.next();
    deepEqual([first.type, first.kind, first.object.id], ["ADDED", "clusters", "a-one"]);
    equal((await watcher.next()).type, "BOOKMARK");
    match(await world.instruments.text(), /^culvert_followers\{kind="watch"\} 1$/m);
    const socket = await connectAgent(world.relay, { token: agentToken("a-one"), instance: "one" });
    const come = await watcher.next();
    deepEqual([come.type, come.kind, come.object.instance], ["ADDED", "agents", "one"]);
    await world.ask("PUT", path, entryFor("a-one", { targetAddr: "other:1" }));
    equal((await watcher.next()).type, "MODIFIED");
    socket.events.closed(1006, "");
    deepEqual((await watcher.next()).type, "DELETED");
    await world.ask("DELETE", path);
    const gone = await watcher.next();
    deepEqual([gone.type, gone.kind], ["DELETED", "clusters"]);
    await watcher.close();
  }));

Deno.test("a watch goes on behind the version that its client has read last", () =>
  withState(async (state) => {
    await using world = await AdminWorld.start({ STATE: state });
    const watcher = await Watcher.open(world);
    const { version } = await watcher.next();
    await watcher.close();
    await world.ask("PUT", path, entryFor("a-one"));
    await world.ask("DELETE", path);
    const again = await Watcher.open(world, `?since=${version}`);
    equal((await again.next()).type, "ADDED");
    const last = await again.next();
    equal(last.type, "DELETED");
    await again.close();
    const behind = await Watcher.open(world, `?since=${last.version}`);
    await world.ask("PUT", path, entryFor("a-one"));
    equal((await behind.next()).type, "ADDED");
    await behind.close();
  }));

Deno.test("a version that is not kept, or is another relay's, gets 410", () =>
  withState(async (state) => {
    await using world = await AdminWorld.start({ STATE: state });
    for (const since of ["nonsense", "00000000-1", "", "1"]) {
      const { status, body } = await world.ask("GET", `/admin/v1/watch?since=${since}`);
      deepEqual([status, body.error.code], [410, "expired"], since);
    }
  }));

Deno.test("a watch shows what is in the token's scope", () =>
  withState(async (state) => {
    await using world = await AdminWorld.start({ STATE: state });
    const watcher = await Watcher.open(world, "", "team-a");
    equal((await watcher.next()).type, "BOOKMARK");
    await world.ask("PUT", "/admin/v1/clusters/b-two", entryFor("b-two"));
    await world.ask("PUT", path, entryFor("a-one"));
    equal((await watcher.next()).object.id, "a-one");
    await watcher.close();
  }));

Deno.test("a service that a change brings into a token's scope is added, and deleted when it leaves", () =>
  withState(async (state) => {
    await using world = await AdminWorld.start({ STATE: state });
    const service = "/admin/v1/services/shop";
    const at = (hostname: string) => ({
      ...{ name: "shop", cluster: "a-one", target: "t", hostnames: [hostname] },
      policy: "public",
    });
    equal((await world.ask("PUT", path, entryFor("a-one"))).status, 201);
    const put = async (hostname: string, status: number) => {
      const answer = await world.ask("PUT", service, at(hostname));
      equal(answer.status, status, JSON.stringify(answer.body));
    };
    await put("shop.b.example.com", 201);
    const watcher = await Watcher.open(world, "", "team-a");
    equal((await watcher.next()).object.id, "a-one");
    equal((await watcher.next()).type, "BOOKMARK");
    await put("shop.a.example.com", 200);
    const come = await watcher.next();
    deepEqual([come.type, come.object.hostnames], ["ADDED", ["shop.a.example.com"]]);
    await put("other.a.example.com", 200);
    const changed = await watcher.next();
    deepEqual([changed.type, "before" in changed], ["MODIFIED", false]);
    await put("secret.b.example.com", 200);
    const gone = await watcher.next();
    deepEqual([gone.type, gone.object.hostnames], ["DELETED", ["other.a.example.com"]]);
    await watcher.close();
  }));
