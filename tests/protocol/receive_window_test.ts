import assert from "node:assert/strict";
import fc from "fast-check";
import { ReceiveWindow, WindowBudget } from "../../lib/protocol/receive_window.ts";
import { check } from "./property.ts";

const NO_ROOM = new WindowBudget(0);

/** What happens to a window: a peer that sends, a consumer that takes, time that goes by. */
type Step =
  | { readonly kind: "received" | "taken" | "returned"; readonly share: number }
  | { readonly kind: "looked" }
  | { readonly kind: "later"; readonly ms: number };

const anyStep: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    kind: fc.constantFrom("received" as const, "taken" as const, "returned" as const),
    share: fc.double({ min: 0, max: 1, noNaN: true }),
  }),
  fc.constant({ kind: "looked" as const }),
  fc.record({ kind: fc.constant("later" as const), ms: fc.integer({ min: 0, max: 200 }) }),
);

/** A stream with a round trip of 20 ms, whose peer fills its window and whose consumer takes. */
class Measured {
  readonly window: ReceiveWindow;
  #nowMs = 0;
  #credit: number;

  constructor(size: number, maxSize: number, budget: WindowBudget) {
    this.window = new ReceiveWindow(size, maxSize, budget, 0);
    this.#credit = size;
  }

  /** The peer sends what it may and, `ms` later, the consumer takes; gives the window's size then. */
  use(bytes: number, ms: number): number {
    this.window.received(this.#credit);
    this.#nowMs += ms;
    this.#credit = this.window.consumed(Math.min(bytes, this.window.unread), this.#nowMs, 20);
    return this.window.size;
  }
}

Deno.test("ReceiveWindow takes exactly its size from a peer before anything is granted", () => {
  const window = new ReceiveWindow(10, 10, NO_ROOM, 0);
  assert.equal(window.received(4), true);
  assert.equal(window.received(6), true);
  assert.equal(window.received(1), false);
  assert.equal(window.unread, 10);
});

Deno.test("ReceiveWindow leaves its counts alone when a peer goes past its credit", () => {
  const window = new ReceiveWindow(10, 10, NO_ROOM, 0);
  assert.equal(window.received(11), false);
  assert.equal(window.unread, 0);
  assert.equal(window.received(10), true);
});

Deno.test("ReceiveWindow grants nothing for a short exchange", () => {
  const window = new ReceiveWindow(10, 10, NO_ROOM, 0);
  window.received(4);
  assert.equal(window.consumed(4, 0, 50), 0);
});

Deno.test("ReceiveWindow grants what was taken once that is half a window", () => {
  const window = new ReceiveWindow(10, 10, NO_ROOM, 0);
  window.received(8);
  assert.equal(window.consumed(4, 0, 50), 0);
  assert.equal(window.consumed(1, 0, 50), 5);
  assert.equal(window.consumed(3, 0, 50), 0);
});

Deno.test("ReceiveWindow of one byte grants each byte that was taken", () => {
  const window = new ReceiveWindow(1, 1, NO_ROOM, 0);
  for (let round = 0; round < 5; round++) {
    assert.equal(window.received(1), true);
    assert.equal(window.received(1), false);
    assert.equal(window.consumed(1, 0, 50), 1);
  }
});

Deno.test("ReceiveWindow grows up to its limit, at most doubling at a time, while all is taken", () => {
  const stream = new Measured(100, 350, new WindowBudget(1_000));
  assert.deepEqual([20, 20, 20, 20].map((ms) => stream.use(Infinity, ms)), [200, 350, 350, 350]);
});

Deno.test("ReceiveWindow stays as it is for a consumer that takes little in a round trip", () => {
  const stream = new Measured(100, 1_000, new WindowBudget(1_000));
  assert.deepEqual([200, 400, 1_000].map((ms) => stream.use(20, ms)), [100, 100, 100]);
});

Deno.test("ReceiveWindow does not take a burst that was read in one go for a rate", () => {
  const stream = new Measured(100, 1_000, new WindowBudget(1_000));
  assert.deepEqual([0, 0, 0].map((ms) => stream.use(Infinity, ms)), [100, 100, 100]);
});

Deno.test("ReceiveWindow keeps its size when its limit is below it", () => {
  const stream = new Measured(100, 10, new WindowBudget(1_000));
  assert.equal(stream.use(100, 20), 100);
});

Deno.test("ReceiveWindow does not grow once the session's budget is used up", () => {
  const budget = new WindowBudget(150);
  const [first, second] = [new Measured(100, 1_000, budget), new Measured(100, 1_000, budget)];
  assert.deepEqual([first.use(100, 20), second.use(100, 20)], [200, 100]);
});

Deno.test("ReceiveWindow gives back to the budget what it was widened by, once", () => {
  const budget = new WindowBudget(100);
  const stream = new Measured(100, 1_000, budget);
  stream.use(100, 20);
  assert.equal(budget.take(1), false);
  stream.window.close();
  stream.window.close();
  assert.equal(budget.take(100), true);
  assert.equal(budget.take(1), false);
});

Deno.test("WindowBudget gives all of a request or nothing of it", () => {
  const budget = new WindowBudget(10);
  assert.equal(budget.take(11), false);
  assert.equal(budget.take(10), true);
  budget.giveBack(4);
  assert.equal(budget.take(5), false);
  assert.equal(budget.take(4), true);
});

Deno.test("ReceiveWindow conserves credit in any order of sending, taking and waiting", () => {
  const options = fc.record({
    size: fc.integer({ min: 1, max: 100 }),
    maxSize: fc.integer({ min: 1, max: 1_000 }),
    budget: fc.integer({ min: 0, max: 2_000 }),
    roundTripMs: fc.integer({ min: 0, max: 100 }),
  });
  check(
    fc.property(options, fc.array(anyStep, { maxLength: 60 }), (options, steps) => {
      const budget = new WindowBudget(options.budget);
      const window = new ReceiveWindow(options.size, options.maxSize, budget, 0);
      let nowMs = 0;
      let credit = options.size;
      let unread = 0;
      for (const step of steps) {
        if (step.kind === "later") nowMs += step.ms;
        else if (step.kind === "looked") window.setAsideIfIdle();
        else if (step.kind === "returned") {
          const bytes = Math.floor(step.share * credit);
          assert.equal(window.returned(credit + 1), false, "more than its credit");
          assert.equal(window.returned(bytes), true, "of its credit");
          credit -= bytes;
        } else if (step.kind === "received") {
          const bytes = Math.floor(step.share * credit);
          assert.equal(window.received(credit + 1), false, "past its credit");
          assert.equal(window.received(bytes), true, "within its credit");
          credit -= bytes;
          unread += bytes;
        } else {
          const bytes = Math.floor(step.share * unread);
          const grant = window.consumed(bytes, nowMs, options.roundTripMs);
          assert.ok(grant >= 0, `granted ${grant}`);
          credit += grant;
          unread -= bytes;
        }
        assert.equal(window.unread, unread);
        assert.ok(credit + unread <= window.size, "no more is granted than the window holds");
        assert.ok(window.size <= Math.max(options.size, options.maxSize), "within the limit");
        assert.ok(window.size - options.size <= options.budget, "within the budget");
      }
      window.consumed(unread, nowMs, options.roundTripMs);
      window.close();
      assert.equal(budget.take(options.budget), true, "all of the budget is back");
      assert.equal(budget.take(1), false, "and no more than that");
    }),
    { numRuns: 1_000 },
  );
});

Deno.test("ReceiveWindow never leaves a peer without credit once all was taken", () => {
  const size = fc.integer({ min: 1, max: 50 });
  check(fc.property(size, fc.array(fc.nat(49), { maxLength: 40 }), (size, pieces) => {
    const window = new ReceiveWindow(size, size, NO_ROOM, 0);
    let credit = size;
    for (const piece of pieces) {
      const bytes = Math.min(piece, credit);
      window.received(bytes);
      credit += window.consumed(bytes, 0, 50) - bytes;
      assert.ok(credit > 0);
    }
  }));
});

/** Streams at 100 ms, whose peers send all that they may and whose consumers take all of it. */
class Line {
  readonly budget: WindowBudget;
  nowMs = 0;

  constructor(budgetBytes: number) {
    this.budget = new WindowBudget(budgetBytes);
  }

  open(size: number, maxSize: number): { window: ReceiveWindow; credit: number } {
    return { window: new ReceiveWindow(size, maxSize, this.budget, this.nowMs), credit: size };
  }

  /** Round trips in which these streams send and their consumers keep up. */
  run(roundTrips: number, ...streams: { window: ReceiveWindow; credit: number }[]): void {
    for (let trip = 0; trip < roundTrips; trip++) {
      this.nowMs += 100;
      for (const stream of streams) {
        const sent = stream.credit;
        assert.equal(stream.window.received(sent), true);
        // In halves, as Credits come before the window is used up.
        stream.credit = stream.window.consumed(sent >> 1, this.nowMs, 100);
        stream.credit += stream.window.consumed(sent - (sent >> 1), this.nowMs, 100);
      }
    }
  }
}

Deno.test("ReceiveWindow of a stream that came late gets its share of a budget that is used up", () => {
  const line = new Line(1_000);
  const [first, late] = [line.open(10, 10_000), line.open(10, 10_000)];
  line.run(20, first);
  assert.ok(first.window.size > 600, `alone it has most of the budget: ${first.window.size}`);
  line.run(60, first, late);
  for (const { window } of [first, late]) {
    assert.ok(window.size >= 250 && window.size <= 760, `two share: ${window.size}`);
  }
});

Deno.test("ReceiveWindow of each of many streams gets its share", () => {
  const line = new Line(10_000);
  const streams = Array.from({ length: 10 }, () => line.open(10, 100_000));
  for (let count = 1; count <= streams.length; count++) line.run(20, ...streams.slice(0, count));
  line.run(100, ...streams);
  const sizes = streams.map(({ window }) => window.size);
  assert.ok(Math.min(...sizes) >= 400, `the narrowest of ${sizes}`);
});

Deno.test("ReceiveWindow narrows by what its peer returns, and others have it at once", () => {
  const line = new Line(1_000);
  const [idle, busy] = [line.open(10, 10_000), line.open(10, 10_000)];
  line.run(20, idle);
  const unused = idle.credit - 10;
  assert.equal(idle.window.returned(unused), true);
  assert.equal(idle.window.size, idle.window.credit);
  assert.equal(idle.window.credit, 10);
  line.run(20, busy);
  assert.ok(busy.window.size > 600, `all of the budget is there again: ${busy.window.size}`);
});

Deno.test("ReceiveWindow takes back no more than its peer has, nor its first size", () => {
  const window = new ReceiveWindow(100, 1_000, new WindowBudget(1_000), 0);
  window.received(40);
  assert.equal(window.returned(61), false);
  assert.equal(window.returned(60), true);
  assert.deepEqual([window.size, window.credit, window.unread], [100, 0, 40]);
  assert.equal(window.consumed(40, 0, 10), 100);
});

Deno.test("ReceiveWindow that is idle leaves the budget to others, though its peer can't return credit", () => {
  const line = new Line(1_000);
  const [idle, busy] = [line.open(10, 10_000), line.open(10, 10_000)];
  line.run(20, idle);
  for (let look = 0; look < 2; look++) idle.window.setAsideIfIdle();
  line.run(20, busy);
  assert.ok(busy.window.size > 600, `as if it were alone: ${busy.window.size}`);
  // Both at once are more than there is: what is not granted again comes back.
  line.run(60, idle, busy);
  for (const { window } of [idle, busy]) window.close();
  assert.deepEqual([line.budget.take(1_000), line.budget.take(1)], [true, false]);
});

Deno.test("ReceiveWindow is not idle while bytes come or wait to be taken", () => {
  const line = new Line(1_000);
  const stream = line.open(10, 10_000);
  line.run(20, stream);
  for (let look = 0; look < 3; look++) {
    stream.window.received(1);
    stream.window.setAsideIfIdle();
  }
  assert.equal(line.budget.take(400), false, "what has not been taken");
  stream.window.consumed(3, line.nowMs, 100);
  for (let look = 0; look < 2; look++) stream.window.setAsideIfIdle();
  assert.equal(line.budget.take(400), true);
});

Deno.test("WindowBudget bounds what idle windows hold beside it", () => {
  const budget = new WindowBudget(100);
  for (let times = 0; times < 3; times++) {
    assert.equal(budget.take(100), true);
    assert.equal(budget.setAside(100), true);
  }
  assert.equal(budget.take(100), true);
  assert.equal(budget.setAside(1), false);
  budget.countAgain(100);
  budget.giveBack(100);
  assert.equal(budget.take(1), false, "the other idle one counts again");
});
