/**
 * The names by which callers may ask for the relay. A page whose own name comes to mean the relay's
 * address (DNS rebinding) is no other site to the browser; but its requests still name its own name.
 */
import { getField, type RequestHead } from "../../http1/head.ts";
import { otherHost } from "../request_errors.ts";
import { Denial } from "./caller.ts";

const denial = new Denial("host", otherHost);

/** Tells the relay's names from others. */
export class Hosts {
  readonly #names: ReadonlySet<string> | undefined;

  /** @param names In lower case; undefined for any. Addresses and `localhost` need not be among them. */
  constructor(names: readonly string[] | undefined) {
    this.#names = names && new Set(names);
  }

  /** Why a request for this host is not taken, or nothing. */
  refuse({ fields }: RequestHead): Denial | undefined {
    if (!this.#names) return undefined;
    // Browsers always send it.
    const host = getField(fields, "host") ?? "";
    return host === "" || this.#has(host) ? undefined : denial;
  }

  #has(host: string): boolean {
    const name = host.toLowerCase().replace(/:\d*$/, "").replace(/\.$/, "");
    return this.#names!.has(name) || isOwnName(name);
  }
}

/** Nobody can have an address, or a name below `localhost` (RFC 6761 section 6.3), mean another host. */
function isOwnName(name: string): boolean {
  const isAddress = /^\d+(?:\.\d+){3}$/.test(name) || /^\[[\da-f:.]+\]$/.test(name);
  return isAddress || /^(?:.+\.)?localhost$/.test(name);
}
