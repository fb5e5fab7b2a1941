import assert from "node:assert/strict";
import { MessageBuffers } from "../../lib/protocol/message_buffers.ts";

const KiB = 1024;

Deno.test("MessageBuffers uses a message's memory again once it has left, not before", () => {
  const buffers = new MessageBuffers();
  const first = buffers.take(64 * KiB);
  const second = buffers.take(64 * KiB);
  assert.notEqual(first.buffer, second.buffer);
  buffers.giveBack(first)!();
  const third = buffers.take(20 * KiB);
  assert.equal(third.buffer, first.buffer);
  assert.equal(third.length, 20 * KiB);
  assert.notEqual(buffers.take(64 * KiB).buffer, first.buffer);
});

Deno.test("MessageBuffers does not keep the memory of messages that are small or very large", () => {
  const buffers = new MessageBuffers();
  for (const length of [0, 5, 16 * KiB - 1, 144 * KiB + 1, 2 * 1024 * KiB]) {
    const message = buffers.take(length);
    assert.equal(message.length, length);
    assert.equal(buffers.giveBack(message), undefined, `${length}`);
  }
});

Deno.test("MessageBuffers keeps memory for a few messages only", () => {
  const buffers = new MessageBuffers();
  const messages = Array.from({ length: 50 }, () => buffers.take(64 * KiB));
  for (const message of messages) buffers.giveBack(message)!();
  const known = new Set(messages.map(({ buffer }) => buffer));
  const again = Array.from({ length: 50 }, () => buffers.take(64 * KiB));
  assert.equal(again.filter(({ buffer }) => known.has(buffer)).length, 8);
});
