import assert from "node:assert/strict";
import { LastAnswers } from "../../lib/operator/last_answers.ts";

Deno.test("answers that nobody renews are forgotten, and those that are renewed stay", () => {
  let nowMs = 0;
  const answers = new LastAnswers<{ untilMs: number }>(() => nowMs);
  for (let hour = 0; hour < 100; hour++) {
    nowMs = hour * 3_600_000;
    answers.set("renewed", { untilMs: nowMs + 3_600_000 });
    for (let count = 0; count < 100; count++) answers.set(`${hour} ${count}`, { untilMs: nowMs });
  }
  assert.ok(answers.has("renewed"));
  assert.ok(answers.size < 1_100, `${answers.size} answers`);
});
