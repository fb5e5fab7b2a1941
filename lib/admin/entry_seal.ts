/** Seals entries with the relays' token, so that others can't make any up (HMAC, RFC 2104). */
import type { RelayTokens } from "../relay/hop/relay_tokens.ts";

const purpose = "culvert admin entry\0";

/** A text that was sealed. */
export interface Opened {
  readonly text: string;
  /** Whether the token is the one that is used now: others will not count for long. */
  readonly isCurrent: boolean;
}

/** Seals and opens texts. */
export class EntrySeal {
  readonly #tokens: RelayTokens;
  readonly #keys = new Map<string, Promise<CryptoKey>>();

  constructor(tokens: RelayTokens) {
    this.#tokens = tokens;
  }

  /** @param place where it is kept: it counts nowhere else */
  async seal(place: string, text: string): Promise<string> {
    const key = await this.#keyOf(this.#tokens.sent);
    const mac = await crypto.subtle.sign("HMAC", key, messageOf(place, text));
    return `${new Uint8Array(mac).toHex()} ${text}`;
  }

  /** The text; undefined for one that was sealed with none of the relays' tokens, or elsewhere. */
  async open(place: string, sealed: string): Promise<Opened | undefined> {
    const [, hex, text] = /^([0-9a-f]{64}) (.*)$/s.exec(sealed) ?? [];
    if (hex === undefined || text === undefined) return undefined;
    const mac = Uint8Array.fromHex(hex);
    for (const token of this.#tokens.all) {
      const key = await this.#keyOf(token);
      if (!await crypto.subtle.verify("HMAC", key, mac, messageOf(place, text))) continue;
      return { text, isCurrent: token === this.#tokens.sent };
    }
    return undefined;
  }

  #keyOf(token: string): Promise<CryptoKey> {
    const known = this.#keys.get(token);
    if (known) return known;
    const bytes = new TextEncoder().encode(token);
    const algorithm = { name: "HMAC", hash: "SHA-256" };
    const key = crypto.subtle.importKey("raw", bytes, algorithm, false, ["sign", "verify"]);
    this.#keys.set(token, key);
    return key;
  }
}

function messageOf(place: string, text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`${purpose}${place}\0${text}`);
}
