/** Targets of an agent as its configuration lists them: what it may dial, and how. */
import type { ImpersonationDemands } from "./identity.ts";
import type { PathRule } from "./path_rules.ts";

/** How the agent connects to a target with TLS. */
export interface TargetTlsEntry {
  /** PEM file of CAs that count besides public ones. */
  readonly ca?: string;
  /** What the target's certificate must hold, where it is another name than the address's. */
  readonly serverName?: string;
  /** Whether anybody's certificate is taken. */
  readonly insecure: boolean;
  /** PEM files of the agent's own certificate and key: both or none. */
  readonly cert?: string;
  readonly key?: string;
}

/** What the agent puts into each request to a target. */
export interface TargetCredential {
  /** The file of the token; read again when it changes. */
  readonly file: string;
  /** The field's name. */
  readonly header: string;
  /** Stands before the token; empty for the token alone. */
  readonly scheme: string;
}

/** A target that the agent dials. */
export interface DialledTarget {
  readonly name: string;
  readonly address: { readonly hostname: string; readonly port: number };
  readonly kind: "http" | "tcp";
  /** Without it, plain TCP. */
  readonly tls?: TargetTlsEntry;
  readonly credential?: TargetCredential;
  /** Whom the agent acts for there; absent where it acts for itself. */
  readonly impersonate?: ImpersonationDemands;
  readonly paths?: undefined;
}

/** A target that stands for others: which of them a request is for, its path says. */
export interface PathTarget {
  readonly name: string;
  readonly kind: "http";
  readonly paths: readonly TargetPath[];
  readonly address?: undefined;
  readonly tls?: undefined;
  readonly credential?: undefined;
  readonly impersonate?: undefined;
}

/** Which paths lead to a target, by its name; to none where it names none. */
export interface TargetPath extends PathRule {
  readonly target?: string;
}

/** One target. */
export type TargetEntry = DialledTarget | PathTarget;

/** Names of targets that paths lead to; relays can't ask for them by name. */
export function namesBehindPaths(targets: readonly Pick<TargetEntry, "paths">[]): Set<string> {
  return new Set(targets.flatMap(({ paths = [] }) => paths.flatMap(({ target }) => target ?? [])));
}
