/** The public keys by which an agent verifies whom requests are from: in a file, or at a URL. */
import { createPublicKey } from "node:crypto";
import { calculateJwkThumbprint, createLocalJWKSet, type JSONWebKeySet, type JWK } from "jose";
import { ConfigError } from "../../../config/config_error.ts";
import { targetPlace } from "../../../config/entries/targets.ts";
import { type FileText, readTextFile } from "../../../config/files.ts";
import type { TargetEntry } from "../../../domain/target.ts";
import { systemClock } from "../../../jwt/clock.ts";
import { IssuerKeys } from "../../../jwt/keys.ts";
import type { FindKey } from "../../../jwt/verify.ts";

/** Keys of one target. */
export interface ProofKeys {
  readonly find: FindKey;
  /** What was read, if they are in a file. */
  readonly file?: FileText | undefined;
}

const EXPECTED = "must hold a JWKS, or public keys in PEM";

/**
 * Reads the keys of a target that impersonates, or has them fetched.
 *
 * @param source The targets file, for messages. @param index The entry's, from 0.
 * @throws {ConfigError} that names file, entry and key
 */
export async function loadProofKeys(
  { name, impersonate }: TargetEntry,
  source: string,
  index: number,
): Promise<ProofKeys | undefined> {
  if (!impersonate) return undefined;
  const { keys } = impersonate;
  if ("url" in keys) return { find: fetchedKeys(keys.url) };
  const origin = `${targetPlace(source, index, name)}: impersonate: keysFile`;
  const file = { path: keys.file, text: readTextFile({ origin, path: keys.file }) };
  return { find: await parseKeys(file.text, `${origin} ${JSON.stringify(keys.file)}`), file };
}

function fetchedKeys(url: string): FindKey {
  const keys = new IssuerKeys({
    url,
    clock: systemClock,
    // A request that cannot be verified says so itself.
    events: { fetched() {}, failed() {} },
    fetch: (url, init) => fetch(url, init),
    replaced() {},
  });
  return (header, token) => keys.find(header, token);
}

/** @throws {ConfigError} */
async function parseKeys(text: string, source: string): Promise<FindKey> {
  if (/-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(text)) {
    throw new ConfigError(`${source} holds a private key; agents need public ones`);
  }
  const jwks = text.includes("-----BEGIN") ? await fromPem(text, source) : fromJson(text, source);
  let find: FindKey;
  try {
    find = createLocalJWKSet(jwks);
  } catch {
    throw new ConfigError(`${source} ${EXPECTED}`);
  }
  if (jwks.keys.length === 0) throw new ConfigError(`${source} holds no key`);
  if (jwks.keys.some(({ d, k }) => d !== undefined || k !== undefined)) {
    throw new ConfigError(`${source} holds a private or secret key; agents need public ones`);
  }
  return find;
}

function fromJson(text: string, source: string): JSONWebKeySet {
  try {
    return JSON.parse(text) as JSONWebKeySet;
  } catch {
    throw new ConfigError(`${source} ${EXPECTED}`);
  }
}

/** A PEM key has no name; the relay calls its own by their thumbprints (RFC 7638). */
async function fromPem(text: string, source: string): Promise<JSONWebKeySet> {
  const blocks = text.match(/-----BEGIN PUBLIC KEY-----[^-]*-----END PUBLIC KEY-----/g) ?? [];
  const keys = blocks.map(async (block) => {
    try {
      const jwk = createPublicKey(block).export({ format: "jwk" }) as JWK;
      return { ...jwk, kid: await calculateJwkThumbprint(jwk) };
    } catch {
      throw new ConfigError(`${source} ${EXPECTED}`);
    }
  });
  return { keys: await Promise.all(keys) };
}
