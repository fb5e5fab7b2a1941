import assert from "node:assert/strict";
import { attacks } from "./attacks.ts";
import { startCulvert } from "./subjects.ts";

Deno.test("Attacks that other proxies have fallen to come to nothing at a real relay", async (t) => {
  await using subject = await startCulvert();
  for (const { name, outcome, run } of attacks) {
    await t.step(name, async () => {
      const { isRight, seen } = await run(subject);
      assert.ok(isRight, `should: ${outcome}; but: ${seen}`);
    });
  }
});
