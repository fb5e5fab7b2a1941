/** Who may use a service. */
import type { Service } from "../../domain/service.ts";
import type { Asked } from "../../policies/asked.ts";
import type { Identity } from "../callers/caller.ts";
import type { CallerRequest } from "../callers/callers.ts";
import type { Authorizer, ProtectedResource } from "../people/authorizer.ts";
import type { AccessRequirements } from "../people/access_requirements.ts";
import type { ServiceTable } from "./service_table.ts";

/** Decides by the service's policy. */
export interface ServiceAuthorizer {
  /**
   * Who asks, or why they are not let in; a promise only where something has to be looked up.
   *
   * @param asked What they ask for, which need not be the request.
   * @param isOpen What else the service, as it is later, must say of them for what they begin to go on.
   */
  identify(
    service: Service,
    hostname: string,
    request: CallerRequest,
    asked: Asked,
    isOpen?: (service: Service) => boolean,
  ): Identity | Promise<Identity>;
  /** Who could ask for anything, whichever of the services the credential is for. */
  wouldIdentify(
    service: Service,
    hostname: string,
    request: CallerRequest,
  ): Identity | Promise<Identity>;
}

/** Asks the policies in force now. */
export class PolicyAuthorizer implements ServiceAuthorizer {
  readonly #authorizer: Authorizer;
  readonly #tableNow: () => ServiceTable;

  constructor(authorizer: Authorizer, tableNow: () => ServiceTable) {
    this.#authorizer = authorizer;
    this.#tableNow = tableNow;
  }

  identify(
    service: Service,
    hostname: string,
    request: CallerRequest,
    asked: Asked,
    isOpen?: (service: Service) => boolean,
  ): Identity | Promise<Identity> {
    const resource = { ...this.#resourceOf(service, hostname, asked, isOpen), hostname };
    return this.#authorizer.identify(resource, request);
  }

  wouldIdentify(
    service: Service,
    hostname: string,
    request: CallerRequest,
  ): Identity | Promise<Identity> {
    return this.#authorizer.identify(this.#resourceOf(service, hostname, "anything"), request);
  }

  #resourceOf(
    service: Service,
    hostname: string,
    asked: Asked,
    isOpen: (service: Service) => boolean = () => true,
  ): ProtectedResource {
    return {
      requirements: requirementsOf(service),
      currentRequirements: () => {
        const now = this.#tableNow().find(hostname)?.service;
        return now?.name === service.name && isOpen(now) ? requirementsOf(now) : undefined;
      },
      authorization: service.authorization,
      asked,
    };
  }
}

/** What a service requires of its callers. */
export function requirementsOf({ policy, provider, audience }: Service): AccessRequirements {
  return { policy, provider, audience };
}
