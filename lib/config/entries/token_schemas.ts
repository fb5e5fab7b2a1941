/** Tokens as lists of entries and options have them: themselves, their digests, and when they end. */
import { z } from "zod";
import { tokenFault } from "../../domain/token.ts";

/** A token of fewer characters can be guessed; it works, with a warning. */
export const MIN_TOKEN_CHARACTERS = 16;

/**
 * A token as it can stand behind `Authorization: Bearer`. HTTP drops spaces at the ends of a header,
 * so that a token with such could never be matched.
 */
export const TOKEN_PATTERN = /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/;

/** What a token must be, for messages. */
export const TOKEN_EXPECTED = "must be printable ASCII with no space at either end";

/** What a script makes that hashes an empty file or a variable that is not set. */
const SHA256_OF_NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

const TOKEN_REQUIRED = "must be a non-empty string";
const SHA256_EXPECTED = "must be the token's SHA-256 in 64 hexadecimal digits";
const EXPIRES_EXPECTED = 'must be a time such as "2027-01-31T12:00:00Z"';

/** A text without what people paste around a token. */
export const bareToken: z.ZodType<string, string> = z.string().refine(
  (text) => tokenFault(text) === undefined,
  { error: ({ input }) => tokenFault(String(input)) ?? TOKEN_EXPECTED, abort: true },
);

/** A token. */
export const token: z.ZodType<string> = z.string(TOKEN_REQUIRED).min(1, {
  error: TOKEN_REQUIRED,
  abort: true,
})
  .refine((text) => tokenFault(text) === undefined, {
    error: ({ input }) => tokenFault(String(input)) ?? TOKEN_EXPECTED,
    abort: true,
  })
  .regex(TOKEN_PATTERN, TOKEN_EXPECTED);

/** A token's digest, in lower case. */
export const tokenSha256: z.ZodType<string> = z.string(SHA256_EXPECTED)
  .regex(/^[0-9A-Fa-f]{64}$/, { error: SHA256_EXPECTED, abort: true })
  .transform((text) => text.toLowerCase())
  .refine((digest) => digest !== SHA256_OF_NOTHING, "is the SHA-256 of an empty text");

/** When a token ends, in milliseconds since 1970. */
export const expiry: z.ZodType<number> = z.iso.datetime({ offset: true, error: EXPIRES_EXPECTED })
  .transform(Date.parse);
