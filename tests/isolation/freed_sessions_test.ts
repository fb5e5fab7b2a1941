/** Sessions that died take nothing with them: a relay that runs for months sees many of them. */
import { deepEqual, equal, ok } from "node:assert/strict";
import { DeadlineError, within } from "../support/deadline.ts";
import type { HeapFigures } from "./freed_sessions.ts";

const script = new URL("./freed_sessions.ts", import.meta.url);
const [first, second] = [200, 1_000] as const;
/**
 * What the heap may grow by between the two: 1.3 KB a session, where a session that is kept holds
 * more than that in its tables alone, and its 20 streams many times as much. Some hundred KB are
 * what the engine adds as it optimises.
 */
const maxGrowthBytes = 1024 * 1024;
const timeoutMs = 300_000;

Deno.test(`${second} sessions that die in the middle of their requests are freed, all of them`, async () => {
  const figures = await run();
  deepEqual(figures.map(({ sessions }) => sessions), [first, second]);
  for (const key of ["heapBytes", "externalBytes"] as const) {
    const [from = 0, to = 0] = figures.map((figure) => figure[key]);
    console.log(`${key}: ${from} after ${first} sessions, ${to} after ${second}`);
    ok(to - from < maxGrowthBytes, `${key} grew by ${to - from}`);
  }
});

async function run(): Promise<HeapFigures[]> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--v8-flags=--expose-gc", script.pathname, String(first), String(second)],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const output = child.output();
  try {
    const { code, stdout, stderr } = await within(output, "the sessions to die", timeoutMs);
    equal(code, 0, new TextDecoder().decode(stderr));
    return JSON.parse(new TextDecoder().decode(stdout));
  } catch (error) {
    if (error instanceof DeadlineError) child.kill("SIGKILL");
    await output;
    throw error;
  }
}
