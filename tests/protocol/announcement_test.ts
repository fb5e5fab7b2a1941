/** What an agent announces, what a relay tells it, and streams of other kinds than HTTP. */
import assert from "node:assert/strict";
import fc from "fast-check";
import {
  type Announcement,
  decodeAnnouncement,
  decodeNotice,
  encodeAnnouncement,
  encodeNotice,
  maxAnnouncedTargets,
  maxAnnouncementBytes,
  maxClaimedHostnames,
  maxNoticeBytes,
  type Notice,
} from "../../lib/protocol/announcement.ts";
import { ProtocolError, StreamError } from "../../lib/protocol/errors.ts";
import type { SessionEvents } from "../../lib/protocol/session_options.ts";
import { isStreamKind, parseTargetKey } from "../../lib/protocol/target_key.ts";
import { within } from "../support/deadline.ts";
import { anyBytes, check } from "./property.ts";
import { agentSettings as settings, RawPair, SessionPair, StreamLog } from "./session_setup.ts";
import { memory, type Transport, transports } from "./transports.ts";
import { bytesOf, frame, open, T } from "./wire.ts";

const announcement: Announcement = {
  targets: [{ name: "web", kind: "http", host: "web.svc:80" }, { name: "pg", kind: "tcp" }],
  hostnames: [{ hostname: "hello.example.com", target: "web" }],
  hash: "abc",
};

function overEach(name: string, run: (transport: Transport) => Promise<void>): void {
  for (const transport of transports) {
    Deno.test(`Session ${name} (${transport.name})`, () => run(transport));
  }
}

/** A payload with these changes, as a peer would send it. */
function payloadOf(changes: Record<string, unknown>): Uint8Array {
  return bytesOf(JSON.stringify({ ...announcement, ...changes }));
}

const plain = { noNullPrototype: true };
const anyAnnouncement: fc.Arbitrary<Announcement> = fc.record({
  targets: fc.uniqueArray(
    fc.record({
      name: fc.stringMatching(/^[a-z0-9-]{1,63}$/),
      kind: fc.constantFrom("http", "tcp"),
    }, plain),
    { maxLength: 20, selector: ({ name }) => name },
  ),
  hostnames: fc.uniqueArray(
    fc.record({
      hostname: fc.stringMatching(/^[a-z0-9]{1,20}(\.[a-z0-9]{1,9}){0,3}$/),
      target: fc.constant("a"),
    }, plain),
    { maxLength: 20, selector: ({ hostname }) => hostname },
  ),
}, plain);

Deno.test("decodeAnnouncement gives back what encodeAnnouncement was given", () => {
  check(fc.property(anyAnnouncement, (value) => {
    assert.deepEqual(decodeAnnouncement(encodeAnnouncement(value)), value);
  }));
});

Deno.test("decodeAnnouncement and decodeNotice throw nothing but a protocol error for any bytes", () => {
  const anyText = fc.jsonValue().map((value) => bytesOf(JSON.stringify(value)));
  const anyObject = fc.record({
    targets: fc.jsonValue(),
    hostnames: fc.jsonValue(),
    hash: fc.jsonValue(),
    code: fc.jsonValue(),
    message: fc.jsonValue(),
  }, { requiredKeys: [] }).map((value) => bytesOf(JSON.stringify(value)));
  check(fc.property(fc.oneof(anyBytes(60), anyText, anyObject), (payload) => {
    for (const decode of [decodeAnnouncement, decodeNotice]) {
      try {
        decode(payload);
      } catch (error) {
        assert.ok(error instanceof ProtocolError, String(error));
      }
    }
  }));
});

Deno.test("decodeAnnouncement ignores keys that it does not know, and takes kinds that it does not know", () => {
  const targets = [{ name: "a", kind: "udp", weight: 3 }];
  const decoded = decodeAnnouncement(payloadOf({ targets, later: [1] }));
  assert.deepEqual(decoded, { ...announcement, targets: [{ name: "a", kind: "udp" }] });
});

Deno.test("decodeAnnouncement names the key that is wrong", () => {
  const target = { name: "a", kind: "http" };
  const claim = { hostname: "a.example.com", target: "a" };
  const many = (count: number) =>
    Array.from({ length: count }, (_, n) => ({ ...target, name: `n${n}` }));
  const claims = (count: number) =>
    Array.from({ length: count }, (_, n) => ({ ...claim, hostname: `h${n}.example.com` }));
  const cases: [string, unknown[]][] = [
    ["targets", [undefined, null, {}, many(maxAnnouncedTargets + 1), [target, target]]],
    ["targets.0.name", ["", "a b", "ä", "x".repeat(261), 7].map((name) => [{ ...target, name }])],
    ["targets.0.kind", ["", "TCP", "a/b", 7].map((kind) => [{ ...target, kind }])],
    ["targets.0.host", ["", "a\r\nb", 7].map((host) => [{ ...target, host }])],
    ["hostnames", [null, 7, claims(maxClaimedHostnames + 1), [claim, claim]]],
    [
      "hostnames.0.hostname",
      ["", "A.example.com", "*.example.com", "a..b", "a.", "-a", "a:80", `${"a.".repeat(126)}aa`, 7]
        .map((hostname) => [{ ...claim, hostname }]),
    ],
    ["hostnames.0.target", [undefined, ""].map((target) => [{ ...claim, target }])],
    ["hash", [null, 7, "x".repeat(129)]],
  ];
  for (const [path, values] of cases) {
    const key = path.split(".")[0]!;
    for (const value of values) {
      assert.throws(
        () => decodeAnnouncement(payloadOf({ [key]: value })),
        (error: Error) =>
          error instanceof ProtocolError && error.message.startsWith(`Announce: ${path}: `),
        `${path}=${JSON.stringify(value)?.slice(0, 99)}`,
      );
    }
  }
  const long = bytesOf(" ".repeat(maxAnnouncementBytes + 1));
  assert.throws(() => decodeAnnouncement(long), { message: /at most 524288/ });
});

Deno.test("the largest table that may be announced fits into an Announce", () => {
  const largest = {
    targets: Array.from({ length: maxAnnouncedTargets }, (_, index) => ({
      name: String(index).padStart(63, "x"),
      kind: "http",
      host: "h".repeat(260),
    })),
    hostnames: Array.from({ length: maxClaimedHostnames }, (_, index) => ({
      hostname: [String(index).padStart(63, "x"), ...Array(3).fill("y".repeat(62))].join("."),
      target: "x".repeat(63),
    })),
    hash: "f".repeat(128),
  };
  assert.deepEqual(decodeAnnouncement(encodeAnnouncement(largest)), largest);
});

Deno.test("encodeNotice cuts a message that is too long", () => {
  const notice = { code: "hostname_refused", message: "\u{20ac}".repeat(5_000) };
  const payload = encodeNotice(notice);
  assert.ok(payload.length <= maxNoticeBytes);
  assert.equal(decodeNotice(payload).message.length, 1_000);
});

Deno.test("parseTargetKey takes for a kind only what no target's name can be", () => {
  const names = [
    "web",
    "127.0.0.1:80",
    "[::1]:80",
    "host:443",
    "TCP://a",
    "://a",
    "tcp:/a",
    "1a://b",
    "",
  ];
  for (const name of names) assert.deepEqual(parseTargetKey(name), { kind: "http", name });
  assert.deepEqual(parseTargetKey("udp://pg"), { kind: "udp", name: "pg" });
  assert.deepEqual(parseTargetKey("http://web"), { kind: "http", name: "web" });
  assert.deepEqual([isStreamKind("tcp"), isStreamKind("udp")], [true, false]);
});

/** A pair of sessions whose agent announces; what it was told, and what the relay was. */
async function announcingPair(
  transport: Transport,
  relay: SessionEvents = {},
  agent: SessionEvents = {},
): Promise<SessionPair> {
  return await SessionPair.ready(transport, {
    relay: { events: relay },
    agent: { announcement, events: agent },
  });
}

overEach(
  "of the relay is ready once it knows what the agent serves, and hears of changes",
  async (transport) => {
    const heard: Announcement[] = [];
    const next = Promise.withResolvers<void>();
    const notices: Notice[] = [];
    const noticed = Promise.withResolvers<void>();
    await using pair = await announcingPair(transport, {
      announced: (value) => {
        if (heard.push(value) === 2) next.resolve();
      },
    }, {
      noticed: (notice) => {
        notices.push(notice);
        noticed.resolve();
      },
    });
    assert.deepEqual(pair.relay.announced, announcement);
    const changed = { ...announcement, targets: [], hash: "def" };
    pair.agent.announce(changed);
    await within(next.promise, "the second announcement");
    assert.deepEqual(heard, [announcement, changed]);
    assert.deepEqual(pair.relay.announced, changed);
    pair.relay.notify({ code: "hostname_refused", message: "why" });
    await within(noticed.promise, "the notice");
    assert.deepEqual(notices, [{ code: "hostname_refused", message: "why" }]);
  },
);

Deno.test("Session of the relay waits for an Announce that was promised", async () => {
  await using pair = await RawPair.connect(memory, "relay");
  pair.peer.sendSettings({ ...settings, announces: true });
  await pair.peer.roundTrip();
  let isReady = false;
  pair.session.ready.then(() => isReady = true);
  await pair.peer.roundTrip();
  assert.equal(isReady, false);
  pair.peer.send(frame(T.Announce, 0, encodeAnnouncement(announcement)));
  await within(pair.session.ready, "the session to be ready");
  assert.deepEqual(pair.session.announced, announcement);
});

overEach("of the relay ends for an Announce that is not valid", async (transport) => {
  await using pair = await RawPair.connect(transport, "relay");
  pair.peer.sendSettings({ ...settings, announces: true });
  pair.peer.send(frame(T.Announce, 0, bytesOf('{"targets":7}')));
  const end = await within(pair.session.closed, "the session's end");
  assert.equal(end.code, 1002);
  assert.match(end.reason, /^Announce: targets: /);
});

Deno.test("Session of the relay ends for more announcements than it can be expected to read", async () => {
  await using pair = await RawPair.connect(memory, "relay");
  pair.peer.sendSettings({ ...settings, announces: true });
  const padding = bytesOf(JSON.stringify({ targets: [], padding: "x".repeat(500 * 1024) }));
  // 65,536 frames' worth at once, at one for each KiB.
  for (let count = 0; count < 400; count++) pair.peer.send(frame(T.Announce, 0, padding));
  const end = await within(pair.session.closed, "the session's end");
  assert.equal(end.code, 4002);
});

Deno.test("Session of the relay tells an agent nothing that does not announce", async () => {
  await using pair = await RawPair.ready(memory, "relay");
  pair.session.notify({ code: "hostname_refused", message: "why" });
  await pair.peer.roundTrip();
  assert.equal(pair.peer.frames.some(({ type }) => type === T.Notice), false);
});

Deno.test("Session opens no stream of another kind to an agent that knows no kinds", async () => {
  await using pair = await RawPair.ready(memory, "relay");
  assert.throws(
    () => pair.session.open("pg", bytesOf(""), { kind: "tcp" }),
    (error: unknown) => error instanceof StreamError && error.code === "kind_not_supported",
  );
  assert.equal(pair.session.openStreams, 0);
});

overEach("of the agent hears which kind of stream the relay opens", async (transport) => {
  const opened: string[][] = [];
  await using pair = await RawPair.ready(transport, "agent", {
    events: { opened: (stream, ...rest) => (opened.push(rest), stream.close()) },
  });
  pair.peer.send(open(1, "h:1"), open(2, "tcp://pg"), open(3, "udp://dns"));
  await pair.peer.roundTrip();
  assert.deepEqual(opened, [["h:1", "http"], ["pg", "tcp"], ["dns", "udp"]]);
});

overEach(
  "tells who opened a stream of TCP when the agent has its target, before any byte",
  async (transport) => {
    await using pair = await announcingPair(transport);
    const events: string[] = [];
    const done = Promise.withResolvers<void>();
    const stream = pair.relay.open("pg", bytesOf("hi"), { kind: "tcp" });
    stream.listen({
      connected: () => events.push("connected"),
      data: (bytes) => {
        events.push(new TextDecoder().decode(bytes));
        stream.consumed(bytes.length);
      },
      end: () => {
        events.push("end");
        done.resolve();
      },
      closed() {},
      failed: (error) => done.reject(error),
      drained() {},
    });
    const { target, log } = await pair.acceptedAt(0);
    assert.equal(target, "pg");
    await log.untilBytes(2);
    log.stream.accept();
    log.stream.write(bytesOf("yo"));
    log.stream.end();
    await within(done.promise, "the stream's end");
    assert.deepEqual([events[0], events.slice(1, -1).join(""), events.at(-1)], [
      "connected",
      "yo",
      "end",
    ]);
    stream.end();
    await log.untilEvent("end");
  },
);

for (const type of [T.Data, T.End]) {
  overEach(
    `of the relay ends for bytes of a TCP stream before Connected (0x0${type.toString(16)})`,
    async (transport) => {
      await using pair = await RawPair.connect(transport, "relay");
      pair.peer.sendSettings({ ...settings, announces: true });
      pair.peer.send(frame(T.Announce, 0, encodeAnnouncement(announcement)));
      await within(pair.session.ready, "the session to be ready");
      const log = new StreamLog(pair.session.open("pg", bytesOf(""), { kind: "tcp" }));
      await pair.peer.frame(T.Open);
      pair.peer.send(frame(type, 1, bytesOf("x")));
      const end = await within(pair.session.closed, "the session's end");
      assert.equal(end.code, 1002);
      assert.match(end.reason, /^Bytes before Connected on stream 1/);
      assert.equal(log.events.length, 1);
    },
  );
}
