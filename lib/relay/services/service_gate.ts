/** Who may use a service. */
import { PUBLIC_POLICY, type Service } from "../../domain/service.ts";
import { type Caller, Denial, type Identity } from "../callers/caller.ts";
import type { CallerRequest } from "../callers/callers.ts";
import { anything } from "../../domain/patterns.ts";
import { policyDenied } from "../errors.ts";

/** Decides by the service's policy. */
export interface ServiceGate {
  /** Who asks, or why they are not let in; a promise only where something has to be looked up. */
  identify(service: Service, request: CallerRequest): Identity | Promise<Identity>;
}

/** Anybody: nothing is known of them, and nothing need be. */
const publicCaller: Caller = { kind: "network", name: PUBLIC_POLICY, clusters: anything };

const denied = new Denial("policy", policyDenied);

/** Lets everybody use public services, and nobody the others. */
export const publicOnly: ServiceGate = {
  identify: ({ policy }) => policy === PUBLIC_POLICY ? publicCaller : denied,
};
