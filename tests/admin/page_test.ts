/** Lists in pages. */
import { deepEqual, equal } from "node:assert/strict";
import { AdminWorld, entryFor, withState } from "./world.ts";

const path = "/admin/v1/clusters";

async function idsOf(world: AdminWorld, query: string): Promise<[string[], string | undefined]> {
  const { status, body } = await world.ask("GET", `${path}${query}`);
  equal(status, 200, query);
  return [body.items.map(({ id }: { id: string }) => id), body.continue];
}

Deno.test("a list in pages has each entry once, whatever changes between two pages", () =>
  withState(async (state) => {
    const file = JSON.stringify([{ id: "d", token: "agents-of-d-0123456789", targetAddr: "t:1" }]);
    await using world = await AdminWorld.start({ STATE: state, CLUSTERS: file });
    for (const id of ["e", "c", "a", "g"]) await world.ask("PUT", `${path}/${id}`, entryFor(id));
    deepEqual(await idsOf(world, ""), [["a", "c", "d", "e", "g"], undefined]);
    const [first, second] = await idsOf(world, "?limit=2");
    deepEqual(first, ["a", "c"]);
    await world.ask("DELETE", `${path}/c`);
    await world.ask("PUT", `${path}/b`, entryFor("b"));
    await world.ask("PUT", `${path}/f`, entryFor("f"));
    const [next, third] = await idsOf(world, `?limit=3&continue=${second}`);
    deepEqual(next, ["d", "e", "f"]);
    deepEqual(await idsOf(world, `?limit=3&continue=${third}`), [["g"], undefined]);
    deepEqual(await idsOf(world, "?limit=6"), [["a", "b", "d", "e", "f", "g"], undefined]);
  }));

Deno.test("a limit or continuation that is not valid gets 400 at every list", () =>
  withState(async (state) => {
    await using world = await AdminWorld.start({ STATE: state });
    await world.ask("PUT", `${path}/a`, entryFor("a"));
    const lists = ["clusters", "services", "policies", "agents", "streams", "sessions"];
    for (const list of [...lists, "clusters/a/sessions", "clusters/a/streams"]) {
      for (
        const query of [
          "limit=0",
          "limit=-1",
          "limit=1001",
          "limit=x",
          "limit=",
          "continue=",
          "continue=*",
        ]
      ) {
        const { status, body } = await world.ask("GET", `/admin/v1/${list}?${query}`);
        deepEqual([status, body.error.code], [400, "bad_request"], `${list}?${query}`);
      }
      equal((await world.ask("GET", `/admin/v1/${list}?limit=1000`)).status, 200, list);
    }
  }));
