/** What a request says about the intermediaries on its way: `Via` and `Max-Forwards`. */
import { type Field, field, getField, type RequestHead } from "./head.ts";

/** More intermediaries than any request needs: the last ones are a circle (see {@link loopOf}). */
const maxHops = 16;

/** An intermediary in `Via` (RFC 9110 section 7.6.3); `name` is a token that names it alone. */
export function viaField({ minor }: RequestHead, name: string): Field {
  return field("Via", `1.${minor} ${name}`);
}

/**
 * Why a request must not go on: it has come back to this intermediary, or has passed through so many
 * that it goes round in a circle of others.
 */
export function loopOf(
  fields: readonly Field[],
  name: string,
): "returned" | "too_many_hops" | undefined {
  let hops = 0;
  for (const { key, value } of fields) {
    if (key !== "via") continue;
    const members = value.split(",");
    hops += members.length;
    if (members.some((member) => member.trim().split(/[ \t]+/, 2)[1] === name)) return "returned";
  }
  return hops > maxHops ? "too_many_hops" : undefined;
}

/** How often a request may still be forwarded; only OPTIONS is limited so (RFC 9110 section 7.6.2). */
export function forwardsLeft({ method, fields }: RequestHead): number | undefined {
  if (method !== "OPTIONS") return undefined;
  const value = getField(fields, "max-forwards");
  return value !== undefined && /^\d{1,9}$/.test(value) ? Number(value) : undefined;
}

/** The fields with one forward less in `Max-Forwards`, where that limits the request. */
export function withForwardCounted(head: RequestHead, fields: Field[]): Field[] {
  const left = forwardsLeft(head);
  if (left === undefined) return fields;
  const counted = String(Math.max(0, left - 1));
  return fields.map((item) => item.key === "max-forwards" ? field(item.name, counted) : item);
}
