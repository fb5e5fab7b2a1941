/** `relay token`: a token for an agent or a caller, and its SHA-256 for the relay. */
import { parseTokenOptions, tokenProgram } from "../config/commands/token_options.ts";
import { hashToken } from "../relay/digests.ts";
import { type Command, commandOf } from "./command.ts";

/** The bytes of a new token: as many as SHA-256 has, so that guessing it is no easier than its digest. */
const tokenBytes = 32;

/**
 * Says what it is to whoever finds it, in a log or a repository, and keeps it from beginning with a
 * dash, which would look like an option.
 */
const tokenPrefix = "culvert_";

/** Prints a token and its SHA-256, or the SHA-256 of a token that was given. */
export const tokenCommand: Command = commandOf({
  word: tokenProgram.word,
  parse: parseTokenOptions,
  async make({ token: given, entry, isJson, warnings }) {
    const token = given ?? makeToken();
    const tokenSha256 = await hashToken(token);
    const result: Result = {
      ...(given === undefined && { token }),
      tokenSha256,
      ...(entry && { entry: { id: entry.id, tokenSha256, targetAddr: entry.targetAddr } }),
    };
    return { text: isJson ? `${JSON.stringify(result)}\n` : describe(result), warnings };
  },
});

/** What `--json` prints. */
interface Result {
  /** Absent where it was given. */
  readonly token?: string;
  readonly tokenSha256: string;
  /** The entry for the clusters file. */
  readonly entry?: Readonly<Record<string, string>>;
}

/** A new token: URL-safe, so that it needs quotes nowhere. */
export function makeToken(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(tokenBytes));
  return tokenPrefix + bytes.toBase64({ alphabet: "base64url", omitPadding: true });
}

function describe({ token, tokenSha256, entry }: Result): string {
  const parts: [heading: string, value: string][] = [];
  if (token !== undefined) {
    parts.push([
      "The token, for the agent (TOKEN, or the Secret of its chart) and nowhere else",
      token,
    ]);
  }
  parts.push([
    "The SHA-256, for the relay (tokenSha256 in its clusters file, caller tokens or chart)",
    tokenSha256,
  ]);
  if (entry) parts.push(["An entry for the relay's clusters file", JSON.stringify(entry)]);
  return parts.map(([heading, value]) => `${heading}:\n  ${value}\n`).join("");
}
