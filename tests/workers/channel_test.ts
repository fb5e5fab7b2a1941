/** Calls between a parent and a worker. */
import { deepEqual, equal, rejects } from "node:assert/strict";
import { type Calls, Channel, type Message } from "../../lib/workers/channel.ts";

type Answering = {
  double(value: number): number;
  later(value: string): Promise<string>;
  fail(nothing: null): never;
  never(nothing: null): Promise<void>;
};

/** Two ends, and what goes over the wire as JSON. */
function wire() {
  const calls: Answering = {
    double: (value) => 2 * value,
    later: async (value) => {
      await Promise.resolve();
      return `${value}!`;
    },
    fail: () => {
      throw new Error("it can't be done");
    },
    never: () => new Promise(() => {}),
  };
  const copy = (message: Message): Message => JSON.parse(JSON.stringify(message));
  const asking: Channel<Answering> = new Channel<Answering>({
    send: (message) => queueMicrotask(() => answering.received(copy(message))),
    calls: {},
  });
  const answering: Channel<Calls, Answering> = new Channel<Calls, Answering>({
    send: (message) => queueMicrotask(() => asking.received(copy(message))),
    calls,
  });
  return { asking, answering };
}

Deno.test("Channel answers each call with what belongs to it", async () => {
  const { asking } = wire();
  const answers = await Promise.all([
    asking.call("later", "one"),
    asking.call("double", 21),
    asking.call("later", "two"),
  ]);
  deepEqual(answers, ["one!", 42, "two!"]);
});

Deno.test("Channel passes on why a call failed, also one that there is not", async () => {
  const { asking } = wire();
  await rejects(asking.call("fail", null), /^Error: it can't be done$/);
  const unknown = asking as unknown as Channel<{ nonsense(nothing: null): void }>;
  await rejects(unknown.call("nonsense", null), /no call "nonsense"/);
});

Deno.test("Channel waits no longer than it is told", async () => {
  const { asking } = wire();
  await rejects(asking.call("never", null, 1), /^Error: No answer to never within 1 ms$/);
});

Deno.test("Channel fails calls that wait, and all later ones, when the other side is gone", async () => {
  const { asking } = wire();
  const waiting = asking.call("never", null, Infinity);
  asking.close("The worker has ended");
  await rejects(waiting, /^Error: The worker has ended$/);
  await rejects(asking.call("double", 1), /^Error: The worker has ended$/);
});

Deno.test("Channel fails a call that can't be sent", async () => {
  const channel = new Channel<Answering>({
    send: () => {
      throw new Error("EPIPE");
    },
    calls: {},
  });
  await rejects(channel.call("double", 1), /^Error: EPIPE$/);
  equal(channel.received({ reply: 99, result: 1 }), undefined);
});
