/** `--session-keys`: the keys that seal people's cookies, one a line. */
import { ConfigError } from "./config_error.ts";

/** Bytes of a key. */
export const SESSION_KEY_BYTES = 32;
/** A rotation needs two or three; what is much more than that is a mistake. */
const MAX_KEYS = 16;
const KEY_EXPECTED = "must be 32 random bytes in base64, as `openssl rand -base64 32` prints them";

/**
 * Reads the keys; the first one seals, and all of them open.
 *
 * @param source names the text in messages: `Session keys file "keys.txt"`
 * @throws {ConfigError} naming the line, never what is in it
 */
export function readSessionKeys(text: string, source: string): Uint8Array[] {
  const keys: Uint8Array[] = [];
  for (const [index, line] of text.replace(/^\ufeff/, "").split(/\r?\n/).entries()) {
    const content = line.replace(/#.*$/, "").trim();
    if (content === "") continue;
    const place = `${source}, line ${index + 1}`;
    const key = toKey(content);
    if (!key) throw new ConfigError(`${place}: ${KEY_EXPECTED}`);
    if (keys.some((other) => other.toHex() === key.toHex())) {
      throw new ConfigError(`${place}: is the same key as one before; remove one of them`);
    }
    keys.push(key);
  }
  if (keys.length === 0) throw new ConfigError(`${source} has no key: ${KEY_EXPECTED}`);
  if (keys.length > MAX_KEYS) {
    throw new ConfigError(`${source} has ${keys.length} keys; at most ${MAX_KEYS} are possible`);
  }
  return keys;
}

/** Names the file in messages. */
export function sessionKeysSource(path: string): string {
  return `Session keys file ${JSON.stringify(path)}`;
}

/** Both alphabets of base64; undefined for anything that is not a key. */
function toKey(text: string): Uint8Array | undefined {
  try {
    const alphabet = /[-_]/.test(text) ? "base64url" : "base64";
    const bytes = Uint8Array.fromBase64(text, { alphabet, lastChunkHandling: "loose" });
    return bytes.length === SESSION_KEY_BYTES ? bytes : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
