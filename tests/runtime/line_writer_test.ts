/** A log whose lines can't be written must neither end the program nor pass in silence. */
import { deepEqual, equal } from "node:assert/strict";
import { LineWriter } from "../../lib/runtime/node/line_writer.ts";

/** What standard error is in these tests: takes a few bytes at a time, up to where it is full. */
class Device {
  roomBytes = Infinity;
  text = "";

  readonly write = (bytes: Uint8Array, from: number): number => {
    const count = Math.min(3, bytes.length - from, this.roomBytes);
    if (count === 0) throw new Error("No space left on device");
    this.roomBytes -= count;
    this.text += new TextDecoder().decode(bytes.subarray(from, from + count));
    return count;
  };
}

function setUp() {
  const device = new Device();
  const losses: number[] = [];
  const writer = new LineWriter(device.write, (lines) => losses.push(lines));
  return { device, losses, writer };
}

function writeNow(writer: LineWriter, ...lines: string[]): void {
  for (const line of lines) writer.write(line);
  writer.flush();
}

Deno.test("LineWriter writes the lines of one turn by itself, in order", async () => {
  const { device, losses, writer } = setUp();
  writer.write("first");
  writer.write("second");
  equal(device.text, "");
  await new Promise((resolve) => setImmediate(resolve));
  equal(device.text, "first\nsecond\n");
  deepEqual(losses, []);
});

Deno.test("LineWriter loses what can't be written, and tells how much once it can", () => {
  const { device, losses, writer } = setUp();
  device.roomBytes = 0;
  writeNow(writer, "lost", "lost too");
  writeNow(writer, "and this");
  deepEqual(losses, []);
  device.roomBytes = Infinity;
  writeNow(writer, "back");
  writeNow(writer, "again");
  equal(device.text, "back\nagain\n");
  deepEqual(losses, [3]);
});

Deno.test("LineWriter does not continue a line that was cut off", () => {
  const { device, losses, writer } = setUp();
  device.roomBytes = 4;
  writeNow(writer, "cut off");
  device.roomBytes = Infinity;
  writeNow(writer, "whole");
  equal(device.text, "cut \nwhole\n");
  deepEqual(losses, [1]);
});
