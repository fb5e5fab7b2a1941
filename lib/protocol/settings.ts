/** Settings: the first frame of version 2, in which each side says what it takes. */
import { z } from "zod";
import { ProtocolError } from "./errors.ts";

const KiB = 1024;
const MiB = 1024 * KiB;

/** The payload of a Settings frame. Unknown keys are ignored, so that later versions may add some. */
export const settingsSchema = z.object({
  /** Protocol version of the side that sends this; 2 or higher. */
  version: z.int().min(2),
  /** Bytes that the other side may send on a new stream before it sees a Credit. */
  window: z.int().min(1).max(0x7fffffff),
  /** The widest window that this side will ever grant to one stream, in bytes. */
  maxWindow: z.int().min(1).max(0x7fffffff),
  /** The largest payload of a Data, End or Open frame that this side takes, in bytes. */
  maxFrame: z.int().min(1 * KiB).max(16 * MiB - 64),
  /** Streams that this side lets be open at once. */
  maxStreams: z.int().min(1),
  /** Whether this side takes Return: credit that its sender does not need. */
  returns: z.boolean().optional(),
  /** Random for each process: tells two agents of one cluster apart. */
  instance: z.string().min(1).max(128),
  /** Which of an agent's connections this is, from 0: it may keep several. */
  slot: z.int().min(0).max(255).optional(),
  /** Agents only: whether an Announce follows, which says what it serves. */
  announces: z.boolean().optional(),
  /** Name and version of the program, for logs. */
  software: z.string().max(128).default("unknown"),
});

/** What one side of a version 2 session has said about itself. */
export type Settings = z.infer<typeof settingsSchema>;

/**
 * What culvert sends unless told otherwise.
 *
 * `window` is small because each open stream may fill it at once whether or not anybody reads;
 * the receiver widens it for a stream that is being read (see `ReceiveWindow`).
 */
export const defaultSettings = {
  version: 2,
  window: 32 * KiB,
  maxWindow: 16 * MiB,
  maxFrame: 64 * KiB,
  maxStreams: 1024,
  returns: true,
} as const;

/** The payload of a Settings frame. */
export function encodeSettings(settings: Settings): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(settings));
}

/** Reads a Settings frame. @throws {ProtocolError} that names the key that is wrong. */
export function decodeSettings(payload: Uint8Array): Settings {
  if (payload.length > 64 * KiB) throw new ProtocolError("Settings are longer than 64 KiB");
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(payload));
  } catch {
    throw new ProtocolError("Settings are not JSON");
  }
  const result = settingsSchema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw new ProtocolError(`Settings: ${issue?.path.join(".") || "value"}: ${issue?.message}`);
}
