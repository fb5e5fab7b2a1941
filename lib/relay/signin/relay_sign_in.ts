/** Sign-in on the web listener, as the relay's routes use it. */
import type { RequestHead } from "../../http1/head.ts";
import type { Service } from "../../domain/service.ts";
import type { Exchange } from "../../net/exchange.ts";
import type { Denial, Identity } from "../callers/caller.ts";
import type { CallerRequest } from "../callers/callers.ts";
import type { ServiceRoute } from "../route.ts";
import type { SessionRecord } from "./sessions/sessions.ts";
import type { SignIn } from "./sign_in.ts";

/** `WebSignIn` of `lib/relay/routes` is one. */
export interface RelaySignIn {
  readonly signIn: SignIn;
  /** Whether a host is the one where people sign in. @param host in canonical form */
  isLoginHost(host: string | undefined): boolean;
  /** Answers what comes for the login host. */
  answerLogin(exchange: Exchange): Promise<void>;
  /** Answers one of culvert's own paths at a service's host. */
  answerOwnPath(exchange: Exchange, route: ServiceRoute): Promise<void>;
  /**
   * Answers somebody who is not let in, if signing in would change that or a page says more.
   *
   * @returns whether it does
   */
  answer(exchange: Exchange, route: ServiceRoute, denial: Denial, requestId: string): boolean;
  /** Where somebody signs in to the service at a hostname; undefined if that is nowhere, or no help to them. */
  signInUrlFor(request: CallerRequest, hostname: string, identity: Identity): string | undefined;
  /** A service worker could read and withhold what signs somebody in. */
  refuseWorker(service: Service, head: Pick<RequestHead, "fields">): Denial | undefined;
  /** Whether `login.statusPolicy` lets somebody see the relay's status. */
  maySeeStatus(session: SessionRecord, address: string): boolean;
}
