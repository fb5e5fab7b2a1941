/** `--assertion-keys`: the private keys that sign who callers are. */
import { createPrivateKey } from "node:crypto";
import { ConfigError } from "./config_error.ts";
import { readTextFile } from "./files.ts";

/** A rotation needs two; what is much more than that is a mistake. */
const MAX_KEYS = 8;
const EXPECTED = "must hold private EC keys on the curve P-256 in PEM, without a passphrase, as " +
  "`openssl ecparam -name prime256v1 -genkey -noout` prints them";

/** Reads the keys, of which the first one signs. @throws {ConfigError} that quotes no key */
export function readAssertionKeys(path: string, origin: string): JsonWebKey[] {
  return parseAssertionKeys(readTextFile({ origin, path }), path);
}

/** The same of a file that was read. @throws {ConfigError} as above */
export function parseAssertionKeys(text: string, path: string): JsonWebKey[] {
  const source = `Assertion keys file ${JSON.stringify(path)}`;
  const blocks = text.match(
    /-----BEGIN ((?:EC |ENCRYPTED )?PRIVATE KEY)-----[^-]*-----END \1-----/g,
  ) ?? [];
  if (blocks.length === 0) throw new ConfigError(`${source} ${EXPECTED}`);
  if (blocks.length > MAX_KEYS) {
    throw new ConfigError(`${source} has ${blocks.length} keys; at most ${MAX_KEYS} are possible`);
  }
  const keys = blocks.map((block, index) => toJwk(block, `${source}, key ${index + 1}`));
  const twin = keys.findIndex(({ x }, index) => keys.findIndex((key) => key.x === x) < index);
  if (twin !== -1) throw new ConfigError(`${source}, key ${twin + 1}: repeats an earlier one`);
  return keys;
}

function toJwk(block: string, place: string): JsonWebKey {
  let jwk: JsonWebKey;
  try {
    jwk = createPrivateKey(block).export({ format: "jwk" }) as JsonWebKey;
  } catch {
    throw new ConfigError(`${place} ${EXPECTED}`);
  }
  if (jwk.kty !== "EC" || jwk.crv !== "P-256") throw new ConfigError(`${place} ${EXPECTED}`);
  return jwk;
}
