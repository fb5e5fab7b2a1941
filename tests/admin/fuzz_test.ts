/** Bodies that nobody would write: each gets an answer of the API's, and changes nothing or all of it. */
import { equal, ok } from "node:assert/strict";
import { AdminWorld, entryFor, withState } from "./world.ts";

const rounds = 600;
const seed = Number(Deno.env.get("FUZZ_SEED") ?? 20_261_130);

/** A small generator that a seed makes repeatable (mulberry32). */
function randomOf(state: number): () => number {
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

const keys = [
  ...["id", "name", "token", "tokenSha256", "tokens", "targetAddr", "hostnames", "policy", "owner"],
  ...["leaseSeconds", "accepted", "limits", "cluster", "target", "kind", "any", "all", "listen"],
  ...[
    "__proto__",
    "constructor",
    "toString",
    "",
    "admin",
    "headers",
    "cors",
    "identity",
    "impersonate",
  ],
];
const words = [
  "public",
  "http",
  "tcp",
  "127.0.0.1:0",
  "x.org",
  "*.x.org",
  "a-one",
  "\u0000",
  "😀",
  "-1",
];

Deno.test(`bodies at random are answered in the API's form (seed ${seed})`, () =>
  withState(async (state) => {
    const random = randomOf(seed);
    const pick = <Item>(items: readonly Item[]): Item =>
      items[Math.floor(random() * items.length)]!;
    const value = (depth: number): unknown => {
      const kind = Math.floor(random() * (depth > 3 ? 5 : 7));
      if (kind === 0) return pick(words);
      if (kind === 1) return pick([0, -1, 1.5, 1e308, 60, Number.MAX_SAFE_INTEGER]);
      if (kind === 2) return random() < 0.5;
      if (kind === 3) return null;
      if (kind === 4) return "x".repeat(Math.floor(random() * 2_000));
      const length = Math.floor(random() * 5);
      if (kind === 5) return Array.from({ length }, () => value(depth + 1));
      return Object.fromEntries(Array.from({ length }, () => [pick(keys), value(depth + 1)]));
    };
    const valid = {
      clusters: () => entryFor(`c${Math.floor(random() * 40)}`),
      services: () => ({ hostnames: ["x.org"], cluster: "a", target: "t", policy: "public" }),
      policies: () => ({ any: [{ address: "10.0.0.0/8" }] }),
    };
    await using world = await AdminWorld.start({ STATE: state });
    for (let round = 0; round < rounds; round++) {
      const kind = pick(["clusters", "services", "policies"] as const);
      const name = pick(["ops-a", "ops-b", "a-one", "%ff", "ops-c"]);
      const body: unknown = random() < 0.3
        ? value(0)
        : { ...valid[kind](), ...random() < 0.7 && { [pick(keys)]: value(1) } };
      let text = JSON.stringify(body);
      if (random() < 0.2) text = text.slice(0, Math.floor(random() * text.length));
      const method = pick(["PUT", "PUT", "PUT", "DELETE", "GET", "POST"]);
      const path = `/admin/v1/${kind}/${name}`;
      const what = `round ${round}: ${method} ${path} ${text.slice(0, 300)}`;
      const answer = await world.ask(method, path, undefined, method === "GET" ? {} : { text });
      const known = [200, 201, 202, 400, 403, 404, 405, 409, 413, 422];
      ok(known.includes(answer.status), `${answer.status} ${what}`);
      if (answer.status < 400) continue;
      ok(typeof answer.body.error.code === "string" && answer.body.error.message, what);
    }
    const listed = await world.ask("GET", "/admin/v1/clusters");
    const own = world.relay.clusters;
    equal(
      listed.body.items.filter(({ accepted }: { accepted: boolean }) => accepted).length,
      own.size,
    );
  }));
