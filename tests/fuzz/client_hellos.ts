/** What TLS clients say first. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { readClientHello } from "../../lib/net/client_hello.ts";
import { anyBytes } from "../protocol/property.ts";
import { joined } from "../protocol/wire.ts";
import { helloMessage, records } from "../support/client_hello.ts";
import type { FuzzTarget } from "./target.ts";

const anyName = fc.oneof(
  fc.constantFrom("a", "App.example.com", "a.b.", "-_.x", "", "a..b", "192.0.2.1", "é"),
  fc.domain(),
  fc.string({ maxLength: 20 }).filter((name) => /^[\0-\xff]*$/.test(name)),
);

const anyMessage = fc.record({
  serverName: fc.option(anyName, { nil: undefined }),
  alpn: fc.array(fc.constantFrom("h2", "http/1.1", "", "x".repeat(255)), { maxLength: 4 }),
  extensions: fc.array(
    fc.tuple(fc.constantFrom(0, 16, 51, 0xfe0d, 0x0a0a), anyBytes(40) as fc.Arbitrary<Uint8Array>),
    { maxLength: 4 },
  ),
}).map(helloMessage);

const anyHello = fc.tuple(anyMessage, fc.integer({ min: 1, max: 300 }))
  .map(([message, size]) => records(message, size));

/** A hello with a byte that is another one. */
const damagedHello = fc.tuple(anyHello, fc.nat(), fc.nat(255)).map(([bytes, at, value]) => {
  const damaged = bytes.slice();
  damaged[at % bytes.length] = value;
  return damaged;
});

/** The targets of what TLS clients send. */
export const clientHelloTargets: readonly FuzzTarget[] = [
  {
    name: "client-hellos",
    claim:
      "any bytes are a ClientHello or a refusal, however they are cut, and what is decided stays",
    property: () =>
      fc.property(
        fc.oneof(anyHello, damagedHello, anyBytes(60) as fc.Arbitrary<Uint8Array>),
        anyBytes(20),
        (start, rest) => {
          const bytes = joined(start, rest);
          const found = readClientHello(bytes);
          for (let end = 0; end < bytes.length; end++) {
            const earlier = readClientHello(bytes.subarray(0, end));
            if (earlier.kind === "incomplete") assert.ok(earlier.needed > end);
            else assert.deepEqual(earlier, found);
          }
          if (found.kind !== "hello" || found.hello.serverName === undefined) return;
          assert.match(found.hello.serverName, /^[a-z0-9._-]{1,255}$/);
        },
      ),
  },
];
