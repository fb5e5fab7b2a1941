/** What proxies in front send: headers of the PROXY protocol, and lists of addresses. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { encodeLatin1 } from "../../lib/bytes/bytes.ts";
import { AddressRanges, canonicalAddress } from "../../lib/domain/address_ranges.ts";
import { field } from "../../lib/http1/head.ts";
import { peerBehindProxy } from "../../lib/net/proxied_peer.ts";
import { maxProxyHeaderBytes, readProxyHeader } from "../../lib/net/proxy_header.ts";
import { anyBytes } from "../protocol/property.ts";
import { joined } from "../protocol/wire.ts";
import { v2 } from "../support/proxy_header.ts";
import type { FuzzTarget } from "./target.ts";

/** Lines as balancers and attackers write them. */
const anyHeader: fc.Arbitrary<Uint8Array> = fc.oneof(
  anyBytes(40) as fc.Arbitrary<Uint8Array>,
  fc.array(
    fc.constantFrom(
      ...["PROXY ", "TCP4 ", "TCP6 ", "UNKNOWN", "192.0.2.7 ", "::1 ", "0", "443", "\r\n", "\n"],
    ),
    { maxLength: 9 },
  ).map((parts) => encodeLatin1(parts.join(""))),
  fc.tuple(
    fc.constantFrom(0x20, 0x21, 0x22, 0x11),
    fc.constantFrom(0x00, 0x11, 0x12, 0x21, 0x31),
    fc.array(fc.nat(255), { maxLength: 60 }),
  ).map(([version, family, rest]) => v2(version, family, rest)),
);

const anyAddress = fc.oneof(
  fc.ipV4(),
  fc.ipV6(),
  fc.ipV4().map((address) => `::ffff:${address}`),
  fc.constantFrom(
    "10.0.0.1",
    "10.9.9.9",
    "unknown",
    "",
    "1.2.3.4:80",
    "[::1]:80",
    "[",
    "::",
    "1::2::3",
  ),
  fc.string({ maxLength: 12 }),
);

const trusted = AddressRanges.parse("10.0.0.0/8,fd00::/8")!;

/** The targets of what proxies send. */
export const proxyTargets: readonly FuzzTarget[] = [
  {
    name: "proxy-headers",
    claim: "any bytes are a PROXY header or a refusal, and one that is complete stays the same",
    property: () =>
      fc.property(anyHeader, anyBytes(20), (start, rest) => {
        const bytes = joined(start, rest);
        const found = readProxyHeader(bytes);
        for (let end = 1; end < bytes.length; end++) {
          const earlier = readProxyHeader(bytes.subarray(0, end));
          if (earlier.kind !== "incomplete") assert.deepEqual(earlier, found, `${end} bytes`);
        }
        if (found.kind !== "complete") return;
        assert.ok(found.length <= Math.min(bytes.length, maxProxyHeaderBytes));
        const { address } = found.source;
        if (address !== undefined) assert.equal(canonicalAddress(address), address);
      }),
  },
  {
    name: "forwarded-for",
    claim: "any list leads to an address in its canonical form",
    property: () =>
      fc.property(fc.array(anyAddress, { maxLength: 6 }), (list) => {
        const fields = [field("X-Forwarded-For", list.join(", "))];
        const { address } = peerBehindProxy({ address: "10.0.0.1", isTls: false }, fields, trusted);
        assert.equal(canonicalAddress(address), address);
      }),
  },
];
