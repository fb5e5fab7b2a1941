/** A relay that is killed at random moments while its admin API changes entries. */
import { deepEqual, ok } from "node:assert/strict";
import { addressOf, type RunningRelay, startRelay } from "../support/programs.ts";
import { adminTokens, entryFor, tokenOf, withState } from "./world.ts";

const changes = 1_000;
const clusters = 40;
/** Changes that are on their way at once. */
const parallel = 4;

interface Running {
  readonly relay: RunningRelay;
  readonly url: string;
}

async function start(state: string): Promise<Running> {
  const relay = await startRelay({
    clusters: [],
    args: ["--admin-addr", "127.0.0.1:0", "--state", state],
    env: { ADMIN_TOKENS: JSON.stringify(adminTokens) },
  });
  const address = await addressOf(relay, "admin");
  return { relay, url: `http://${address}/admin/v1/clusters` };
}

const headers = { Authorization: `Bearer ${tokenOf("ops")}` };

/** What an entry may be: what was acknowledged last, or what was asked for since. */
class Expected {
  readonly #last = new Map<string, string | undefined>();
  readonly #open = new Map<string, (string | undefined)[]>();

  begins(id: string, content: string | undefined): void {
    this.#open.set(id, [...this.#open.get(id) ?? [], content]);
  }

  acknowledged(id: string, content: string | undefined): void {
    this.#last.set(id, content);
    this.#open.set(id, []);
  }

  check(found: ReadonlyMap<string, string>): void {
    for (let index = 0; index < clusters; index++) {
      const id = `c${index}`;
      const possible = [this.#last.get(id), ...this.#open.get(id) ?? []];
      ok(possible.includes(found.get(id)), `${id} is ${found.get(id)}, none of ${possible}`);
      // From here on it is that.
      this.acknowledged(id, found.get(id));
    }
  }
}

Deno.test("after each kill -9 amid 1,000 changes, what was acknowledged is there, and nothing by halves", () =>
  withState(async (state) => {
    const expected = new Expected();
    let done = 0;
    let kills = 0;
    while (done < changes) {
      const running = await start(state);
      const response = await fetch(running.url, { headers });
      const { items } = await response.json() as { items: { id: string; targetAddr: string }[] };
      expected.check(new Map(items.map(({ id, targetAddr }) => [id, targetAddr])));
      // A fifth of them: so it is killed five times or more.
      const until = Math.min(changes, done + 40 + Math.floor(Math.random() * 200));
      const change = async (worker: number): Promise<void> => {
        while (done < until) {
          const number = done++;
          // Each worker has clusters of its own: so the order of one's changes is known.
          const id = `c${Math.floor(Math.random() * clusters / parallel) * parallel + worker}`;
          const content = Math.random() < 0.25 ? undefined : `target-${number}:1`;
          expected.begins(id, content);
          try {
            const answer = content === undefined
              ? await fetch(`${running.url}/${id}`, { method: "DELETE", headers })
              : await fetch(`${running.url}/${id}`, {
                method: "PUT",
                headers,
                body: JSON.stringify(entryFor(id, { targetAddr: content })),
              });
            await answer.body?.cancel();
            ok([200, 201, 404].includes(answer.status), String(answer.status));
            expected.acknowledged(id, content);
          } catch (error) {
            // It was killed meanwhile.
            if (!(error instanceof TypeError)) throw error;
            return;
          }
        }
      };
      const workers = Array.from({ length: parallel }, (_, worker) => change(worker));
      await Promise.race(workers);
      await running.relay.kill();
      kills++;
      await Promise.all(workers);
    }
    ok(kills >= 5, `${kills} kills`);
    const last = await start(state);
    const response = await fetch(last.url, { headers });
    const { items } = await response.json() as { items: { id: string; targetAddr: string }[] };
    expected.check(new Map(items.map(({ id, targetAddr }) => [id, targetAddr])));
    await last.relay.stop();
    const left = [...Deno.readDirSync(`${state}/clusters`)].map(({ name }) => name);
    deepEqual(left.filter((name) => !/^c\d+\.json$/.test(name)), [], "nothing unfinished is left");
  }));
