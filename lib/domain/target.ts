/** Targets of an agent as its configuration lists them: what it may dial, and how. */
import type { ImpersonationDemands } from "./identity.ts";

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

/** One target. */
export interface TargetEntry {
  readonly name: string;
  readonly address: { readonly hostname: string; readonly port: number };
  readonly kind: "http" | "tcp";
  /** Without it, plain TCP. */
  readonly tls?: TargetTlsEntry;
  readonly credential?: TargetCredential;
  /** Whom the agent acts for there; absent where it acts for itself. */
  readonly impersonate?: ImpersonationDemands;
}
