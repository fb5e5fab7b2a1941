/** The services of a relay: where they are, who may use them, and what is open of them. */
import { isolated } from "../../faults.ts";
import type { CallerIdentity } from "../people/identities.ts";
import type { Route } from "../route.ts";
import type { ServiceAuthorizer } from "./service_authorizer.ts";
import type { ServiceTable } from "./service_table.ts";

/** A request or a connection of a service that is under way. */
export interface OpenServiceRequest {
  readonly route: Route;
  /** What is told about its caller; nothing unless given. */
  readonly identity?: Pick<CallerIdentity, "impersonation">;
  /** Ends it. @param code for the log, why */
  revoke(code?: string): void;
}

/** Takes new tables as the configuration changes. */
export class Services {
  #table: ServiceTable;
  /** Decides who may use a service. */
  authorizer: ServiceAuthorizer;
  /** Whether the agent is to impersonate who uses a route now. */
  impersonates: (route: Route) => boolean = () => false;
  /** Another table is in use. */
  onReplaced: () => void = () => {};
  readonly #open = new Set<OpenServiceRequest>();

  constructor(table: ServiceTable, authorizer: ServiceAuthorizer) {
    this.#table = table;
    this.authorizer = authorizer;
  }

  get table(): ServiceTable {
    return this.#table;
  }

  /** Requests and connections that are open. */
  get openCount(): number {
    return this.#open.size;
  }

  /** Follows a request until {@link ended}: it ends with its service. */
  began(request: OpenServiceRequest): void {
    this.#open.add(request);
  }

  /** The request is over. */
  ended(request: OpenServiceRequest): void {
    this.#open.delete(request);
  }

  /** Uses another table. What is open of services that are gone, or under hostnames that are, ends. */
  replace(table: ServiceTable): void {
    this.#table = table;
    for (const request of [...this.#open]) {
      isolated("request", () => {
        const { route, identity } = request;
        if (!this.#isStillThere(route)) request.revoke("service_removed");
        // It has the agent's own rights, which nobody is to have any more.
        else if (!identity?.impersonation && this.impersonates(route)) request.revoke();
      });
    }
    this.onReplaced();
  }

  #isStillThere(route: Route): boolean {
    return route.kind === "cluster" ||
      this.#table.find(route.hostname)?.service.name === route.name;
  }
}
