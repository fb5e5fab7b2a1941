/** Clients that watch and do not read. */
import { deepEqual, equal, rejects, throws } from "node:assert/strict";
import type { ApiRequest } from "../../lib/admin/api_request.ts";
import { type AdminEvent, EventLog } from "../../lib/admin/event_log.ts";
import { Scope } from "../../lib/admin/scope.ts";
import { Watches } from "../../lib/admin/watch.ts";
import { tokenDigest } from "../../lib/runtime/node/token_digest.ts";

const seesAll = { sees: () => true, view: "all" } as unknown as ApiRequest["scope"];

function event(number: number): AdminEvent {
  return { type: "MODIFIED", kind: "clusters", object: { id: `c${number}` } };
}

/** A client's side of a watch: nothing is taken until it is drained. */
class SlowClient {
  readonly lines: { type: string; version: string; object?: { id: string } }[] = [];
  isFinished = false;
  takes = false;
  readonly exchange = {
    head: { method: "GET" },
    onAborted: () => {},
    onDrain: () => {},
    respond: () => true,
    write: (bytes: Uint8Array): boolean => {
      this.lines.push(JSON.parse(new TextDecoder().decode(bytes)));
      return this.takes;
    },
    finish: () => void (this.isFinished = true),
  };

  request(since?: string, scope = seesAll): ApiRequest {
    const query = (name: string) => name === "since" ? since : undefined;
    const rest = { scope, query, isStillAllowed: () => true };
    return { exchange: this.exchange, ...rest } as unknown as ApiRequest;
  }

  drain(): void {
    this.takes = true;
    this.exchange.onDrain();
  }
}

class World implements Disposable {
  readonly log = new EventLog("00000000");
  readonly hits: string[] = [];
  count = (): number => -1;
  readonly watches = new Watches({
    log: this.log,
    digest: tokenDigest,
    snapshot: () => [],
    isStopping: () => false,
    metrics: {
      limitHit: (limit) => void this.hits.push(limit),
      observeFollowers: (_kind, count) => void (this.count = count),
    },
  });

  [Symbol.dispose](): void {
    this.watches.close();
  }
}

Deno.test("a watch whose client does not read keeps nothing for it, and goes on where it was", () => {
  using world = new World();
  const client = new SlowClient();
  void world.watches.serve(client.request());
  for (let number = 0; number < 5_000; number++) world.log.add(event(number));
  equal(client.lines.length, 1, "the bookmark");
  client.drain();
  const ids = client.lines.flatMap(({ object }) => object ? [object.id] : []);
  deepEqual(ids, Array.from({ length: 5_000 }, (_, number) => `c${number}`));
});

Deno.test("a watch that has fallen behind what is kept ends, and its version gets 410", () => {
  using world = new World();
  const client = new SlowClient();
  void world.watches.serve(client.request());
  for (let number = 0; number < 10_010; number++) world.log.add(event(number));
  client.drain();
  equal(client.isFinished, true);
  equal(world.count(), 0);
  const { version } = client.lines.at(-1)!;
  throws(() => world.watches.serve(new SlowClient().request(version)), { status: 410 });
});

Deno.test("a version counts for the scope alone in which it was read", () => {
  using world = new World();
  const scopeOf = (clusters: readonly string[], names: readonly string[] = [], expiresMs = 1) =>
    new Scope({
      ...{ name: "team", clusters, hostnames: [], people: false, autoAccept: true, expiresMs },
    }, names);
  world.log.add(event(1));
  const client = new SlowClient();
  void world.watches.serve(client.request(undefined, scopeOf(["a-*"])));
  const { version } = client.lines[0]!;
  const goOn = (scope: Scope) => void world.watches.serve(new SlowClient().request(version, scope));
  throws(() => goOn(scopeOf(["a-*", "c*"])), { status: 410 });
  throws(() => goOn(scopeOf([])), { status: 410 });
  throws(() => goOn(scopeOf(["a-*"], ["team-b"])), { status: 410 });
  goOn(scopeOf(["a-*"], [], 2));
  equal(world.count(), 2);
});

Deno.test("more watches than there may be get 429, and the metrics tell", async () => {
  using world = new World();
  const clients = Array.from({ length: 256 }, () => new SlowClient());
  for (const client of clients) void world.watches.serve(client.request());
  equal(world.count(), 256);
  await rejects(async () => await world.watches.serve(new SlowClient().request()), { status: 429 });
  deepEqual(world.hits, ["admin-watches"]);
  clients[0]!.exchange.onAborted();
  equal(world.count(), 255);
});
