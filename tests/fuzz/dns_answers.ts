/** Answers of name servers to dynamic updates, and of whoever answers in their place. */
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import fc from "fast-check";
import { DnsFault, encodeName } from "../../lib/operator/dns/message_bytes.ts";
import { type DnsAnswer, readAnswer, type TsigKey } from "../../lib/operator/dns/tsig.ts";
import { anyBytes } from "../protocol/property.ts";
import type { FuzzTarget } from "./target.ts";

const id = 0x1234;
const requestMac = new Uint8Array(32).fill(7);
const key: TsigKey = {
  ...{ name: "culvert", algorithm: "hmac-sha256" },
  secret: new TextEncoder().encode("a secret of the zone's"),
};

function u16(...values: number[]): number[] {
  return values.flatMap((value) => [value >> 8 & 255, value & 255]);
}

/** An answer as a server with the key signs it (RFC 8945 section 5.3), and where its signature begins. */
function signedAnswer(
  { code, error, records }: { code: number; error: number; records: readonly number[][] },
): { bytes: Uint8Array; signatureAt: number } {
  const name = [...encodeName(key.name)];
  const algorithm = [...encodeName(key.algorithm)];
  const flags = 0x8000 | 5 << 11 | code;
  const before = [...u16(id, flags, 0, 0, 0, records.length), ...records.flat()];
  const time = [0, 0, ...u16(0x1234, 0x5678)];
  const rest = [...time, ...u16(300)];
  const variables = [...name, ...u16(255, 0, 0), ...algorithm, ...rest, ...u16(error, 0)];
  const mac = createHmac("sha256", key.secret)
    .update(Uint8Array.from([...u16(requestMac.length), ...requestMac, ...before, ...variables]))
    .digest();
  const data = [...algorithm, ...rest, ...u16(mac.length), ...mac, ...u16(id, error, 0)];
  const signature = [...name, ...u16(250, 255, 0, 0, data.length), ...data];
  const bytes = Uint8Array.from([...before, ...signature]);
  bytes.set(u16(records.length + 1), 10);
  return { bytes, signatureAt: before.length };
}

/** An A record of the root: a server may add whatever it likes. */
const record = [0, ...u16(1, 1, 0, 60, 4), 192, 0, 2, 1];

const anySigned = fc.record({
  code: fc.nat(15),
  error: fc.constantFrom(0, 18, 22),
  records: fc.array(fc.constant(record), { maxLength: 3 }),
});

/** Names that point to other places, and headers that promise much. */
const anyAnswer = fc.oneof(
  anyBytes(80),
  fc.tuple(fc.array(fc.nat(0xffff), { minLength: 4, maxLength: 4 }), anyBytes(80)).map(
    ([counts, rest]) => Uint8Array.from([...u16(id, 0xa800, ...counts), ...rest]),
  ),
  fc.array(fc.constantFrom(0, 1, 12, 63, 64, 192, 193, 250, 255), { maxLength: 600 }).map(
    (rest) => Uint8Array.from([...u16(id, 0xa800, 9, 9, 9, 9), ...rest]),
  ),
);

/** What was read, or undefined for an answer that is none. @throws any other error. */
async function attempt(bytes: Uint8Array): Promise<DnsAnswer | undefined> {
  try {
    return await readAnswer(bytes, id, key, requestMac);
  } catch (error) {
    if (!(error instanceof DnsFault)) throw error;
    return undefined;
  }
}

/** The targets about name servers. */
export const dnsAnswerTargets: readonly FuzzTarget[] = [
  {
    name: "dns-answers",
    claim:
      "any bytes are an answer or a fault, and nothing that is not signed says that all is done",
    property: () =>
      fc.asyncProperty(anyAnswer, async (bytes) => {
        assert.notEqual((await attempt(bytes))?.code, "NOERROR");
      }),
  },
  {
    name: "dns-signatures",
    claim: "a signed answer is read, and one that was changed or cut does not say that all is done",
    property: () =>
      fc.asyncProperty(anySigned, fc.nat(), fc.integer({ min: 1, max: 255 }), async (...values) => {
        const [answer, place, change] = values;
        const { bytes, signatureAt } = signedAnswer(answer);
        const read = await attempt(bytes);
        if (answer.code === 0 && answer.error === 0) assert.equal(read?.code, "NOERROR");
        else assert.notEqual(read?.code, "NOERROR");
        const changed = Uint8Array.from(bytes);
        changed[place % signatureAt]! ^= change;
        assert.notEqual((await attempt(changed))?.code, "NOERROR");
        assert.notEqual((await attempt(bytes.subarray(0, place % bytes.length)))?.code, "NOERROR");
      }),
  },
];
