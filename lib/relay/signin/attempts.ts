/** What a sign-in at a provider is made of, besides its `state`. */
import type { SignIn } from "./sign_in.ts";
import { derive } from "./transactions.ts";

/** The provider knows one URL, however many services there are. */
export function redirectUri({ loginOrigin }: Pick<SignIn, "loginOrigin">): string {
  return `${loginOrigin}/.culvert/callback`;
}

/** Nonce and code verifier: only the browser whose cookie has the secret can complete the sign-in. */
export async function secretsOf(secret: string, id: string) {
  return {
    nonce: await derive(secret, `culvert nonce ${id}`),
    verifier: await derive(secret, `culvert verifier ${id}`),
  };
}
