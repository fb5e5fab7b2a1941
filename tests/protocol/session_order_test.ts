/** Sessions under any order of events; see `session_orders.ts`. */
import { check, checkAsync } from "./property.ts";
import { endsCleanly, keepsToCredit } from "./session_orders.ts";

Deno.test("Session ends cleanly under any order of legal and illegal events", async () => {
  await checkAsync(endsCleanly(), { numRuns: 3_000 });
});

Deno.test("Session sends nothing past a peer's credit under any order of events", () => {
  check(keepsToCredit(), { numRuns: 1_000 });
});
