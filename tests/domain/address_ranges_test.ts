import assert from "node:assert/strict";
import { AddressRanges, canonicalAddress } from "../../lib/domain/address_ranges.ts";

Deno.test("AddressRanges has the addresses of its ranges and no others", () => {
  const cases: [string, string[], string[]][] = [
    ["10.0.0.0/8", ["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"], [
      "11.0.0.0",
      "9.9.9.9",
      "::a00:1",
    ]],
    ["192.0.2.128/25", ["192.0.2.128", "192.0.2.255"], ["192.0.2.127", "192.0.3.128"]],
    ["192.0.2.1", ["192.0.2.1"], ["192.0.2.2", "192.0.2.1.1", "192.0.2.01"]],
    ["0.0.0.0/0", ["1.2.3.4", "::ffff:1.2.3.4"], ["::1", "fd00::1"]],
    ["::/0", ["::1", "fd00::"], ["1.2.3.4"]],
    ["fd00::/8", ["fd12:3456::1", "FDFF::"], ["fe00::1", "fc00::1"]],
    ["2001:db8:0:8000::/49", ["2001:db8:0:8000::", "2001:db8:0:ffff::1"], ["2001:db8:0:7fff::1"]],
    ["::ffff:10.0.0.0", ["10.0.0.0"], ["10.0.0.1"]],
    ["10.0.0.0/8, 192.0.2.1 ,::1", ["10.1.1.1", "192.0.2.1", "::1", "0:0:0:0:0:0:0:1"], ["::2"]],
  ];
  for (const [text, inside, outside] of cases) {
    const ranges = AddressRanges.parse(text);
    assert.ok(ranges, text);
    for (const address of inside) assert.equal(ranges.has(address), true, `${address} in ${text}`);
    for (const address of outside) {
      assert.equal(ranges.has(address), false, `${address} in ${text}`);
    }
  }
});

Deno.test("AddressRanges takes no text that could mean something else", () => {
  const bad = [
    ...["", ",", "10.0.0.0/8,", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/08", "10.0.0.0/-1"],
    ...[
      "10.1.2.3/8",
      "fd00::1/8",
      "10.0.0/8",
      "010.0.0.0/8",
      "10.*",
      "localhost",
      "10.0.0.0-10.0.0.9",
    ],
    ...[
      "10.0.0.0/8/8",
      "10.0.0.0;10.0.0.1",
      "[::1]",
      "fe80::1%eth0",
      "1::2::3",
      "1:2:3:4:5:6:7::8:9",
    ],
    ...["1:2:3:4:5:6:7", ":1", "12345::", "::1.2.3", "1.2.3.4::", "0x7f.0.0.1", "*", "256.0.0.1"],
  ];
  for (const text of bad) assert.equal(AddressRanges.parse(text), undefined, text);
});

Deno.test("canonicalAddress gives one form for logs and limits, and nothing for what is no address", () => {
  assert.equal(canonicalAddress("::FFFF:192.0.2.1"), "192.0.2.1");
  assert.equal(canonicalAddress("2001:DB8::1"), "2001:db8::1");
  assert.equal(canonicalAddress("2001:0db8:0:0:0:0:0:1"), "2001:db8::1");
  assert.equal(canonicalAddress("192.0.2.1"), "192.0.2.1");
  for (const text of ["", "unknown", "192.0.2.1:80", "[::1]", "1.2.3.4\n"]) {
    assert.equal(canonicalAddress(text), undefined, text);
  }
});
