/**
 * How Open names a target and the kind of stream that is wanted.
 *
 * A stream of HTTP is opened by the target's name alone, as by every earlier release. Any other kind
 * stands in front of the name, as in `tcp://pg`. No target's name has a `/`, so that an agent that
 * knows no kinds finds no such target and refuses with `forbidden`.
 */

/** What a stream carries. */
export const streamKinds = ["http", "tcp"] as const;

/** One of {@link streamKinds}. */
export type StreamKind = typeof streamKinds[number];

/** A target's name, and the kind of the stream; a later version may know other kinds. */
export interface TargetKey {
  readonly name: string;
  readonly kind: string;
}

/** The text of a target in Open. */
export function formatTargetKey(name: string, kind: StreamKind): string {
  return kind === "http" ? name : `${kind}://${name}`;
}

/** Reads the text of a target in Open. */
export function parseTargetKey(text: string): TargetKey {
  const match = /^([a-z][a-z0-9-]{0,31}):\/\/(.*)$/s.exec(text);
  return match ? { kind: match[1]!, name: match[2]! } : { kind: "http", name: text };
}

/** Whether an agent confirms a stream of this kind with Connected, once it has its target. */
export function isConfirmed(kind: StreamKind): boolean {
  return kind !== "http";
}

/** Whether this version serves a kind. */
export function isStreamKind(kind: string): kind is StreamKind {
  return streamKinds.some((known) => known === kind);
}
