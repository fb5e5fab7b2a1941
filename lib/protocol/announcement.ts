/** What an agent says that it serves: the payload of Announce; and what a relay tells it: Notice. */
import { z } from "zod";
import { ProtocolError } from "./errors.ts";

const KiB = 1024;

/** The largest payload of an Announce. */
export const maxAnnouncementBytes = 512 * KiB;
/** The most targets that an agent announces. */
export const maxAnnouncedTargets = 1_000;
/** The most hostnames that an agent claims. */
export const maxClaimedHostnames = 100;
/** The largest payload of a Notice. */
export const maxNoticeBytes = 4 * KiB;

/** A key in Open is a name or `HOST:PORT`, and a host has 253 characters at most (RFC 1035). */
const key = z.string().min(1).max(260).regex(/^[\x21-\x7e]+$/);

const hostname = z.string().max(253)
  .regex(/^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*$/);

const targetSchema = z.object({
  /** The key that Open names it by. */
  name: key,
  /** `http`, `tcp`, or a later one. */
  kind: z.string().regex(/^[a-z][a-z0-9-]{0,31}$/),
  /** What the agent puts into `Host` where the relay sends the target's name. */
  host: key.optional(),
  /** `assertion`, `provider`, or a later one: how it learns whom to impersonate; absent for nobody. */
  impersonate: z.string().regex(/^[a-z][a-z0-9-]{0,31}$/).optional(),
});

const claimSchema = z.object({
  hostname,
  /** The name of the target that requests for it are for. */
  target: key,
});

/** The payload of an Announce frame. Unknown keys are ignored, so that later versions may add some. */
export const announcementSchema = z.object({
  targets: z.array(targetSchema).max(maxAnnouncedTargets),
  hostnames: z.array(claimSchema).max(maxClaimedHostnames).default([]),
  /** Tells one table of targets from another. */
  hash: z.string().max(128).optional(),
});

/** What an agent serves and claims. */
export type Announcement = z.infer<typeof announcementSchema>;
/** One of its targets. */
export type AnnouncedTarget = Announcement["targets"][number];
/** A hostname that it claims, and for which target. */
export type ClaimedHostname = Announcement["hostnames"][number];

const noticeSchema = z.object({
  /** Stable; `hostname_refused`, or a later one. */
  code: z.string().regex(/^[a-z][a-z0-9_]{0,63}$/),
  /** The text for the log. */
  message: z.string().max(1_000),
});

/** What a relay tells an agent for its log. */
export type Notice = z.infer<typeof noticeSchema>;

/** The payload of an Announce frame. @throws {RangeError} for more than {@link maxAnnouncementBytes}. */
export function encodeAnnouncement(announcement: Announcement): Uint8Array {
  const payload = new TextEncoder().encode(JSON.stringify(announcement));
  if (payload.length > maxAnnouncementBytes) {
    throw new RangeError(`Announce of ${payload.length} bytes; at most ${maxAnnouncementBytes}`);
  }
  return payload;
}

/** Reads an Announce frame. @throws {ProtocolError} that names the key that is wrong. */
export function decodeAnnouncement(payload: Uint8Array): Announcement {
  const announcement = decode("Announce", payload, maxAnnouncementBytes, announcementSchema);
  refuseTwins("targets", announcement.targets.map(({ name }) => name));
  refuseTwins("hostnames", announcement.hostnames.map(({ hostname }) => hostname));
  return announcement;
}

/** The payload of a Notice frame. */
export function encodeNotice({ code, message }: Notice): Uint8Array {
  return new TextEncoder().encode(JSON.stringify({ code, message: message.slice(0, 1_000) }));
}

/** Reads a Notice frame. @throws {ProtocolError} that names the key that is wrong. */
export function decodeNotice(payload: Uint8Array): Notice {
  return decode("Notice", payload, maxNoticeBytes, noticeSchema);
}

function decode<T>(
  frame: string,
  payload: Uint8Array,
  maxBytes: number,
  schema: z.ZodType<T>,
): T {
  if (payload.length > maxBytes) {
    throw new ProtocolError(`${frame} of ${payload.length} bytes; at most ${maxBytes}`);
  }
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(payload));
  } catch {
    throw new ProtocolError(`${frame} is not JSON`);
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw new ProtocolError(`${frame}: ${issue?.path.join(".") || "value"}: ${issue?.message}`);
}

function refuseTwins(keyName: string, names: readonly string[]): void {
  if (new Set(names).size < names.length) {
    throw new ProtocolError(`Announce: ${keyName}: a name is listed twice`);
  }
}
