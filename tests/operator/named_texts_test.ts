import assert from "node:assert/strict";
import { KubeUnreachable } from "../../lib/kube/errors.ts";
import { no } from "../../lib/operator/conditions.ts";
import { NamedTexts } from "../../lib/operator/routes/named_texts.ts";
import { eventually } from "../support/deadline.ts";

Deno.test("a text that can't be read for a fault of the program is missing, and holds up no other", async () => {
  const path = (name: string) => ({ namespace: "apps", name, key: "token" });
  const unread = no("NotRead", "not read yet");
  const texts = new NamedTexts({
    settings: { checkMs: 5 },
    unread: () => unread,
    changed: () => {},
    read: ({ name }) =>
      Promise.reject(name === "odd" ? new TypeError("odd") : new KubeUnreachable("away")),
  });
  texts.get(path("odd"));
  await eventually(() => texts.isComplete, "the fault to be known");
  assert.deepEqual(texts.get(path("odd")), { fault: unread });
  texts.get(path("away"));
  assert.equal(texts.isComplete, false);
  texts.stop();
});
