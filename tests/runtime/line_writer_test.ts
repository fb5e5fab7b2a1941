/** A log whose lines can't be written must neither stop nor end the program, nor pass in silence. */
import { deepEqual, equal, ok } from "node:assert/strict";
import { LineWriter, type LineWriterLimits } from "../../lib/runtime/node/line_writer.ts";
import { within } from "../support/deadline.ts";

/** What standard error is in these tests: takes a few bytes at a time, up to where it is full. */
class Device {
  roomBytes = Infinity;
  text = "";
  writes = 0;
  /** While it is there, nobody reads: a write waits for it. */
  stall: Promise<void> | undefined;
  readonly #decoder = new TextDecoder();

  readonly write = async (bytes: Uint8Array): Promise<number> => {
    this.writes++;
    await this.stall;
    const count = Math.min(3, bytes.length, this.roomBytes);
    if (count === 0) throw new Error("No space left on device");
    this.roomBytes -= count;
    this.text += this.#decoder.decode(bytes.subarray(0, count), { stream: true });
    return count;
  };
}

function setUp(limits: Partial<LineWriterLimits> = {}) {
  const device = new Device();
  const events: string[] = [];
  const writer = new LineWriter(device.write, {
    lost: (lines) => events.push(`lost ${lines}`),
    resumed: (lines) => events.push(`resumed after ${lines}`),
  }, limits);
  return { device, events, writer };
}

async function writeNow(writer: LineWriter, ...lines: string[]): Promise<void> {
  for (const line of lines) writer.write(line);
  await writer.flush(10_000);
}

Deno.test("LineWriter writes the lines of a moment together, by itself and in order", async () => {
  const { device, events, writer } = setUp({ gatherMs: 1 });
  writer.write("first");
  writer.write("second");
  equal(device.text, "");
  await new Promise((resolve) => setTimeout(resolve, 1));
  await writer.flush(10_000);
  equal(device.text, "first\nsecond\n");
  deepEqual(events, []);
});

Deno.test("LineWriter does not have an urgent line wait for others", async () => {
  const { device, writer } = setUp({ gatherMs: 1_000_000 });
  writer.write("first");
  writer.write("urgent", true);
  while (device.text !== "first\nurgent\n") await new Promise((resolve) => setTimeout(resolve, 1));
});

Deno.test("LineWriter loses what can't be written, and tells how much once it can", async () => {
  const { device, events, writer } = setUp();
  device.roomBytes = 0;
  await writeNow(writer, "lost", "lost too");
  await writeNow(writer, "and this");
  deepEqual(events, ["lost 2", "lost 1"]);
  device.roomBytes = Infinity;
  await writeNow(writer, "back");
  await writeNow(writer, "again");
  equal(device.text, "back\nagain\n");
  deepEqual(events, ["lost 2", "lost 1", "resumed after 3"]);
});

Deno.test("LineWriter does not continue a line that was cut off", async () => {
  const { device, events, writer } = setUp();
  device.roomBytes = 4;
  await writeNow(writer, "cut off");
  device.roomBytes = Infinity;
  await writeNow(writer, "whole");
  equal(device.text, "cut \nwhole\n");
  deepEqual(events, ["lost 1", "resumed after 1"]);
});

Deno.test("LineWriter keeps a bounded queue while nobody reads, and then goes on with it", async () => {
  const { device, events, writer } = setUp({ maxQueuedBytes: 100 });
  const reading = Promise.withResolvers<void>();
  device.stall = reading.promise;
  const lines = Array.from({ length: 20 }, (_, n) => `line ${n} ${"é".repeat(10)}`);
  for (const line of lines) writer.write(line);
  await writer.flush(1);
  equal(device.writes, 1, "one write at a time");
  const kept = lines.length - events.length;
  ok(kept >= 3 && kept <= 4, `${kept} of ${lines.length} lines of 28 bytes in 100`);
  reading.resolve();
  await writer.flush(10_000);
  equal(device.text, lines.slice(0, kept).map((line) => line + "\n").join(""));
  equal(events.at(-1), `resumed after ${lines.length - kept}`);
  await writeNow(writer, "after");
  ok(device.text.endsWith("\nafter\n"));
});

Deno.test("LineWriter.flush waits no longer than it is told while nobody reads", async () => {
  const { device, writer } = setUp();
  const reading = Promise.withResolvers<void>();
  device.stall = reading.promise;
  writer.write("stuck");
  await within(writer.flush(1), "the flush");
  equal(device.text, "");
  reading.resolve();
  await writer.flush(10_000);
  equal(device.text, "stuck\n");
});

Deno.test("LineWriter writes lines of any length whole, in blocks that it uses again", async () => {
  const pieces: string[] = [];
  const decoder = new TextDecoder();
  const writer = new LineWriter((bytes) => {
    pieces.push(decoder.decode(bytes));
    return Promise.resolve(bytes.length);
  }, { lost() {}, resumed() {} });
  const lines = [10, 65_000, 600, 65_534, 65_535, 200_000, 3].map((length) =>
    "€".repeat(length / 3)
  );
  for (let round = 0; round < 3; round++) {
    pieces.length = 0;
    await writeNow(writer, ...lines);
    equal(pieces.join(""), lines.map((line) => line + "\n").join(""));
  }
});
