import { deepEqual, equal } from "node:assert/strict";
import {
  UploadWindow,
  WindowReserve,
  windowSizes,
} from "../../lib/runtime/node/http2/upload_window.ts";

const [first, second, third] = windowSizes;

function setUp(reserve = new WindowReserve()) {
  const told: number[] = [];
  return { told, window: new UploadWindow(({ stream }) => told.push(stream), reserve) };
}

Deno.test("an upload that fills its window within a round trip gets a wider one, and then another", () => {
  const { told, window } = setUp();
  window.consumed(first.stream / 2, 1_000);
  deepEqual(told, []);
  window.consumed(first.stream / 2, 1_100);
  deepEqual(told, [second!.stream]);
  window.consumed(second!.stream, 1_200);
  deepEqual(told, [second!.stream, third!.stream]);
  window.consumed(third!.stream * 10, 1_201);
  equal(told.length, 2);
  equal(window.sizes, third);
});

Deno.test("an upload that is slower than its window keeps it", () => {
  const { told, window } = setUp();
  for (let ms = 1_000; ms < 60_000; ms += 100) window.consumed(first.stream / 4, ms);
  deepEqual(told, []);
});

Deno.test("windows grow as long as the reserve lasts, and connections that end give theirs back", () => {
  const reserve = new WindowReserve(second!.connection - first.connection);
  const [one, other] = [setUp(reserve), setUp(reserve)];
  one.window.consumed(first.stream, 1_000);
  other.window.consumed(first.stream, 1_000);
  deepEqual([one.told, other.told], [[second!.stream], []]);
  one.window.consumed(second!.stream, 1_001);
  deepEqual(one.told, [second!.stream]);
  one.window.release();
  one.window.release();
  other.window.consumed(first.stream, 1_002);
  deepEqual(other.told, [second!.stream]);
});
