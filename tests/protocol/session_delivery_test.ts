/**
 * Two honest sessions under any interleaving of writes, reads, turns of the event loop and messages on
 * their way: every byte and every end arrives, in order.
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import type { StreamError } from "../../lib/protocol/errors.ts";
import { Session } from "../../lib/protocol/session.ts";
import type { Stream } from "../../lib/protocol/stream.ts";
import type { StreamEvents } from "../../lib/protocol/stream_events.ts";
import { check } from "./property.ts";
import { agentSettings, ManualSocket, relaySettings } from "./session_setup.ts";
import type { Role } from "./transports.ts";
import { joined, patterned } from "./wire.ts";

/** A socket that holds messages until they are taken out one by one; each fills it. */
class SlowSocket extends ManualSocket {
  override send(message: Uint8Array, sent?: () => void): void {
    super.send(message, sent);
    this.bufferedAmount = Number.MAX_SAFE_INTEGER;
  }

  /** Takes out the oldest message. */
  take(): Uint8Array | undefined {
    const message = this.sent.shift();
    if (this.sent.length === 0) this.bufferedAmount = 0;
    return message;
  }
}

/** A stream's two owners, what each has written and what each has got. */
interface Conversation {
  readonly relay: Party;
  agent: Party | undefined;
}

/** One owner: it keeps what it wrote and what came. */
class Party implements StreamEvents {
  readonly stream: Stream;
  readonly written: Uint8Array[] = [];
  readonly received: Uint8Array[] = [];
  readonly events: string[] = [];
  #unconsumed = 0;
  #seed: number;

  constructor(stream: Stream, seed: number) {
    this.stream = stream;
    this.#seed = seed;
    stream.listen(this);
  }

  data(bytes: Uint8Array): void {
    this.received.push(Uint8Array.from(bytes));
    this.#unconsumed += bytes.length;
  }

  end(): void {
    this.events.push("end");
  }

  closed(): void {
    this.events.push("closed");
  }

  failed(error: StreamError): void {
    this.events.push(`failed ${error.message}`);
  }

  drained(): void {}

  write(length: number): void {
    const bytes = patterned(length, ++this.#seed);
    this.written.push(bytes);
    this.stream.write(bytes);
  }

  take(bytes: number): void {
    const taken = Math.min(bytes, this.#unconsumed);
    this.#unconsumed -= taken;
    this.stream.consumed(taken);
  }

  takeAll(): void {
    this.take(this.#unconsumed);
  }
}

/** What happens between two honest sessions. */
type HonestStep =
  | { readonly kind: "deliver"; readonly to: Role }
  | { readonly kind: "turn"; readonly of: Role }
  | { readonly kind: "open"; readonly bytes: number }
  | {
    readonly kind: "owner";
    readonly verb: "write" | "take";
    readonly by: Role;
    readonly index: number;
    readonly bytes: number;
  };

const anyRole = fc.constantFrom<Role>("relay", "agent");
const honestStep: fc.Arbitrary<HonestStep> = fc.oneof<fc.MaybeWeightedArbitrary<HonestStep>[]>(
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("deliver"), to: anyRole }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("turn"), of: anyRole }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("open"), bytes: fc.nat(30) }) },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant("owner"),
      verb: fc.constantFrom("write", "take"),
      by: anyRole,
      index: fc.nat(3),
      bytes: fc.nat(100),
    }),
  },
);

/** Two sessions, their conversations and the network between them. */
class Honest {
  readonly sockets = { relay: new SlowSocket(), agent: new SlowSocket() };
  readonly conversations: Conversation[] = [];
  readonly sessions: { readonly relay: Session; readonly agent: Session };
  #nowMs = 0;
  readonly #deferred = { relay: [] as (() => void)[], agent: [] as (() => void)[] };

  constructor(version: number, windows: { window: number; maxWindow: number }) {
    this.sessions = {
      relay: this.#session("relay", version, windows),
      agent: this.#session("agent", version, windows),
    };
    this.settle();
  }

  play(step: HonestStep): void {
    if (step.kind === "deliver") this.#deliver(step.to);
    else if (step.kind === "turn") this.#turn(step.of);
    else if (step.kind === "open") this.#open(step.bytes);
    else this.conversations[step.index]?.[step.by]?.[step.verb](step.bytes);
  }

  /** Everything that can happen by itself happens, and all that comes is taken. */
  settle(): void {
    for (let isBusy = true; isBusy;) {
      for (const role of ["relay", "agent"] as const) this.#turn(role);
      isBusy = this.#deliver("relay") || this.#deliver("agent");
      for (const { relay, agent } of this.conversations) {
        relay.takeAll();
        agent?.takeAll();
      }
      isBusy ||= this.#deferred.relay.length + this.#deferred.agent.length > 0;
    }
  }

  #session(
    role: Role,
    version: number,
    windows: { window: number; maxWindow: number },
  ): Session {
    return new Session(this.sockets[role], {
      role,
      settings: { ...(role === "relay" ? relaySettings : agentSettings), ...windows },
      offersVersion2: version === 2,
      // Time goes by with each look at the clock, so that windows widen here and there.
      nowMs: () => ++this.#nowMs,
      defer: (flush) => this.#deferred[role].push(flush),
      events: {
        opened: (stream) => {
          this.conversations[stream.id - 1]!.agent = new Party(stream, 1_000 * stream.id + 500);
        },
        fault: (error) => {
          throw error;
        },
      },
    });
  }

  #open(bytes: number): void {
    const first = patterned(bytes, this.conversations.length + 77);
    const stream = this.sessions.relay.open("t:1", first);
    const relay = new Party(stream, 1_000 * stream.id);
    relay.written.push(first);
    this.conversations.push({ relay, agent: undefined });
  }

  /** Brings the next message to one side; false when there is none. */
  #deliver(to: Role): boolean {
    const from = this.sockets[to === "relay" ? "agent" : "relay"];
    const message = from.take();
    if (!message) return false;
    this.sockets[to].events.message(message);
    from.events.drained();
    return true;
  }

  #turn(role: Role): void {
    for (const run of this.#deferred[role].splice(0)) run();
  }
}

const anyWindows = fc.record({
  window: fc.integer({ min: 1, max: 60 }),
  maxWindow: fc.integer({ min: 1, max: 200 }),
});
const anySteps = fc.array(honestStep, { minLength: 10, maxLength: 80 });

/** Plays the steps, has `end` end all streams, and asserts what then has come on both sides. */
function assertDelivers(
  version: number,
  windows: { window: number; maxWindow: number },
  steps: readonly HonestStep[],
  end: (honest: Honest) => void,
  events: { relay: string[]; agent: string[] },
): void {
  const honest = new Honest(version, windows);
  try {
    for (const step of steps) honest.play(step);
    end(honest);
    for (const { relay, agent } of honest.conversations) {
      assert.deepEqual(joined(...agent!.received), joined(...relay.written));
      assert.deepEqual(joined(...relay.received), joined(...agent!.written));
      assert.deepEqual({ relay: relay.events, agent: agent!.events }, events);
    }
    const { relay, agent } = honest.sessions;
    assert.deepEqual([relay.openStreams, agent.openStreams], [0, 0]);
  } finally {
    for (const session of Object.values(honest.sessions)) session.close(4000, "Over");
  }
}

Deno.test("Session brings every byte and every end in order, however turns and messages interleave", () => {
  check(
    fc.property(anyWindows, anySteps, (windows, steps) => {
      const end = (honest: Honest): void => {
        for (const { relay } of honest.conversations) relay.stream.end();
        honest.settle();
        for (const { agent } of honest.conversations) agent!.stream.end();
        honest.settle();
      };
      assertDelivers(2, windows, steps, end, { relay: ["end"], agent: ["end"] });
    }),
    { numRuns: 500 },
  );
});

Deno.test("Session in version 1 brings every byte in order, however turns and messages interleave", () => {
  check(
    fc.property(anyWindows, anySteps, (windows, steps) => {
      const end = (honest: Honest): void => {
        honest.settle();
        for (const { agent } of honest.conversations) agent!.stream.finish();
        honest.settle();
      };
      assertDelivers(1, windows, steps, end, { relay: ["end", "closed"], agent: [] });
    }),
    { numRuns: 500 },
  );
});
