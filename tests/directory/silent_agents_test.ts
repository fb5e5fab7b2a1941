/**
 * Agents whose lines broke without a word, or that were asked to drain: the relay that still has
 * their sessions does not go on giving them requests while another relay can answer those.
 */
import { deepEqual, equal } from "node:assert/strict";
import { Session } from "../../lib/protocol/session.ts";
import { defaultSettings } from "../../lib/protocol/settings.ts";
import type { Stream } from "../../lib/protocol/stream.ts";
import { dialRelay } from "../../lib/runtime/node/dial_relay.ts";
import { TcpProxy } from "../isolation/tcp_proxy.ts";
import { eventually, untilEqual, within } from "../support/deadline.ts";
import type { RawConnection } from "../support/raw_connection.ts";
import { readResponse } from "../support/raw_http.ts";
import { hasRedis, Redis } from "../support/redis.ts";
import { refusingAddress } from "../support/target.ts";
import { LocalRelay } from "./local_relay.ts";
import { call, codeIn, openCall } from "./raw_calls.ts";
import { announce, claim, clusterKey, metric, tokenOf } from "./relays.ts";

const get = "GET /tunnel/one/";

/** Relays that share a Redis; the line of the agent that serves "one" at the first is a proxy. */
interface World {
  readonly redis: Redis;
  readonly relays: readonly LocalRelay[];
  readonly line: TcpProxy;
}

/** A test with so many relays; the agent at the first answers with "first". */
function silenceTest(name: string, count: number, test: (world: World) => Promise<void>): void {
  Deno.test({
    name,
    ignore: !hasRedis,
    async fn() {
      await using redis = await Redis.start();
      await using stack = new AsyncDisposableStack();
      const relays: LocalRelay[] = [];
      while (relays.length < count) {
        relays.push(stack.use(await LocalRelay.start(redis.url, ["one"])));
      }
      await using line = await TcpProxy.start(relays[0]!.publicAddress);
      await using _agent = await TestAgent.connect(line.address, "agent", "first");
      await eventually(() => relays[0]!.sessions === 1, "the agent's session");
      await test({ redis, relays, line });
    },
  });
}

/** An agent's session, of whatever instance the test says, which answers requests by itself. */
class TestAgent implements AsyncDisposable {
  readonly #session: Session;

  private constructor(session: Session) {
    this.#session = session;
  }

  /** @param text What it answers; "first" leaves `/wait` waiting. */
  static async connect(address: string, instance: string, text: string): Promise<TestAgent> {
    const dial = { url: `ws://${address}/connect`, token: tokenOf("one") };
    const session = new Session(await dialRelay(dial, new AbortController().signal), {
      role: "agent",
      settings: { ...defaultSettings, instance, software: "test" },
      offersVersion2: true,
      events: { opened: (stream) => answer(stream, text) },
    });
    await within(session.ready, "the session to be ready");
    return new TestAgent(session);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#session.abandon("The test is over");
    await this.#session.closed;
  }
}

function answer(stream: Stream, text: string): void {
  let hasAnswered = false;
  stream.listen({
    data(bytes) {
      stream.consumed(bytes.length);
      const isLeft = text === "first" && new TextDecoder().decode(bytes).includes("/wait");
      if (hasAnswered || isLeft) return;
      hasAnswered = true;
      const head = `HTTP/1.1 200 OK\r\nContent-Length: ${text.length}\r\n\r\n`;
      stream.write(new TextEncoder().encode(head + text));
      stream.end();
    },
    end() {},
    closed() {},
    failed() {},
    drained() {},
  });
}

/** An agent's session with another relay, once the directory has it. */
async function connectKnown(
  redis: Redis,
  relay: LocalRelay,
  instance: string,
  text: string,
): Promise<TestAgent> {
  // Each claim of a relay has the next number. The relay may not know of the session yet when the
  // agent is ready.
  const field = `${relay.name}/${relay.sessions + 1}`;
  const agent = await TestAgent.connect(relay.publicAddress, instance, text);
  await eventually(
    async () => await redis.ask("HEXISTS", clusterKey("one"), field) === ":1",
    "the session's lease",
  );
  return agent;
}

/** How a relay's sessions have ended, by its log. */
function endsOf({ log }: LocalRelay) {
  return log.lines.filter(({ message }) => message === "Agent disconnected")
    .map(({ code, reason }) => ({ code, reason }));
}

async function bodyOf({ reader }: RawConnection): Promise<string> {
  return new TextDecoder().decode((await readResponse(reader)).body);
}

const abandoned = { code: 1006, reason: "The agent does not answer, and another relay has it" };

silenceTest(
  "requests follow an agent that has gone to another relay in silence, and its old session ends",
  2,
  async ({ redis, relays, line }) => {
    const [left, found] = relays as [LocalRelay, LocalRelay];
    await using reading = await openCall(left.internalAddress, "GET /tunnel/one/wait");
    await using writing = await openCall(left.internalAddress, "POST /tunnel/one/wait", [
      "Content-Length: 0",
    ]);
    await eventually(() => left.openStreams === 2, "both requests to be under way");
    line.freeze();
    await left.untilSuspect("one");
    await using _agent = await connectKnown(redis, found, "agent", "second");
    equal(left.sessions, 1, "nothing has told the relay yet");

    const answer = await call(left.internalAddress, get);
    deepEqual([answer.status, answer.text], [200, "second"]);
    equal(left.sessions, 0);
    deepEqual(endsOf(left), [abandoned]);
    await untilEqual(() => metric(left, 'culvert_session_ends_total{reason="silent"}'), 1);
    const requested = await left.log.waitForLog(({ message, status }) =>
      message === "Request" && status === 200
    );
    deepEqual([requested.to_relay, requested.instance], [found.name, undefined]);
    equal(await bodyOf(reading), "second", "what asks for no change is sent again");
    equal(codeIn(await bodyOf(writing)), "reset", "as on any session that is lost");
    const posted = await call(
      left.internalAddress,
      "POST /tunnel/one/",
      ["Content-Length: 4"],
      "x=1\n",
    );
    equal(posted.text, "second");
    deepEqual(endsOf(found), []);
  },
);

silenceTest(
  "a forwarded request finds an agent that has left the relay it was forwarded to in silence",
  3,
  async ({ redis, relays, line }) => {
    const [left, found, asked] = relays as [LocalRelay, LocalRelay, LocalRelay];
    equal((await call(asked.internalAddress, get)).text, "first");
    line.freeze();
    await left.untilSuspect("one");
    await using _agent = await connectKnown(redis, found, "agent", "second");
    equal((await call(asked.internalAddress, get)).text, "second");
    deepEqual(endsOf(left), [abandoned]);
    await untilEqual(() => metric(asked, 'culvert_forwarded_requests_total{result="not-here"}'), 1);
  },
);

silenceTest(
  "requests follow an agent that was asked to drain, and its session goes on",
  2,
  async ({ redis, relays }) => {
    const [left, found] = relays as [LocalRelay, LocalRelay];
    left.relay.registry.pick("one")!.session.announceDrain();
    equal((await call(left.internalAddress, get)).text, "first", "nobody else has it yet");
    await using _agent = await connectKnown(redis, found, "agent", "second");
    // "Nobody has it" is believed for a second.
    await eventually(
      async () => (await call(left.internalAddress, get)).text === "second",
      "a request to follow the agent",
    );
    deepEqual(endsOf(left), []);
    equal(left.sessions, 1);
  },
);

silenceTest(
  "while an agent does not answer, another relay's agent does, and the session is left alone",
  2,
  async ({ redis, relays, line }) => {
    const [silent, other] = relays as [LocalRelay, LocalRelay];
    await using _agent = await connectKnown(redis, other, "another", "second");
    equal((await call(silent.internalAddress, get)).text, "first", "it answers itself");
    line.freeze();
    await silent.untilSuspect("one");
    equal((await call(silent.internalAddress, get)).text, "second");
    equal(silent.sessions, 1);
    deepEqual(endsOf(silent), []);
  },
);

silenceTest(
  "what a relay learnt before an agent moved does not keep it from ending the old session",
  2,
  async ({ redis, relays, line }) => {
    const [left, found] = relays as [LocalRelay, LocalRelay];
    await using _another = await connectKnown(redis, found, "another", "another");
    await announce(redis, "gone", `http://${refusingAddress()}`);
    await claim(redis, "gone", "one", { instance: "a third" });
    line.freeze();
    await left.untilSuspect("one");
    // A relay that is gone makes the rest of the answer an old one, at once.
    equal((await call(left.internalAddress, get)).text, "another");
    equal(left.sessions, 1);
    await using _agent = await connectKnown(redis, found, "agent", "second");
    equal((await call(left.internalAddress, get)).status, 200);
    deepEqual(endsOf(left), [abandoned]);
  },
);

/** Shows that a request is waiting for the agent that does not answer, and ends as that is dead. */
async function isTriedHere(relay: LocalRelay): Promise<void> {
  await using waiting = await openCall(relay.internalAddress, "DELETE /tunnel/one/");
  await eventually(() => relay.openStreams === 1, "the request to be in the session");
  await relay.untilEnded();
  equal(codeIn(await bodyOf(waiting)), "reset");
}

silenceTest(
  "an agent that does not answer is asked when no other relay has one",
  2,
  async ({ relays, line }) => {
    const silent = relays[0]!;
    line.freeze();
    await silent.untilSuspect("one");
    await isTriedHere(silent);
    await untilEqual(() => metric(silent, 'culvert_directory_lookups_total{result="none"}'), 1);
  },
);

silenceTest(
  "an agent that does not answer is asked when the other relay can't be reached",
  1,
  async ({ redis, relays: [silent], line }) => {
    await announce(redis, "gone", `http://${refusingAddress()}`);
    await claim(redis, "gone", "one", { instance: "another" });
    line.freeze();
    await silent!.untilSuspect("one");
    await isTriedHere(silent!);
    await untilEqual(
      () => metric(silent!, 'culvert_forwarded_requests_total{result="unreachable"}'),
      1,
    );
  },
);

silenceTest(
  "an agent that does not answer is asked when the directory is unavailable",
  1,
  async ({ redis, relays: [silent], line }) => {
    line.freeze();
    await silent!.untilSuspect("one");
    await redis.stop();
    await isTriedHere(silent!);
    // The client's wait before it connects again can't be ended otherwise.
    await redis.start();
    await eventually(() => silent!.relay.peers!.directory.isUp, "the directory to be back");
  },
);

silenceTest(
  "two relays whose agents do not answer send a request to and fro once",
  2,
  async ({ redis, relays, line }) => {
    const [one, two] = relays as [LocalRelay, LocalRelay];
    await using second = await TcpProxy.start(two.publicAddress);
    await using _agent = await TestAgent.connect(second.address, "another", "second");
    await eventually(
      async () => await redis.ask("HLEN", clusterKey("one")) === ":2",
      "both leases",
    );
    for (const proxy of [line, second]) proxy.freeze();
    for (const relay of [one, two]) await relay.untilSuspect("one");
    await using waiting = await openCall(one.internalAddress, get);
    await eventually(() => two.openStreams === 1, "the request to be at the other relay");
    equal(one.openStreams, 0);
    await two.untilEnded();
    const { body } = await readResponse(waiting.reader);
    equal(codeIn(new TextDecoder().decode(body)), "reset");
  },
);

silenceTest(
  "a read whose agent is lost waits for it and is answered where it comes back, a write is not",
  2,
  async ({ redis, relays }) => {
    const [left, found] = relays as [LocalRelay, LocalRelay];
    await using reading = await openCall(left.internalAddress, "GET /tunnel/one/wait");
    await using writing = await openCall(left.internalAddress, "DELETE /tunnel/one/wait");
    await eventually(() => left.openStreams === 2, "both requests to be under way");
    left.relay.registry.pick("one")!.session.abandon("The line broke");
    equal(codeIn(await bodyOf(writing)), "reset");
    await using _agent = await connectKnown(redis, found, "agent", "second");
    equal(await bodyOf(reading), "second");
    await untilEqual(() => metric(left, 'culvert_request_retries_total{reason="session_lost"}'), 1);
    equal(left.log.lines.filter(({ message }) => message === "Retrying a request").length, 1);
  },
);
