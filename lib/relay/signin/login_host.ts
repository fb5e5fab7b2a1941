/** The login host, as what is sealed for it needs it. */
import type { Clock } from "../../jwt/clock.ts";
import type { SessionKeys } from "./seals.ts";
import type { Site } from "./site.ts";

/** `SignIn` is one. */
export interface LoginHost {
  readonly context: {
    readonly clock: Clock;
    readonly keys: SessionKeys;
    /** The service in force at a hostname, without a port. */
    readonly siteOf: (hostname: string) => Site | undefined;
  };
  readonly loginOrigin: string;
  /** The login host without its port. */
  readonly loginHostname: string;
  /** The login host itself, for those who sign in without a service; undefined without the provider. */
  loginSite(provider: string | undefined): Site | undefined;
}
