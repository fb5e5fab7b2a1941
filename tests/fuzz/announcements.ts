/** What agents announce and relays notify: JSON of a peer that can do anything. */
import assert from "node:assert/strict";
import fc from "fast-check";
import {
  decodeAnnouncement,
  decodeNotice,
  encodeAnnouncement,
  maxAnnouncedTargets,
  maxClaimedHostnames,
} from "../../lib/protocol/announcement.ts";
import { ProtocolError } from "../../lib/protocol/errors.ts";
import { parseTargetKey } from "../../lib/protocol/target_key.ts";
import { anyBytes } from "../protocol/property.ts";
import type { FuzzTarget } from "./target.ts";

const anyName = fc.oneof(
  fc.string({ maxLength: 8 }),
  fc.constantFrom("a", "b", "a:1"),
  fc.jsonValue(),
);

const anyPayload: fc.Arbitrary<Uint8Array> = fc.oneof(
  anyBytes(60),
  fc.record({
    targets: fc.oneof(
      fc.array(
        fc.record({ name: anyName, kind: fc.oneof(fc.constant("tcp"), anyName), host: anyName }, {
          requiredKeys: ["name", "kind"],
        }),
        { maxLength: 5 },
      ),
      fc.jsonValue(),
    ),
    hostnames: fc.oneof(
      fc.array(fc.record({ hostname: anyName, target: anyName }), { maxLength: 5 }),
      fc.jsonValue(),
    ),
    hash: anyName,
    code: anyName,
    message: anyName,
  }, { requiredKeys: [] }).map((value) => new TextEncoder().encode(JSON.stringify(value))),
);

/** What was read, or undefined for a protocol error. @throws any other error. */
function attempt<T>(decode: (payload: Uint8Array) => T, payload: Uint8Array): T | undefined {
  try {
    return decode(payload);
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    return undefined;
  }
}

/** The announcements' targets. */
export const announcementTargets: readonly FuzzTarget[] = [
  {
    name: "announcements",
    claim: "any bytes are an announcement within its bounds, a notice or a protocol error",
    property: () =>
      fc.property(anyPayload, (payload) => {
        attempt(decodeNotice, payload);
        const read = attempt(decodeAnnouncement, payload);
        if (!read) return;
        assert.ok(read.targets.length <= maxAnnouncedTargets);
        assert.ok(read.hostnames.length <= maxClaimedHostnames);
        assert.deepEqual(decodeAnnouncement(encodeAnnouncement(read)), read);
        for (const { name } of read.targets) assert.ok(name.length > 0 && !/\s/.test(name));
      }),
  },
  {
    name: "target-keys",
    claim: "a target's text is one name and one kind, and nothing of it is lost",
    property: () =>
      fc.property(fc.oneof(fc.string(), fc.string().map((rest) => `tcp://${rest}`)), (text) => {
        const { name, kind } = parseTargetKey(text);
        assert.ok(text === name ? kind === "http" : text === `${kind}://${name}`);
      }),
  },
];
