import assert from "node:assert/strict";
import { concat } from "../../lib/bytes/bytes.ts";
import { maxProxyHeaderBytes, readProxyHeader } from "../../lib/net/proxy_header.ts";
import { tlv, v2 } from "../support/proxy_header.ts";

const bytesOf = (text: string) => new TextEncoder().encode(text);
const malformed = { kind: "invalid", reason: "malformed" };
const missing = { kind: "invalid", reason: "missing" };

const tcp4 = [192, 0, 2, 7, 10, 0, 0, 1, 0x12, 0x67, 0x01, 0xbb];
const tcp6 = [
  ...[0x20, 0x01, 0x0d, 0xb8, ...Array<number>(11).fill(0), 7],
  ...[...Array<number>(15).fill(0), 1, 0x12, 0x67, 0x01, 0xbb],
];

Deno.test("readProxyHeader reads version 1, and how long the header is", () => {
  const cases: [string, string | undefined][] = [
    ["PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\r\n", "192.0.2.7"],
    ["PROXY TCP6 2001:DB8::7 ::1 4711 443\r\n", "2001:db8::7"],
    ["PROXY UNKNOWN\r\n", undefined],
    ["PROXY UNKNOWN ffff::1 whatever 1 2\r\n", undefined],
  ];
  for (const [line, address] of cases) {
    const found = readProxyHeader(bytesOf(`${line}GET / HTTP/1.1\r\n`));
    assert.deepEqual(found, { kind: "complete", length: line.length, source: { address } }, line);
    for (let end = 1; end < line.length; end++) {
      assert.equal(readProxyHeader(bytesOf(line.slice(0, end))).kind, "incomplete", `${end}`);
    }
  }
});

Deno.test("readProxyHeader refuses what is no header of version 1", () => {
  const bad = [
    "PROXY TCP4 192.0.2.7 10.0.0.1 4711\r\n",
    "PROXY TCP4 192.0.2.7 10.0.0.1 4711 65536\r\n",
    "PROXY TCP4 192.0.2.7 10.0.0.1 04711 443\r\n",
    "PROXY TCP4 192.0.2.256 10.0.0.1 4711 443\r\n",
    "PROXY TCP4 192.0.2.7 ::1 4711 443\r\n",
    "PROXY TCP6 192.0.2.7 10.0.0.1 4711 443\r\n",
    "PROXY TCP4 192.0.2.7  10.0.0.1 4711 443\r\n",
    "PROXY TCP4 192.0.2.7 10.0.0.1 4711 443 \r\n",
    "PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\n",
    "PROXY UDP4 192.0.2.7 10.0.0.1 4711 443\r\n",
    "PROXY \r\n",
    `PROXY UNKNOWN ${"x".repeat(107)}`,
  ];
  for (const line of bad) assert.deepEqual(readProxyHeader(bytesOf(line)), malformed, line);
  for (
    const text of [
      "GET / HTTP/1.1\r\n",
      "\x16\x03\x01",
      "proxy TCP4",
      "PRI * HTTP/2.0",
      "\r\n\r\nG",
    ]
  ) {
    assert.deepEqual(readProxyHeader(bytesOf(text)), missing, text);
  }
});

Deno.test("readProxyHeader reads version 2, at every cut", () => {
  const ssl = (client: number) => tlv(0x20, [client, 0, 0, 0, 0]);
  const cases: [Uint8Array, { address: string | undefined; isTls?: boolean | undefined }][] = [
    [v2(0x21, 0x11, tcp4), { address: "192.0.2.7", isTls: undefined }],
    [v2(0x21, 0x21, tcp6), { address: "2001:db8::7", isTls: undefined }],
    [v2(0x21, 0x11, [...tcp4, ...ssl(1)]), { address: "192.0.2.7", isTls: true }],
    [v2(0x21, 0x11, [...tcp4, ...tlv(0x01, [104, 50]), ...ssl(0)]), {
      address: "192.0.2.7",
      isTls: false,
    }],
    [v2(0x21, 0x00, []), { address: undefined, isTls: undefined }],
    [v2(0x21, 0x31, Array<number>(216).fill(0)), { address: undefined, isTls: undefined }],
    [v2(0x20, 0x00, []), { address: undefined }],
    [v2(0x20, 0x11, tcp4), { address: undefined }],
    [v2(0x21, 0x11, [...tcp4, ...tlv(0x04, Array<number>(505).fill(0))]), {
      address: "192.0.2.7",
      isTls: undefined,
    }],
  ];
  for (const [header, source] of cases) {
    const found = readProxyHeader(concat(header, bytesOf("GET /")));
    assert.deepEqual(found, { kind: "complete", length: header.length, source });
    for (let end = 1; end < header.length; end++) {
      assert.equal(readProxyHeader(header.subarray(0, end)).kind, "incomplete", `${end}`);
    }
  }
});

Deno.test("readProxyHeader checks the checksum of version 2 where there is one", () => {
  // Computed with another implementation of CRC-32C, over the header with zeros in its place.
  const check = (crc: readonly number[]) => v2(0x21, 0x11, [...tcp4, ...tlv(0x03, crc)]);
  const right = [0xbd, 0xe7, 0x19, 0x53];
  assert.equal(readProxyHeader(check(right)).kind, "complete");
  assert.deepEqual(readProxyHeader(check([...right.slice(0, 3), 0x00])), malformed);
  assert.deepEqual(readProxyHeader(check(right.slice(0, 3))), malformed);
});

Deno.test("readProxyHeader refuses what is no header of version 2", () => {
  const bad = [
    v2(0x11, 0x11, tcp4),
    v2(0x22, 0x11, tcp4),
    v2(0x21, 0x12, tcp4),
    v2(0x21, 0x41, tcp4),
    v2(0x21, 0x11, tcp4.slice(1)),
    v2(0x21, 0x21, tcp4),
    v2(0x21, 0x11, [...tcp4, 0x04, 0x00]),
    v2(0x21, 0x11, [...tcp4, 0x04, 0x00, 0x02, 0x00]),
    v2(0x21, 0x11, [...tcp4, ...tlv(0x20, [1])]),
    v2(0x21, 0x11, Array<number>(maxProxyHeaderBytes).fill(0)),
  ];
  for (const [index, header] of bad.entries()) {
    assert.deepEqual(readProxyHeader(header), malformed, `${index}`);
  }
  // The length is known before the rest has come.
  assert.deepEqual(readProxyHeader(bad.at(-1)!.subarray(0, 16)), malformed);
});
