import { deepEqual } from "node:assert/strict";
import { RefusedCredential } from "../../lib/agent/refused_credential.ts";

Deno.test("RefusedCredential counts each refusal and writes one line a minute, with what it left out", () => {
  let nowMs = 1_000_000;
  let counted = 0;
  const lines: unknown[] = [];
  const refused = new RefusedCredential({
    count: () => counted++,
    log: { warn: (message, properties) => lines.push([message, properties]) },
    about: { option: "sa-token-path", path: "/token" },
    nowMs: () => nowMs,
  });
  // One refusal every ten seconds, for two minutes.
  for (let index = 0; index < 12; index++) {
    refused.refused();
    nowMs += 10_000;
  }
  const message =
    "The target refused the agent's credential; give a valid token in --sa-token-path";
  const about = { option: "sa-token-path", path: "/token", status: 401 };
  deepEqual(counted, 12);
  deepEqual(lines, [
    [message, { ...about, unlogged: undefined }],
    [message, { ...about, unlogged: 5 }],
  ]);

  nowMs = 0;
  refused.refused();
  deepEqual(lines.length, 3, "a clock that was set back does not silence it");
});
