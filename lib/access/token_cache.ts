/** Tokens of people who signed in, as `access` keeps them from one run to the next. */
import { z } from "zod";

/** A sign-in and its tokens. */
export interface SignedIn {
  /** `https://HOST[:PORT]`: the only place to which its refresh token goes. */
  readonly origin: string;
  /** Origins, and `ORIGIN/tunnel/ID` for clusters: the only places to which its token goes. */
  readonly places: readonly string[];
  readonly username: string;
  readonly accessToken: string;
  /** When that expires, in milliseconds since 1970. */
  readonly expiresMs: number;
  readonly refreshToken: string;
}

const signedInSchema = z.object({
  origin: z.string(),
  places: z.array(z.string()),
  username: z.string(),
  accessToken: z.string(),
  expiresMs: z.number(),
  refreshToken: z.string(),
});

const cacheSchema = z.object({
  signedIn: z.array(signedInSchema).default([]),
  /** Browsers that were opened and brought nobody, by origin. */
  unanswered: z.record(z.string(), z.number()).default({}),
});

/** What the file holds. */
export interface TokenCache {
  readonly signedIn: readonly SignedIn[];
  readonly unanswered: Readonly<Record<string, number>>;
}

/** Reads it; a file of another form, or half of one, is as good as none. */
export function parseTokenCache(text: string): TokenCache {
  try {
    return cacheSchema.parse(JSON.parse(text));
  } catch {
    return { signedIn: [], unanswered: {} };
  }
}

/** Writes it. */
export function writeTokenCache(cache: TokenCache): string {
  return `${JSON.stringify(cache, null, 2)}\n`;
}

/** The sign-in whose token is for a place. */
export function findSignedIn({ signedIn }: TokenCache, place: string): SignedIn | undefined {
  return signedIn.find(({ places }) => places.includes(place));
}

/** The cache with a sign-in, which takes the place of those that were for the same places. */
export function withSignedIn(cache: TokenCache, added: SignedIn): TokenCache {
  const others = cache.signedIn.filter(({ places }) =>
    !places.some((place) => added.places.includes(place))
  );
  const { [added.origin]: _answered, ...unanswered } = cache.unanswered;
  return { signedIn: [...others, added], unanswered };
}

/** The same sign-in with other tokens. Nothing is added if it is not there any more. */
export function withRenewed(cache: TokenCache, old: SignedIn, renewed: SignedIn): TokenCache {
  const signedIn = cache.signedIn.map((it) => it.refreshToken === old.refreshToken ? renewed : it);
  return { ...cache, signedIn };
}

/** The cache without a sign-in. */
export function without(cache: TokenCache, { refreshToken }: SignedIn): TokenCache {
  return {
    ...cache,
    signedIn: cache.signedIn.filter((it) => it.refreshToken !== refreshToken),
  };
}

/** The cache after a browser was opened at an origin and brought nobody. */
export function withUnanswered(cache: TokenCache, origin: string): TokenCache {
  const count = (cache.unanswered[origin] ?? 0) + 1;
  return { ...cache, unanswered: { ...cache.unanswered, [origin]: count } };
}
