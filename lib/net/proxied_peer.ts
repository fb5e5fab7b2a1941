/** Who is behind a proxy that is trusted to say so. */
import { type AddressRanges, canonicalAddress } from "../domain/address_ranges.ts";
import type { Field } from "../http1/head.ts";
import type { Peer } from "./exchange.ts";

/** Entries of a list that are read, from its end: the client may have put thousands in front. */
const maxEntries = 32;
/** Longer ones are no host, and would only fill the target's logs. */
const maxHostChars = 255;

/**
 * The peer of a request that came over a trusted proxy's connection: the client that `X-Forwarded-For`
 * names, and whether it asked by https as `X-Forwarded-Proto` says. Each proxy adds the address of its
 * own peer at the end, so the list is read from there, and what stands in front of the first address
 * that is not trusted was written by anybody.
 */
export function peerBehindProxy(
  peer: Peer,
  fields: readonly Field[],
  trusted: AddressRanges,
): Peer {
  const chain = listOf(fields, "x-forwarded-for");
  const { address, depth } = nearestUntrusted(peer.address, chain, trusted);
  const protos = listOf(fields, "x-forwarded-proto");
  // Where each proxy has added its own, the client's is the one that its proxy added.
  const isParallel = protos.length === chain.length && chain.length < maxEntries && depth > 0;
  const proto = protos.at(isParallel ? -depth : -1);
  const host = listOf(fields, "x-forwarded-host").at(-1);
  return {
    ...peer,
    address,
    isTls: schemes[proto?.toLowerCase() ?? ""] ?? peer.isTls,
    ...host !== undefined && isHost(host) && { forwardedHost: host },
  };
}

/** Some proxies name the protocol that a WebSocket's URL has. */
const schemes: Readonly<Record<string, boolean | undefined>> = {
  https: true,
  wss: true,
  http: false,
  ws: false,
};

/** @returns the client's address, and how many of the chain's entries it took to find. */
function nearestUntrusted(own: string, chain: readonly string[], trusted: AddressRanges) {
  let address = own;
  let depth = 0;
  while (depth < chain.length && trusted.has(address)) {
    const next = addressIn(chain[chain.length - 1 - depth]!);
    // "unknown", or something that no proxy writes: who is behind it can't be known.
    if (next === undefined) break;
    address = next;
    depth++;
  }
  return { address, depth };
}

/** The address of an entry, which may have a port: `192.0.2.1:80`, `[2001:db8::1]:80`, `2001:db8::1`. */
function addressIn(entry: string): string | undefined {
  const bracketed = /^\[([^\]]*)\](?::\d{1,5})?$/.exec(entry);
  if (bracketed) return canonicalAddress(bracketed[1]!);
  return canonicalAddress(/^([\d.]+):\d{1,5}$/.exec(entry)?.[1] ?? entry);
}

/** The last members of a field that is a list, over all lines that have it (RFC 9110 section 5.6.1). */
function listOf(fields: readonly Field[], key: string): string[] {
  const members: string[] = [];
  for (let index = fields.length - 1; index >= 0; index--) {
    if (fields[index]!.key === key) prependMembers(fields[index]!.value, members);
  }
  return members;
}

/** Puts the last members of a text with commas in front of those that are there. */
function prependMembers(text: string, members: string[]): void {
  for (let end = text.length; end >= 0 && members.length < maxEntries;) {
    const comma = end === 0 ? -1 : text.lastIndexOf(",", end - 1);
    const member = text.slice(comma + 1, end).trim();
    if (member !== "") members.unshift(member);
    end = comma;
  }
}

function isHost(text: string): boolean {
  return text.length <= maxHostChars &&
    /^[\w.-]+(?::\d{1,5})?$|^\[[\da-f:.]+\](?::\d{1,5})?$/i.test(text);
}
