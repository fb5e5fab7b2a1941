import assert from "node:assert/strict";
import { requestFraming, responseFraming } from "../../lib/http1/body.ts";
import { defaultHeadLimits } from "../../lib/http1/head.ts";
import { HeadReader, parseRequestHead } from "../../lib/http1/head_reader.ts";
import { concat } from "../../lib/bytes/bytes.ts";
import { decodeStreamError, StreamError } from "../../lib/protocol/errors.ts";
import {
  decodeCredit,
  decodeOpen,
  encodeFrame,
  encodeTarget,
  frameName,
  FrameType,
} from "../../lib/protocol/frame.ts";
import { decodeAnnouncement, decodeNotice } from "../../lib/protocol/announcement.ts";
import { decodeSettings, defaultSettings, encodeSettings } from "../../lib/protocol/settings.ts";
import type { Stream } from "../../lib/protocol/stream.ts";
import {
  examples,
  framesOf,
  messageOf,
  onlyFrame,
  Received,
  Replay,
  target,
  textOf,
} from "./replay.ts";

Deno.test("protocol.md: every example decodes to the frames that its right column names", () => {
  for (const [name, { bytes, frames }] of examples) {
    if (name === "masked-ping") continue;
    const named = frames.filter((frame) => !frame.startsWith("Batch,"));
    const decoded = framesOf(bytes).map(({ type, stream }) =>
      `${frameName(type)}, stream ${stream}`
    );
    assert.deepEqual(decoded, named, name);
  }
});

Deno.test("protocol.md: together the examples show every frame type", () => {
  const shown = new Set(
    [...examples.values()].flatMap(({ frames }) => frames.map((frame) => frame.split(",")[0])),
  );
  assert.deepEqual(shown, new Set(Object.keys(FrameType)));
});

Deno.test("protocol.md: the Settings examples are valid and say what culvert says", () => {
  for (const name of ["relay-settings", "agent-settings"]) {
    const { instance, software, ...rest } = decodeSettings(onlyFrame(name, FrameType.Settings));
    assert.deepEqual(rest, defaultSettings, name);
    assert.match(instance, /^(relay|agent)-/);
    assert.equal(software, "example/1.0");
  }
});

Deno.test("protocol.md: the request example is a whole GET of the target", () => {
  const [open, end] = framesOf(messageOf("request"));
  const { target: asked, first } = decodeOpen(open!.payload);
  assert.equal(textOf(asked), target);
  const head = parseRequestHead(first, defaultHeadLimits);
  assert.equal(`${head.method} ${head.target}`, "GET /version");
  assert.deepEqual(requestFraming(head), { kind: "none" });
  assert.equal(end?.payload.length, 0);
});

Deno.test("protocol.md: both answers are whole and the same", () => {
  const answer = onlyFrame("answer", FrameType.End);
  assert.deepEqual(onlyFrame("v1-answer", FrameType.Data), answer);
  const reader = HeadReader.forResponses(defaultHeadLimits);
  const head = reader.read(answer)!;
  assert.equal(head.status, 200);
  assert.deepEqual(responseFraming(head, "GET"), {
    kind: "length",
    bytes: reader.takeRest().length,
  });
});

Deno.test("protocol.md: the single frames say what the text says", () => {
  assert.equal(decodeCredit(onlyFrame("credit", FrameType.Credit)), 64 * 1024);
  assert.equal(decodeCredit(onlyFrame("return", FrameType.Return)), 32 * 1024);
  assert.equal(decodeStreamError(onlyFrame("error", FrameType.Error)).code, "refused");
  assert.equal(textOf(onlyFrame("v1-error", FrameType.Error)), "connection refused");
  assert.equal(textOf(onlyFrame("v1-connect", FrameType.Connect)), target);
  for (const [name, type] of [["close", FrameType.Close], ["drain", FrameType.Drain]] as const) {
    assert.equal(onlyFrame(name, type).length, 0, name);
  }
  assert.deepEqual(onlyFrame("pong", FrameType.Pong), onlyFrame("ping", FrameType.Ping));
});

Deno.test("protocol.md: the version 1 request asks the target to close", () => {
  const head = parseRequestHead(onlyFrame("v1-request", FrameType.Data), defaultHeadLimits);
  assert.equal(head.fields.find(({ key }) => key === "connection")?.value, "close");
});

Deno.test("protocol.md: the masked example is the Ping under its key (RFC 6455 section 5.3)", () => {
  const frame = messageOf("masked-ping");
  const [first, second] = frame;
  assert.equal(first, 0x82); // final, binary
  assert.equal(second! & 0x80, 0x80);
  const key = frame.subarray(2, 6);
  const payload = frame.subarray(6).map((byte, index) => byte ^ key[index % 4]!);
  assert.equal(second! & 0x7f, payload.length);
  assert.deepEqual(payload, messageOf("ping"));
});

const requestBytes = decodeOpen(framesOf(messageOf("request"))[0]!.payload).first;
const answerBytes = onlyFrame("answer", FrameType.End);

Deno.test("protocol.md: an agent's session sends the version 2 examples", () => {
  using agent = new Replay("agent", 2);
  assert.deepEqual(agent.turn(messageOf("relay-settings")), [messageOf("agent-settings")]);
  assert.deepEqual(agent.turn(messageOf("request")), []);
  const { stream, target: asked, received } = agent.opened!;
  assert.equal(asked, target);
  assert.equal(received.text, textOf(requestBytes));
  assert.ok(received.isEnded);
  stream.write(answerBytes);
  stream.finish();
  assert.deepEqual(agent.turn(), [messageOf("answer")]);
  assert.equal(agent.session.openStreams, 0);
});

Deno.test("protocol.md: a relay's session sends the version 2 examples", () => {
  using relay = new Replay("relay", 2);
  assert.deepEqual(relay.turn(), [messageOf("relay-settings")]);
  assert.deepEqual(relay.turn(messageOf("agent-settings")), []);
  const stream = relay.session.open(target, requestBytes);
  const received = new Received(stream);
  stream.end();
  assert.deepEqual(relay.turn(), [messageOf("request")]);
  assert.deepEqual(relay.turn(messageOf("answer")), []);
  assert.equal(received.text, textOf(answerBytes));
  assert.equal(relay.session.openStreams, 0);
});

Deno.test("protocol.md: an agent's session sends the version 1 examples", () => {
  using agent = new Replay("agent", 2);
  assert.deepEqual(agent.turn(messageOf("v1-connect")), [messageOf("v1-connected")]);
  assert.deepEqual(agent.turn(messageOf("v1-request")), []);
  const { stream, target: asked, received } = agent.opened!;
  assert.equal(asked, target);
  assert.equal(received.text, textOf(onlyFrame("v1-request", FrameType.Data)));
  stream.write(answerBytes);
  stream.finish();
  assert.deepEqual(agent.turn(), [messageOf("v1-answer"), messageOf("v1-close")]);
});

Deno.test("protocol.md: a version 1 stream that fails says why in text", () => {
  using agent = new Replay("agent", 2);
  agent.turn(messageOf("v1-connect"));
  agent.opened!.stream.fail(new StreamError("refused", "connection refused"));
  assert.deepEqual(agent.turn(), [messageOf("v1-error")]);
});

Deno.test("protocol.md: a relay's session sends the version 1 examples", () => {
  using relay = new Replay("relay", 1);
  assert.deepEqual(relay.turn(), []);
  const stream = relay.session.open(target, onlyFrame("v1-request", FrameType.Data));
  const received = new Received(stream);
  stream.end();
  assert.deepEqual(relay.turn(), [messageOf("v1-connect")]);
  assert.deepEqual(relay.turn(messageOf("v1-connected")), [messageOf("v1-request")]);
  assert.deepEqual(relay.turn(messageOf("v1-answer"), messageOf("v1-close")), []);
  assert.equal(received.text, textOf(answerBytes));
  assert.ok(received.isEnded);
  assert.equal(relay.session.openStreams, 0);
});

/** An agent's session of version 2 with stream 5 open. */
function agentWithStream5(): { agent: Replay; stream: Stream } {
  const agent = new Replay("agent", 2);
  agent.turn(messageOf("relay-settings"));
  const open = concat(encodeTarget(target), requestBytes);
  agent.turn(encodeFrame(FrameType.Open, 5, open));
  return { agent, stream: agent.opened!.stream };
}

Deno.test("protocol.md: targets, a refused hostname and a TCP connection are told as the examples show", () => {
  const announcement = decodeAnnouncement(onlyFrame("announce", FrameType.Announce));
  const promise = { announces: true, ...defaultSettings, instance: "one", software: "x" };
  using agent = new Replay("agent", 2, true, { announcement });
  const sent = agent.turn(messageOf("relay-settings")).flatMap(framesOf);
  const announced = sent.find(({ type }) => type === FrameType.Announce);
  assert.deepEqual(announced?.payload, onlyFrame("announce", FrameType.Announce));

  using relay = new Replay("relay", 2);
  relay.turn(encodeFrame(FrameType.Settings, 0, encodeSettings(promise)), messageOf("announce"));
  assert.deepEqual(relay.session.announced, announcement);
  const { code, message } = decodeNotice(onlyFrame("notice", FrameType.Notice));
  relay.session.notify({ code, message });
  assert.deepEqual(relay.turn(), [messageOf("notice")]);

  agent.turn(messageOf("tcp-open"));
  assert.equal(agent.opened?.target, "pg");
  agent.opened!.stream.accept();
  assert.deepEqual(agent.turn(), [messageOf("tcp-connected")]);
});

Deno.test("protocol.md: Error, Close and Drain leave as the examples show", () => {
  const failed = agentWithStream5();
  using _failing = failed.agent;
  failed.stream.fail(new StreamError("refused", "connection refused"));
  assert.deepEqual(failed.agent.turn(), [messageOf("error")]);

  const closed = agentWithStream5();
  using _closing = closed.agent;
  closed.stream.close();
  assert.deepEqual(closed.agent.turn(), [messageOf("close")]);

  void closed.agent.session.drain(0);
  // An agent has a Ping follow its Drain; both may leave in one message.
  const [frame] = framesOf(closed.agent.turn()[0]!);
  assert.deepEqual(frame, framesOf(messageOf("drain"))[0]);
});
