import { deepEqual, equal, rejects } from "node:assert/strict";
import {
  type Directory,
  DirectoryError,
  type Holder,
} from "../../../lib/relay/directory/directory.ts";
import { Lookups } from "../../../lib/relay/directory/lookups.ts";
import { Moves } from "../../../lib/relay/directory/moves.ts";
import { eventually } from "../../support/deadline.ts";

const holder = { relay: "other", url: "http://10.0.0.2:8080" };

/** A directory in which nobody holds "one", whose answer about moves the test gives. */
class FakeDirectory implements Directory {
  readonly isUp = true;
  readonly isSettled = true;
  readonly asked: string[] = [];
  holders: readonly Holder[] = [];
  moving = Promise.withResolvers<boolean>();

  find(): Promise<readonly Holder[]> {
    this.asked.push("find");
    return Promise.resolve(this.holders);
  }

  isMoving(): Promise<boolean> {
    this.asked.push("isMoving");
    return this.moving.promise;
  }

  open(): void {}
  claim(): void {}
  withdraw(): void {}
  withdrawAll(): Promise<void> {
    return Promise.resolve();
  }
  close(): Promise<void> {
    return Promise.resolve();
  }
}

function lookups(nowMs = () => 0) {
  const directory = new FakeDirectory();
  const moves = new Moves(5_000, () => 0);
  const results: string[] = [];
  const count = (result: string) => results.push(result);
  return { directory, moves, results, lookups: new Lookups(directory, moves, count, nowMs) };
}

/**
 * Callers used to get 502 when a relay that had never heard of a cluster was asked twice at once,
 * just when the agent was on its way: the second request went by "nobody holds it", which was kept
 * before the directory had said that a session had left another relay a moment ago.
 */
Deno.test("Lookups believes that nobody holds a session once it knows whether one is moving", async () => {
  const { directory, moves, results, lookups: asked } = lookups();
  const first = asked.find("one");
  await eventually(() => directory.asked.includes("isMoving"), "the directory to be asked");
  const second = asked.find("one");
  equal(asked.kept("one"), undefined);
  directory.moving.resolve(true);
  deepEqual(await Promise.all([first, second]), [[], []]);
  equal(moves.has("one"), true);
  deepEqual(asked.kept("one"), []);
  deepEqual({ asked: directory.asked, results }, {
    asked: ["find", "isMoving"],
    results: ["none"],
  });
});

Deno.test("Lookups asks about moves only where nobody holds a session and none is known", async () => {
  const { directory, moves, lookups: asked } = lookups();
  moves.begin("one");
  deepEqual(await asked.find("one"), []);
  directory.holders = [holder];
  deepEqual(await asked.find("two"), [holder]);
  deepEqual(directory.asked, ["find", "find"]);
  equal(moves.has("two"), false);
});

Deno.test("Lookups keeps nothing when the directory does not say whether a session is moving", async () => {
  const { directory, moves, results, lookups: asked } = lookups();
  directory.moving.reject(new DirectoryError("No reply"));
  await rejects(asked.find("one"), DirectoryError);
  equal(asked.kept("one"), undefined);
  equal(moves.has("one"), false);
  deepEqual(results, ["failed"]);
});

Deno.test("Lookups.findAnew asks once a second at most, and again for what has proved wrong", async () => {
  let nowMs = 0;
  const { directory, moves, lookups: asked } = lookups(() => nowMs);
  const another = { relay: "another", url: "http://10.0.0.3:8080" };
  directory.holders = [holder, another];
  await asked.find("one");
  nowMs = 999;
  deepEqual(await asked.findAnew("one"), [holder, another]);
  equal(directory.asked.length, 1);
  nowMs = 1_000;
  deepEqual(await asked.findAnew("one"), [holder, another]);
  equal(directory.asked.length, 2);
  asked.forget("one", holder.relay);
  deepEqual(asked.kept("one"), [another]);
  deepEqual(await asked.findAnew("one"), [holder, another]);
  equal(directory.asked.length, 3);

  moves.begin("two");
  directory.holders = [];
  deepEqual(await asked.findAnew("two"), []);
  deepEqual(await asked.findAnew("two"), []);
  equal(directory.asked.length, 4);
});

Deno.test("Moves forgets a move after its time, and when a session has come", () => {
  let nowMs = 0;
  const moves = new Moves(5_000, () => nowMs);
  moves.begin("late");
  moves.begin("back");
  moves.end("back");
  nowMs = 4_999;
  deepEqual([moves.has("late"), moves.has("back"), moves.has("unknown")], [true, false, false]);
  nowMs = 5_000;
  equal(moves.has("late"), false);
});
