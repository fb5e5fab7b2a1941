/**
 * Sessions under any order of events: what a peer sends, legal or not, what streams' owners do, turns
 * of the event loop, a full socket, ends of all kinds. The network and the turns are played by hand,
 * so a failing order is the same each time.
 */
import assert from "node:assert/strict";
import fc, { type IAsyncProperty, type IProperty } from "fast-check";
import { StreamError } from "../../lib/protocol/errors.ts";
import { maxTurnFrames } from "../../lib/protocol/inbox.ts";
import type { Announcement } from "../../lib/protocol/announcement.ts";
import type { StreamKind } from "../../lib/protocol/target_key.ts";
import { Session } from "../../lib/protocol/session.ts";
import type { Stream } from "../../lib/protocol/stream.ts";
import type { StreamEvents } from "../../lib/protocol/stream_events.ts";
import { anyBytes } from "./property.ts";
import { agentSettings, ManualSocket, relaySettings } from "./session_setup.ts";
import type { Role } from "./transports.ts";
import { batch, credit, type Frame, frame, framesOf, open, patterned, T, uint32 } from "./wire.ts";

/** A stream's owner that notes everything that must not happen. */
class Witness implements StreamEvents {
  readonly stream: Stream;
  readonly complaints: string[] = [];
  received = 0;
  unconsumed = 0;
  hasPeerEnded = false;
  /** Whether the owner was told that the stream is over: `closed` or `failed`. */
  isTold = false;
  /** Whether the owner ended the stream, or its half of it, itself. */
  hasGivenUp = false;
  hasFinished = false;
  hasEnded = false;
  /** It throws at what it is told next, but for the end of the stream. */
  throwsNext = false;
  /** Whether the stream's kind is confirmed, and has not been. */
  #awaitsConnected: boolean;

  constructor(stream: Stream, awaitsConnected = false) {
    this.stream = stream;
    this.#awaitsConnected = awaitsConnected;
    stream.listen(this);
  }

  connected(): void {
    if (!this.#awaitsConnected) this.complaints.push("connected, and nobody waited for it");
    this.#awaitsConnected = false;
    this.#note("connected");
  }

  data(bytes: Uint8Array): void {
    if (this.hasPeerEnded) this.complaints.push("data after end");
    if (this.#awaitsConnected) this.complaints.push("data before connected");
    this.#note("data");
    this.received += bytes.length;
    this.unconsumed += bytes.length;
  }

  end(): void {
    if (this.hasPeerEnded) this.complaints.push("a second end");
    if (this.#awaitsConnected) this.complaints.push("end before connected");
    this.#note("end");
    this.hasPeerEnded = true;
  }

  closed(): void {
    this.#note("closed");
    this.isTold = true;
  }

  failed(): void {
    this.#note("failed");
    this.isTold = true;
  }

  drained(): void {
    this.#note("drained");
  }

  /** Does what an owner may do. */
  act(act: OwnerAct): void {
    const { stream } = this;
    if (act.verb === "write") stream.write(patterned(act.bytes));
    else if (act.verb === "take") this.take(Math.min(act.bytes, this.unconsumed));
    else if (act.verb === "throw") this.throwsNext = true;
    else if (act.verb === "accept") stream.accept();
    else if (act.verb === "end") {
      this.hasEnded = true;
      stream.end();
    } else if (act.verb === "finish") {
      this.hasFinished = true;
      stream.finish();
    } else {
      this.hasGivenUp = true;
      if (act.verb === "close") stream.close();
      else stream.fail(new StreamError("internal", "given up"));
    }
  }

  take(bytes: number): void {
    this.unconsumed -= bytes;
    this.stream.consumed(bytes);
  }

  /** What went wrong, once the session is over. */
  verdict(): string[] {
    const mayBeUntold = this.hasGivenUp || this.hasFinished || (this.hasEnded && this.hasPeerEnded);
    const isLost = !this.isTold && !mayBeUntold ? ["was not told of the end"] : [];
    const isOpen = this.stream.isOver ? [] : ["is still open"];
    return [...this.complaints, ...isLost, ...isOpen];
  }

  #note(event: string): void {
    if (this.isTold) this.complaints.push(`${event} after the end`);
    if (this.hasGivenUp) this.complaints.push(`${event} after the owner gave up`);
    if (!this.throwsNext || event === "closed" || event === "failed") return;
    this.throwsNext = false;
    throw new Error("A bug of the owner's");
  }
}

const announcement: Announcement = {
  targets: [{ name: "t:1", kind: "tcp" }],
  hostnames: [{ hostname: "a.example.com", target: "t:1" }],
  hash: "a",
};

interface OwnerAct {
  readonly verb: "write" | "take" | "end" | "finish" | "close" | "fail" | "throw" | "accept";
  readonly bytes: number;
}

/** One thing that happens to a session. */
type Step =
  | { readonly kind: "message"; readonly bytes: Uint8Array }
  | { readonly kind: "owner"; readonly index: number; readonly act: OwnerAct }
  | { readonly kind: "open" | "open-tcp" | "announce" | "notify" | "turn" | "full" | "drained" }
  | { readonly kind: "drain" | "close" | "lost" | "text" };

/** A kind of session. */
interface Kind {
  readonly role: Role;
  readonly version: number;
}

const someStream = fc.integer({ min: 1, max: 6 });
const someBytes = anyBytes(8);

/** Frames that a peer of such a session may send at one time or another. */
function legalFrames({ role, version }: Kind): fc.Arbitrary<Uint8Array> {
  const onStream = (type: number) => someStream.map((id) => frame(type, id));
  const withBytes = (type: number) =>
    fc.tuple(someStream, someBytes).map(([id, bytes]) => frame(type, id, bytes));
  const always = [
    { weight: 6, arbitrary: withBytes(T.Data) },
    { weight: 1, arbitrary: onStream(T.Close) },
    { weight: 1, arbitrary: withBytes(T.Error) },
    { weight: 1, arbitrary: fc.constant(frame(T.Ping, 0, "12345678")) },
    { weight: 1, arbitrary: someBytes.map((bytes) => frame(T.Pong, 0, bytes)) },
  ];
  if (version === 1) {
    const opening = onStream(role === "relay" ? T.Connected : T.Connect);
    return fc.oneof(...always, { weight: 4, arbitrary: opening });
  }
  const grant = fc.tuple(someStream, fc.integer({ min: 1, max: 20 })).map((args) =>
    credit(...args)
  );
  const returned = fc.tuple(someStream, fc.integer({ min: 1, max: 4 })).map(([id, bytes]) =>
    frame(T.Return, id, uint32(bytes))
  );
  const target = fc.constantFrom("t:1", "tcp://pg", "udp://dns");
  const opening = fc.tuple(someStream, target, someBytes).map((args) => open(...args));
  const announce = fc.constantFrom(announcement, { ...announcement, hostnames: [], hash: "b" })
    .map((value) => frame(T.Announce, 0, JSON.stringify(value)));
  const notice = fc.constant(frame(T.Notice, 0, '{"code":"later","message":"m"}'));
  return fc.oneof(
    ...always,
    { weight: 2, arbitrary: withBytes(T.End) },
    { weight: 4, arbitrary: grant },
    { weight: 1, arbitrary: fc.constant(frame(T.Drain, 0)) },
    { weight: 1, arbitrary: returned },
    { weight: role === "agent" ? 4 : 0, arbitrary: opening },
    { weight: role === "relay" ? 4 : 1, arbitrary: onStream(T.Connected) },
    { weight: 1, arbitrary: role === "relay" ? announce : notice },
  );
}

/** Messages that end a session, unless they are ignored. */
const illegalMessage: fc.Arbitrary<Uint8Array> = fc.oneof(
  fc.tuple(fc.nat(20), fc.nat(7), anyBytes(30)).map((args) => frame(...args)),
  fc.constant(frame(T.Settings, 0, JSON.stringify(agentSettings))),
  anyBytes(20),
);

function messages(kind: Kind): fc.Arbitrary<Uint8Array> {
  const legal = legalFrames(kind);
  const batched = fc.array(legal, { minLength: 1, maxLength: 4 }).map((frames) => batch(...frames));
  // More than are read in one turn.
  const long = fc.tuple(
    legal,
    legal,
    fc.integer({ min: maxTurnFrames / 2, max: 2 * maxTurnFrames }),
  )
    .map(([first, second, pairs]) =>
      batch(...Array.from({ length: pairs }, () => [first, second]).flat())
    );
  return fc.oneof(
    { weight: 400, arbitrary: legal },
    { weight: 100, arbitrary: batched },
    { weight: 1, arbitrary: long },
    { weight: 10, arbitrary: illegalMessage },
  );
}

const verbs: OwnerAct["verb"][] = [
  ...Array<"write">(3).fill("write"),
  ...Array<"take">(3).fill("take"),
  "end",
  "finish",
  "close",
  "fail",
  "throw",
  "accept",
];
const anyAct: fc.Arbitrary<OwnerAct> = fc.record({
  verb: fc.constantFrom<OwnerAct["verb"][]>(...verbs),
  bytes: fc.integer({ min: 0, max: 40 }),
});
function steps(kind: Kind): fc.Arbitrary<Step[]> {
  const message = messages(kind).map((bytes): Step => ({ kind: "message", bytes }));
  const owner = fc.tuple(fc.nat(5), anyAct)
    .map(([index, act]): Step => ({ kind: "owner", index, act }));
  const of = (...kinds: Exclude<Step["kind"], "message" | "owner">[]) =>
    fc.constantFrom(...kinds).map((kind): Step => ({ kind }));
  const step = fc.oneof(
    { weight: 30, arbitrary: message },
    { weight: 30, arbitrary: owner },
    { weight: 15, arbitrary: of("turn") },
    // Only a relay opens streams.
    { weight: kind.role === "relay" ? 10 : 0, arbitrary: of("open", "open-tcp") },
    { weight: 1, arbitrary: of(kind.role === "relay" ? "notify" : "announce") },
    { weight: 6, arbitrary: of("full", "drained", "drained") },
    { weight: 1, arbitrary: of("drain", "close", "lost", "text") },
  );
  return fc.array(step, { minLength: 20, maxLength: 80 });
}

/** A session of which everything around is played by hand. */
class Played {
  readonly socket = new ManualSocket();
  readonly session: Session;
  readonly witnesses: Witness[] = [];
  readonly faults: unknown[] = [];
  readonly drains: Promise<void>[] = [];
  readonly #deferred: (() => void)[] = [];

  constructor({ role, version }: Kind) {
    const common = { window: 20, maxWindow: 60, maxStreams: 3 };
    this.session = new Session(this.socket, {
      role,
      settings: { ...(role === "relay" ? relaySettings : agentSettings), ...common },
      offersVersion2: version === 2,
      nowMs: () => 0,
      ...(role === "agent" && { announcement }),
      windowBudgetBytes: 100,
      defer: (flush) => this.#deferred.push(flush),
      events: {
        opened: (stream) => this.witnesses.push(new Witness(stream)),
        fault: (error) => this.faults.push(error),
      },
    });
    this.endTurn();
    if (version === 2) {
      const announces = role === "relay" && { announces: true };
      const own = role === "relay" ? agentSettings : relaySettings;
      const settings = { ...own, ...common, ...announces };
      this.socket.events.message(frame(T.Settings, 0, JSON.stringify(settings)));
      if (role === "relay") {
        this.socket.events.message(frame(T.Announce, 0, JSON.stringify(announcement)));
      }
    }
  }

  play(step: Step): void {
    const { session, socket } = this;
    if (step.kind === "message") socket.events.message(step.bytes);
    else if (step.kind === "owner") this.witnesses[step.index]?.act(step.act);
    else if (step.kind === "open") this.#open("http");
    else if (step.kind === "open-tcp") this.#open("tcp");
    else if (step.kind === "announce") session.announce(announcement);
    else if (step.kind === "notify") session.notify({ code: "later", message: "m" });
    else if (step.kind === "turn") this.endTurn();
    else if (step.kind === "full") socket.bufferedAmount = Number.MAX_SAFE_INTEGER;
    else if (step.kind === "drained") this.#drained();
    else if (step.kind === "drain") this.drains.push(session.drain(60_000));
    else if (step.kind === "close") session.close(4000, "Closed by the test");
    else if (step.kind === "text") socket.events.text("");
    else socket.events.closed(1006, "");
  }

  endTurn(): void {
    for (const run of this.#deferred.splice(0)) run();
  }

  #open(kind: StreamKind): void {
    try {
      const stream = this.session.open("t:1", patterned(5), { kind });
      this.witnesses.push(new Witness(stream, kind === "tcp"));
    } catch (error) {
      if (!(error instanceof StreamError)) throw error;
    }
  }

  #drained(): void {
    this.socket.bufferedAmount = 0;
    this.socket.events.drained();
  }
}

/** Whatever happens: owners are told what is true and when it is over, and nothing is left. */
export function endsCleanly(): IAsyncProperty<[{ kind: Kind; steps: Step[] }]> {
  const kinds = fc.record({
    role: fc.constantFrom<Role>("relay", "agent"),
    version: fc.constantFrom(1, 2),
  });
  const plays = kinds.chain((kind) => steps(kind).map((steps) => ({ kind, steps })));
  return fc.asyncProperty(plays, async ({ kind, steps }) => {
    const played = new Played(kind);
    try {
      for (const step of steps) {
        played.play(step);
        // What a turn has no room for is read in the next ones.
        if (step.kind === "message" && step.bytes.length > 5_000) {
          await new Promise((resolve) => setTimeout(resolve, step.bytes.length % 3));
        }
      }
    } finally {
      played.session.close(4000, "The test is over");
    }
    const { session, witnesses } = played;
    await Promise.all([session.closed, ...played.drains]);
    session.ready.catch(() => {});
    assert.deepEqual(played.faults, []);
    assert.deepEqual(witnesses.map((witness) => witness.verdict()), witnesses.map(() => []));
    assert.equal(session.openStreams, 0);
  });
}

/** Whatever happens: no stream sends more than its window and the credit that came. */
export function keepsToCredit(): IProperty<[Step[]]> {
  const kind: Kind = { role: "relay", version: 2 };
  return fc.property(steps(kind), (steps) => {
    const played = new Played(kind);
    const granted = new Map<number, number>();
    let isOver = false;
    for (const step of steps) {
      if (isOver) break;
      if (step.kind === "message") {
        for (const { stream, payload } of creditsIn(step.bytes)) {
          add(granted, stream, new DataView(payload.buffer, payload.byteOffset, 4).getUint32(0));
        }
      }
      played.play(step);
      isOver = played.session.isClosed;
      const sent = new Map<number, number>();
      for (const item of played.socket.sent.flatMap(framesOf)) {
        add(sent, item.stream, sizeOf(item));
      }
      for (const [id, bytes] of sent) assert.ok(bytes <= 20 + (granted.get(id) ?? 0));
    }
    played.session.close(4000, "The test is over");
    played.session.ready.catch(() => {});
  });
}

/** The well-formed Credits of a message; one that is malformed ends the session. */
function creditsIn(message: Uint8Array): Frame[] {
  try {
    return framesOf(message).filter(({ type, payload }) =>
      type === T.Credit && payload.length === 4
    );
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return [];
  }
}

function add(counts: Map<number, number>, id: number, bytes: number): void {
  counts.set(id, (counts.get(id) ?? 0) + bytes);
}

/** Bytes of a frame that count against its stream's credit. */
function sizeOf({ type, payload }: Frame): number {
  if (type === T.Data || type === T.End) return payload.length;
  return type === T.Open ? payload.length - 2 - (payload[0]! << 8 | payload[1]!) : 0;
}
