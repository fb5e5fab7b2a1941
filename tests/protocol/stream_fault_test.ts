/** A stream's owner that throws ends its stream, and neither the session nor another stream. */
import assert from "node:assert/strict";
import { StreamError } from "../../lib/protocol/errors.ts";
import { Session } from "../../lib/protocol/session.ts";
import type { Stream } from "../../lib/protocol/stream.ts";
import type { StreamEvents } from "../../lib/protocol/stream_events.ts";
import { agentSettings, ManualSocket, relaySettings, StreamLog } from "./session_setup.ts";
import { type Frame, frame, open, patterned, T } from "./wire.ts";

const fault = new TypeError("a bug");

/** An agent's session with one stream whose owner throws, and another one. */
class Setup implements Disposable {
  readonly socket = new ManualSocket();
  readonly faults: [unknown, number][] = [];
  readonly told: string[] = [];
  readonly session: Session;
  readonly other: StreamLog;
  stream!: Stream;

  /** @param throwing What of the owner throws. */
  constructor(throwing: readonly (keyof StreamEvents)[], onOpen = () => {}) {
    let other: StreamLog | undefined;
    this.session = new Session(this.socket, {
      role: "agent",
      settings: agentSettings,
      offersVersion2: true,
      events: {
        opened: (stream) => {
          if (stream.id === 2) {
            other = new StreamLog(stream);
            return;
          }
          this.stream = stream;
          onOpen();
          stream.listen(this.#owner(throwing));
        },
        streamFault: (error, id) => this.faults.push([error, id]),
        fault: (error) => assert.fail(`the session had a fault: ${error}`),
      },
    });
    this.receive(
      frame(T.Settings, 0, JSON.stringify({ ...relaySettings, window: 20_000 })),
      open(2, "t:1"),
    );
    this.other = other!;
  }

  receive(...messages: Uint8Array[]): void {
    for (const message of messages) this.socket.events.message(message);
  }

  /** The Errors that have gone out. */
  async errors(): Promise<Frame[]> {
    await Promise.resolve();
    return this.socket.takeFrames().filter(({ type }) => type === T.Error);
  }

  #owner(throwing: readonly (keyof StreamEvents)[]): StreamEvents {
    const tell = (what: keyof StreamEvents, detail = "") => {
      this.told.push(`${what}${detail}`);
      if (throwing.includes(what)) throw fault;
    };
    return {
      data: () => tell("data"),
      end: () => tell("end"),
      closed: () => tell("closed"),
      failed: ({ code }: StreamError) => tell("failed", ` ${code}`),
      drained: () => tell("drained"),
    };
  }

  [Symbol.dispose](): void {
    this.session.close(1001, "The test is over");
  }
}

async function assertOnlyThatStream(setup: Setup): Promise<void> {
  assert.equal(setup.session.isClosed, false);
  assert.deepEqual(setup.faults[0], [fault, 1]);
  assert.equal(setup.stream.isOver, true);
  setup.receive(frame(T.Data, 1, "late"), frame(T.Data, 2, "goes on"));
  await setup.other.untilBytes(7);
  assert.equal(setup.other.text, "goes on");
}

/** What has the owner told, by what throws. */
const cases: [keyof StreamEvents, Uint8Array[], string[]][] = [
  ["data", [open(1, "t:1", "x")], ["data", "failed internal"]],
  ["end", [open(1, "t:1"), frame(T.End, 1)], ["end", "failed internal"]],
];

for (const [what, messages, told] of cases) {
  Deno.test(`Stream ends with internal when its owner throws at ${what}, and the session goes on`, async () => {
    using setup = new Setup([what]);
    setup.receive(...messages);
    const [error, ...more] = await setup.errors();
    assert.equal(JSON.parse(new TextDecoder().decode(error!.payload)).code, "internal");
    assert.deepEqual([error!.stream, more], [1, []]);
    assert.deepEqual(setup.told, told);
    await assertOnlyThatStream(setup);
  });
}

Deno.test("Stream ends with internal when its owner throws as it is opened", async () => {
  using setup = new Setup([], () => {
    throw fault;
  });
  setup.receive(open(1, "t:1", "x"));
  assert.equal((await setup.errors()).length, 1);
  assert.deepEqual(setup.told, []);
  await assertOnlyThatStream(setup);
});

Deno.test("Stream ends with internal when its owner throws as there is room again", async () => {
  using setup = new Setup(["drained"]);
  setup.receive(open(1, "t:1"));
  setup.stream.write(patterned(40_000));
  await Promise.resolve();
  // The credit for all of it, and so room for more.
  setup.receive(frame(T.Credit, 1, Uint8Array.of(0, 1, 0, 0)));
  assert.equal((await setup.errors()).length, 1);
  assert.deepEqual(setup.told, ["drained", "failed internal"]);
  await assertOnlyThatStream(setup);
});

for (const what of ["closed", "failed"] as const) {
  Deno.test(`Stream that has ended leaves the session alone when its owner throws at ${what}`, async () => {
    using setup = new Setup([what]);
    setup.receive(open(1, "t:1"), frame(what === "closed" ? T.Close : T.Error, 1, ""));
    assert.deepEqual(await setup.errors(), []);
    assert.equal(setup.told.length, 1);
    await assertOnlyThatStream(setup);
  });
}

Deno.test("Stream whose owner throws at everything is ended once", async () => {
  using setup = new Setup(["data", "failed"]);
  setup.receive(open(1, "t:1", "x"));
  assert.equal((await setup.errors()).length, 1);
  assert.deepEqual(setup.told, ["data", "failed internal"]);
  assert.equal(setup.faults.length, 2);
  await assertOnlyThatStream(setup);
});

Deno.test("Session that ends tells every stream's owner, though one of them throws", () => {
  using setup = new Setup(["failed"]);
  setup.receive(open(1, "t:1"));
  setup.session.close(1001, "over");
  assert.deepEqual(setup.other.events, ["failed reset: The session ended: over"]);
});
