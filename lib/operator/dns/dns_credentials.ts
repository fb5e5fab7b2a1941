/** Reads the keys and tokens that change zones from the Secrets that Tunnels name. */
import type { RelayAccesses } from "../relay/relay_accesses.ts";
import type { KeptRecord } from "./kept_records.ts";
import { bearerFault } from "../secret_text.ts";
import { isName } from "./records.ts";
import type { Zone } from "./rfc2136.ts";
import { type TsigAlgorithm, tsigAlgorithms, type TsigKey } from "./tsig.ts";

/** The keys that are read from a Secret: the first three for TSIG, `token` for a provider's API. */
const keys = ["keyname", "secret", "algorithm", "token"] as const;
/** How long a Secret is reused, in milliseconds, so that checking hundreds of records reads it once. */
const freshMs = 1_000;

type Texts = Partial<Record<typeof keys[number], string>>;

/** Reads Secrets when they are needed. If a Secret was deleted, its last known values count. */
export class DnsCredentials {
  readonly #accesses: RelayAccesses;
  readonly #recent = new Map<string, { readonly atMs: number; readonly texts: Texts }>();

  constructor(accesses: RelayAccesses) {
    this.#accesses = accesses;
  }

  /** Stores the current credentials for the clean-up, before records are created. */
  async keep(secret: string): Promise<void> {
    this.#recent.delete(secret);
    await this.#read(secret);
  }

  /** Returns the token for a DNS provider's API, or a message that says why there is none, without secrets. */
  async token({ secret }: KeptRecord): Promise<{ readonly token: string } | string> {
    const { token } = await this.#read(secret);
    if (token === undefined) return `There is no Secret ${secret} with the key token`;
    const fault = bearerFault(token);
    return fault === undefined ? { token } : `Key token of Secret ${secret}: the token ${fault}`;
  }

  /** Returns the zone with its TSIG key, or a message that says why there is none, without secrets. */
  async zone({ zone, server, secret }: KeptRecord): Promise<Zone | string> {
    const { keyname, secret: text, algorithm = "hmac-sha256" } = await this.#read(secret);
    if (keyname === undefined || text === undefined) {
      return `There is no Secret ${secret} with the keys keyname and secret`;
    }
    const known = algorithm.toLowerCase().replace(/\.$/, "");
    if (!tsigAlgorithms.includes(known as TsigAlgorithm)) {
      return `Secret ${secret}: algorithm must be one of ${tsigAlgorithms.join(", ")}`;
    }
    const name = keyname.replace(/\.$/, "");
    if (!isName(name) || !/^[\x21-\x7e]+$/.test(name)) {
      return `Secret ${secret}: keyname is not the name of a key`;
    }
    const bytes = decoded(text);
    if (!bytes?.length) {
      return `Secret ${secret}: secret is not base64, as BIND's key files have it`;
    }
    const key: TsigKey = {
      name,
      algorithm: known as TsigAlgorithm,
      secret: bytes,
    };
    return { name: zone, server, key };
  }

  async #read(secret: string): Promise<Texts> {
    const nowMs = performance.now();
    for (const [name, { atMs }] of this.#recent) {
      if (nowMs - atMs >= freshMs) this.#recent.delete(name);
    }
    const recent = this.#recent.get(secret);
    if (recent) return recent.texts;
    const [namespace = "", name = ""] = secret.split("/");
    const texts = await this.#accesses.lastTokens(namespace, name, keys);
    // A missing Secret may be created at any moment, so its absence is not remembered.
    if (Object.keys(texts).length > 0) this.#recent.set(secret, { atMs: nowMs, texts });
    return texts;
  }
}

function decoded(text: string): Uint8Array<ArrayBuffer> | undefined {
  try {
    return Uint8Array.fromBase64(text);
  } catch {
    return undefined;
  }
}
