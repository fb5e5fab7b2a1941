/** Keys and tokens with which zones are changed, from the Secrets that Tunnels name. */
import type { RelayAccesses } from "../relay_accesses.ts";
import type { KeptRecord } from "./kept_records.ts";
import type { Zone } from "./rfc2136.ts";
import { type TsigAlgorithm, tsigAlgorithms, type TsigKey } from "./tsig.ts";

const tsigKeys = ["keyname", "secret", "algorithm"] as const;

/** Reads Secrets when they are needed; those that are gone stand as they were last. */
export class DnsCredentials {
  readonly #accesses: RelayAccesses;

  constructor(accesses: RelayAccesses) {
    this.#accesses = accesses;
  }

  /** Has what takes records away kept, before there are any. */
  async keep(secret: string): Promise<void> {
    await this.#read(secret, [...tsigKeys, "token"]);
  }

  /** A token for the API of a DNS provider; undefined if there is none. */
  async token({ secret }: KeptRecord): Promise<string | undefined> {
    return (await this.#read(secret, ["token"])).token;
  }

  /** The zone with its key, or why it can't be had. */
  async zone({ zone, server, secret }: KeptRecord): Promise<Zone | string> {
    const { keyname, secret: text, algorithm = "hmac-sha256" } = await this.#read(secret, tsigKeys);
    if (keyname === undefined || text === undefined) {
      return `There is no Secret ${secret} with the keys keyname and secret`;
    }
    const known = algorithm.toLowerCase().replace(/\.$/, "");
    if (!tsigAlgorithms.includes(known as TsigAlgorithm)) {
      return `Secret ${secret}: algorithm must be one of ${tsigAlgorithms.join(", ")}`;
    }
    const bytes = decoded(text);
    if (!bytes?.length) {
      return `Secret ${secret}: secret is not base64, as BIND's key files have it`;
    }
    const key: TsigKey = {
      name: keyname.replace(/\.$/, ""),
      algorithm: known as TsigAlgorithm,
      secret: bytes,
    };
    return { name: zone, server, key };
  }

  async #read<Key extends string>(
    secret: string,
    keys: readonly Key[],
  ): Promise<Partial<Record<Key, string>>> {
    const [namespace = "", name = ""] = secret.split("/");
    return await this.#accesses.lastTokens(namespace, name, keys);
  }
}

function decoded(text: string): Uint8Array<ArrayBuffer> | undefined {
  try {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  } catch {
    return undefined;
  }
}
