/** The page of a sign-in that a provider did not complete. */
import type { OidcProvider } from "./oidc_provider.ts";
import { Notice, type NoticeProps, page } from "../pages/page.tsx";
import { ProviderError } from "./provider_error.ts";
import type { SignIn } from "./sign_in.ts";

/**
 * Says what is to be done; the reason is for the log, since a person can't judge it.
 *
 * @param link where it is tried again
 * @throws what is no {@link ProviderError}
 */
export function providerFailed(
  signIn: SignIn,
  { config }: OidcProvider,
  error: unknown,
  link?: NoticeProps["link"],
): Response {
  if (!(error instanceof ProviderError)) throw error;
  const { kind, message } = error;
  signIn.context.log.warn("Sign-in at a provider failed", {
    provider: config.name,
    kind,
    error: message,
  });
  const more = link ? { link } : {};
  if (kind === "unavailable") {
    const text = `The identity provider ${config.name} does not answer. Try again in a minute.`;
    return page("The identity provider is unavailable", <Notice text={text} {...more} />, {
      status: 503,
      headers: [["Retry-After", "60"]],
    });
  }
  const text = kind === "denied"
    ? "The identity provider did not sign you in."
    : kind === "clocks"
    ? "The clocks of the identity provider and of this relay are too far apart: tell its operator."
    : "The identity provider's answer could not be verified.";
  return page("Sign-in did not succeed", <Notice text={text} {...more} />, {
    status: kind === "denied" ? 403 : 400,
  });
}
