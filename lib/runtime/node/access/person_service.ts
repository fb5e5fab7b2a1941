/** Services that are opened with the token of the person who signed in on this machine. */
import type { AccessService } from "../../../config/access_options.ts";
import type { Answer } from "../../../access/service_error.ts";
import { findSignedIn, type SignedIn, without } from "../../../access/token_cache.ts";
import { asksForSignIn, whoamiPath } from "../../../access/whoami.ts";
import { PersonToken } from "./person_token.ts";
import { signIn, type SignInContext } from "./person_sign_in.ts";
import { getFromService } from "./service_connection.ts";

/** What is known before it is known whether one has to sign in. */
export type PersonContext = Omit<SignInContext, "service" | "places">;

/**
 * A service that shows the person's token, after having had them sign in if need be. A service for
 * which a token was given, or that is open to everybody, stays as it is.
 *
 * @throws {ServiceError} when nobody signs in
 */
export async function withPerson(
  service: AccessService,
  context: PersonContext | undefined,
): Promise<AccessService> {
  if (!service.takesPerson || !context) return service;
  const { store, signal } = context;
  const place = service.origin;
  const token = new PersonToken(store, service, place);
  const readToken = () => token.read(signal);
  const found = await token.find(signal);
  if (found && await isAccepted(service, found, context)) return { ...service, readToken };
  const answer = await getFromService(service, whoamiPath, signal);
  // Whatever else it says, the command itself reports.
  if (!asksForSignIn(answer)) return service;
  await signIn({ ...context, service, places: [place] });
  return { ...service, readToken };
}

/**
 * The sign-in for some places; one that has ended at the relay is forgotten, and the person asked again.
 *
 * @param service the host that the user named, which the browser is sent to
 * @throws {ServiceError} when nobody signs in
 */
export async function signedInFor(
  service: AccessService,
  places: readonly string[],
  context: PersonContext,
): Promise<SignedIn> {
  const { store, signal } = context;
  const found = await new PersonToken(store, service, places[0]!).find(signal);
  const isWhole = found && places.every((place) => found.places.includes(place));
  if (isWhole && await isAccepted(service, found, context)) return found;
  return await signIn({ ...context, service, places });
}

/** Whether the relay still takes a token. One that it refuses is forgotten. */
async function isAccepted(
  service: AccessService,
  found: SignedIn,
  { store, signal }: PersonContext,
): Promise<boolean> {
  let answer: Answer;
  try {
    const readToken = () => found.accessToken;
    answer = await getFromService({ ...service, readToken }, whoamiPath, signal);
  } catch {
    // The relay is away: whoever uses the token finds out, and says so better.
    return true;
  }
  if (answer.status !== 401) return true;
  const current = findSignedIn(store.read(), found.places[0]!);
  if (current?.accessToken === found.accessToken) {
    await store.change((cache) => without(cache, found));
  }
  return false;
}
