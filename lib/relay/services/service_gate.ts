/** Who may use a service. */
import type { Service } from "../../domain/service.ts";
import type { Identity } from "../callers/caller.ts";
import type { CallerRequest } from "../callers/callers.ts";
import type { Gate, GuardedPlace } from "../people/gate.ts";
import type { Guard } from "../people/guard.ts";
import type { ServiceTable } from "./service_table.ts";

/** Decides by the service's policy. */
export interface ServiceGate {
  /** Who asks, or why they are not let in; a promise only where something has to be looked up. */
  identify(
    service: Service,
    hostname: string,
    request: CallerRequest,
  ): Identity | Promise<Identity>;
}

/** Asks the policies in force now. */
export class PolicyGate implements ServiceGate {
  readonly #gate: Gate;
  readonly #tableNow: () => ServiceTable;

  constructor(gate: Gate, tableNow: () => ServiceTable) {
    this.#gate = gate;
    this.#tableNow = tableNow;
  }

  identify(
    service: Service,
    hostname: string,
    request: CallerRequest,
  ): Identity | Promise<Identity> {
    return this.#gate.identify(this.#placeOf(service, hostname), request);
  }

  #placeOf(service: Service, hostname: string): GuardedPlace {
    return {
      guard: guardOf(service),
      guardNow: () => {
        const now = this.#tableNow().find(hostname)?.service;
        return now?.name === service.name ? guardOf(now) : undefined;
      },
      authorization: service.authorization,
    };
  }
}

/** The policy of a service, and who vouches there. */
export function guardOf({ policy, provider, audience }: Service): Guard {
  return { policy, provider, audience };
}
