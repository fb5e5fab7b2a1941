/** What relays write into a shared store, as JSON, and what they believe of what they find there. */
import { z } from "zod";
import type { Holder } from "./directory.ts";

const time = z.int().min(0);

/** A relay that is alive; it expires unless the relay renews it. */
export const relaySchema = z.object({
  /** Origin of its internal listener. */
  url: z.url({ protocol: /^https?$/ }).max(512).refine(
    (text) => text === new URL(text).origin,
    "must be an origin",
  ),
});

/** A session that a relay holds. It counts as long as its relay is alive. */
export const leaseSchema = z.object({
  relay: z.string().regex(/^[\w-]{1,64}$/),
  /** Counts the relay's claims. */
  number: z.int().min(1),
  instance: z.string().min(1).max(128).optional(),
  slot: z.int().min(0).max(255),
  /** When the session began, by the store's clock, in milliseconds since 1970. */
  sinceMs: time,
  /** When the relay last wrote this, by the same clock. */
  renewedMs: time,
});

/** @see relaySchema */
export type RelayRecord = z.infer<typeof relaySchema>;
/** @see leaseSchema */
export type Lease = z.infer<typeof leaseSchema>;

/** Reads a value of the store; undefined when it is not what a relay writes. */
export function parseRecord<T>(schema: z.ZodType<T>, value: unknown): T | undefined {
  if (typeof value !== "string") return undefined;
  let json: unknown;
  try {
    json = JSON.parse(value);
  } catch {
    return undefined;
  }
  return schema.safeParse(json).data;
}

/** Whether two leases claim the same connection of the same agent. */
export function isSameConnection(a: Lease, b: Lease): boolean {
  return a.instance !== undefined && a.instance === b.instance && a.slot === b.slot;
}

/**
 * Orders leases: the newest session first; two of one moment by their relays' names, so that all
 * relays come to the same order.
 */
export function byAge(a: Lease, b: Lease): number {
  return b.sinceMs - a.sinceMs || (a.relay < b.relay ? 1 : a.relay > b.relay ? -1 : 0);
}

/**
 * The relays to ask, the newest session's first. Where two relays claim one connection of one agent,
 * it has moved, and the older claim does not count.
 *
 * @param urls Where each relay that is alive can be reached.
 */
export function holdersOf(
  leases: readonly Lease[],
  urls: ReadonlyMap<string, string>,
): Holder[] {
  const counted: Lease[] = [];
  const holders = new Map<string, Holder>();
  for (const lease of leases.filter(({ relay }) => urls.has(relay)).sort(byAge)) {
    if (counted.some((newer) => isSameConnection(newer, lease))) continue;
    counted.push(lease);
    const { relay } = lease;
    if (!holders.has(relay)) holders.set(relay, { relay, url: urls.get(relay)! });
  }
  return [...holders.values()];
}
