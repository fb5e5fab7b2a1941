import assert from "node:assert/strict";
import { no, unknown } from "../../lib/operator/conditions.ts";
import { NamedTexts } from "../../lib/operator/named_texts.ts";
import { remembered } from "../../lib/operator/routes/remembered.ts";
import { eventually } from "../support/deadline.ts";

Deno.test("a text that can't be read says why until it can, and holds up no other", async () => {
  const path = { namespace: "apps", name: "odd", key: "token" };
  let isOdd = true;
  const texts = new NamedTexts({
    user: "TunnelBindings",
    settings: { checkMs: 5 },
    unread: () => no("NotRead", "not read yet"),
    unreadable: (_path, reason) => unknown("Unreadable", reason),
    changed: () => {},
    read: () => isOdd ? Promise.reject(new TypeError("odd")) : Promise.resolve({ text: "even" }),
  });
  assert.deepEqual(texts.get(path), { fault: no("NotRead", "not read yet") });
  assert.equal(texts.isComplete, false);
  await eventually(() => texts.isComplete, "the fault to be known");
  assert.deepEqual(texts.get(path), { fault: unknown("Unreadable", "odd") });
  texts.forgetUnused();
  isOdd = false;
  await eventually(() => "text" in texts.get(path), "the text");
  isOdd = true;
  await eventually(() => texts.isComplete, "the text to stay");
  assert.deepEqual(texts.get(path), { text: "even" });
  texts.stop();
});

Deno.test("a namespace that names many texts leaves room for those of others", async () => {
  const texts = new NamedTexts({
    user: "TunnelBindings",
    settings: { checkMs: 3_600_000 },
    unread: () => no("NotRead", "not read yet"),
    unreadable: (_path, reason) => unknown("Unreadable", reason),
    changed: () => {},
    read: ({ name }) => Promise.resolve({ text: name }),
  });
  const look = (namespace: string, name: string) => texts.get({ namespace, name, key: "token" });
  for (let number = 0; number < 2_000; number++) look("many", `${number}`);
  look("few", "one");
  await eventually(() => texts.isComplete, "all texts to be read");
  assert.deepEqual(look("few", "one"), { text: "one" });
  assert.deepEqual(look("many", "511"), { text: "511" });
  const full = "TunnelBindings of namespace many name more than 512 objects like this one";
  assert.deepEqual(look("many", "512"), { fault: no("NotRead", full) });
  texts.stop();
});

Deno.test("long texts of one namespace are kept up to a limit, and again once there is room", async () => {
  let length = 1_024 * 1_024;
  const texts = new NamedTexts({
    settings: { checkMs: 5 },
    user: "TunnelBindings",
    unread: () => no("NotRead", "not read yet"),
    unreadable: (_path, reason) => unknown("Unreadable", reason),
    changed: () => {},
    read: ({ namespace, name }) => {
      const isLong = namespace === "many" && name !== "0";
      return Promise.resolve({ text: "x".repeat(isLong ? length : 10) });
    },
  });
  const look = (namespace: string, name: string) => texts.get({ namespace, name, key: "ca.crt" });
  const names = ["0", "1", "2", "3", "4", "5"];
  for (const name of names) look("many", name);
  look("few", "one");
  await eventually(() => texts.isComplete, "all texts to be read");
  assert.deepEqual(names.map((name) => "text" in look("many", name)), [
    ...[true, true, true, true, false, false],
  ]);
  assert.match(
    JSON.stringify(look("many", "5")),
    /"NotRead".*namespace many .* more than 4194304 characters together/,
  );
  assert.equal("text" in look("few", "one"), true);
  length = 10;
  await eventually(() => names.every((name) => "text" in look("many", name)), "room for all");
  texts.stop();
});

Deno.test("what was found out about a text is remembered for the last ones", () => {
  const asked: string[] = [];
  const faultOf = remembered((text: string) => void asked.push(text), (text) => `of ${text}`, 2);
  for (const text of ["a", "a", "b", "a", "c", "a", "b"]) faultOf(text);
  assert.deepEqual(asked, ["a", "b", "c", "b"]);
});
